/* side.c - one of the two: its files, and what lies beside them. */
#include "compare/private.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/io/gguf.h>
#include <retort/text/tokenizer.h>
#include <retort/infer/frozen.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static rt_status read_config(rt_compare_side *s, rt_error *err) {
    char path[4200];
    if (rt_gguf_is(s->path)) return (s->config = json_object()) ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory"); /* it has none: the sizes come with the weights */
    snprintf(path, sizeof path, "%s/config.json", s->path);
    return rt_json_load(path, 1 << 20, &s->config, err);
}
static rt_status read_manifest(rt_compare_side *s, rt_error *err) {
    char path[4200];
    snprintf(path, sizeof path, "%s/MANIFEST.json", s->path);
    if (!rt_file_exists(path)) return RT_OK;
    RT_TRY(rt_checkpoint_verify(s->path, err));
    return rt_checkpoint_manifest(s->path, &s->manifest, err);
}
/* None, or one of a kind that is not read, is no error here: weights can be compared all the same. */
static void read_tokenizer(rt_compare_side *s) {
    rt_tokenizer *t;
    rt_error why = {0};
    if (!rt_model_has_tokenizer(s->path)) return;
    if (rt_model_tokenizer(&t, s->path, &why) != RT_OK) {
        snprintf(s->tokenizer_error, sizeof s->tokenizer_error, "%s", why.text);
        return;
    }
    snprintf(s->tokenizer, sizeof s->tokenizer, "%s", rt_tokenizer_hash(t));
    s->tokenizer_size = rt_tokenizer_size(t);
    rt_tokenizer_free(t);
}

/* -------------------------------------------------------------- evaluations */

static double ce_of(const json_t *evaluation) {
    const json_t *x = json_object_get(evaluation, "ce");
    return json_is_number(x) ? json_number_value(x) : HUGE_VAL;
}
static void take_record(rt_compare_side *s, json_t *record) {
    const char *kind = json_string_value(json_object_get(record, "record"));
    if (!kind || strcmp(kind, "eval") != 0) return;
    json_decref(s->last);
    s->last = json_incref(record);
    if (s->best && ce_of(record) >= ce_of(s->best)) return;
    json_decref(s->best);
    s->best = json_incref(record);
}
/* Records are lines; only those that can be an evaluation are parsed. A torn last line is what a crash leaves. */
static rt_status read_lines(rt_compare_side *s, const rt_map *m, const char *path, rt_error *err) {
    const char *at = (const char *)m->data, *end = at + m->size, *line_end;
    for (int64_t line = 1; at < end && (line_end = memchr(at, '\n', (size_t)(end - at))); at = line_end + 1, line++) {
        size_t n = (size_t)(line_end - at);
        json_t *record;
        char name[4300];
        if (!memmem(at, n, "\"eval\"", 6)) continue;
        snprintf(name, sizeof name, "%s, line %lld", path, (long long)line);
        RT_TRY(rt_json_parse(at, n, name, &record, err));
        take_record(s, record);
        json_decref(record);
    }
    return RT_OK;
}
static rt_status read_log(rt_compare_side *s, rt_error *err) {
    char path[4200];
    rt_map m;
    snprintf(path, sizeof path, "%s/log.jsonl", s->given);
    if (!rt_file_exists(path)) return RT_OK;
    RT_TRY(rt_file_map(path, &m, err));
    rt_status status = read_lines(s, &m, path, err);
    rt_file_unmap(&m);
    return status;
}

rt_status rt_compare_side_open(rt_compare_side *s, const char *given, rt_error *err) {
    *s = (rt_compare_side){.given = given};
    RT_TRY(rt_model_path(given, &s->path, err));
    RT_TRY(rt_hf_open(s->path, &s->files, err));
    RT_TRY(read_config(s, err));
    RT_TRY(read_manifest(s, err));
    read_tokenizer(s);
    return read_log(s, err);
}
void rt_compare_side_close(rt_compare_side *s) {
    json_decref(s->config), json_decref(s->manifest), json_decref(s->last), json_decref(s->best);
    rt_hf_close(s->files);
    rt_free(s->path);
    *s = (rt_compare_side){0};
}
