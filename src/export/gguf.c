/* gguf.c - writes a model as a GGUF file, has it compared, and puts it in its place. */
#include "export/gguf.h"
#include <retort/base/file.h>
#include <retort/base/log.h>
#include <retort/infer/frozen.h>
#include <stdio.h>
#include <string.h>

/* What the file is made of, besides the weights. */
typedef struct parts {
    rt_tokenizer *tokenizer; /* or NULL */
    rt_buf chat_template;
    rt_model_config config; /* as a reader will have it */
    rt_rounded rounded;
    const rt_tensor **weights; /* the source's */
    rt_gguf_notes notes;
} parts;

static rt_status open_tokenizer(parts *p, const char *from, rt_error *err) {
    char path[8192];
    if (!rt_model_has_tokenizer(from)) return RT_OK;
    RT_TRY(rt_model_tokenizer(&p->tokenizer, from, err));
    snprintf(path, sizeof path, "%s/chat_template.jinja", from);
    return rt_file_exists(path) ? rt_file_read(path, 1 << 24, &p->chat_template, err) : RT_OK;
}
static rt_status open_parts(parts *p, const rt_frozen *source, const rt_export_options *o, rt_error *err) {
    const rt_model_config *c = rt_hf_config(source->files);
    if (!o->no_tokenizer) RT_TRY(open_tokenizer(p, rt_hf_path(source->files), err));
    RT_TRY(rt_gguf_config(c, p->tokenizer, &p->config, err));
    RT_TRY(rt_rounded_plan(&p->rounded, &p->config, o, err));
    p->weights = rt_alloc(rt_array_bytes((size_t)p->rounded.count, sizeof *p->weights));
    if (!p->weights) return rt_fail(err, RT_E_NOMEM, "out of memory: the export");
    for (int64_t i = 0; i < p->rounded.count; i++) p->weights[i] = rt_hf_weight(source->files, i);
    return RT_OK;
}
static void close_parts(parts *p) {
    rt_tokenizer_free(p->tokenizer);
    rt_buf_free(&p->chat_template);
    rt_rounded_free(&p->rounded);
    rt_free(p->weights);
    rt_buf_free(&p->notes.text);
}

static void name_of(const char *out, char name[256]) {
    const char *slash = strrchr(out, '/'), *base = slash ? slash + 1 : out;
    size_t n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".gguf") == 0) n -= 5;
    snprintf(name, 256, "%.*s", (int)(n < 255 ? n : 255), base);
}
static rt_status write_file(parts *p, const rt_frozen *source, const rt_export_place *place, const rt_export_options *o, rt_error *err) {
    char name[256];
    rt_hf_hash hash;
    rt_gguf_type type = o->q8_0 ? RT_GGUF_TYPE_Q8_0 : o->dtype == RT_F16 ? RT_GGUF_TYPE_F16 : o->dtype == RT_BF16 ? RT_GGUF_TYPE_BF16 : RT_GGUF_TYPE_F32;
    RT_TRY(rt_hf_content_hash(source->files, &hash, err));
    const char *marks[] = {RT_EXPORT_KEY, RT_VERSION, "retort.source_sha256", hash.hex, NULL};
    name_of(place->final, name);
    rt_gguf_options g = {.type = type, .name = name, .tokenizer = p->tokenizer, .chat_template = p->chat_template.data, .marks = marks};
    return rt_gguf_model_write(place->building, rt_hf_config(source->files), p->weights, &g, &p->notes, err);
}
/* A line each, as the log has it. */
static void say_notes(const parts *p) {
    for (const char *line = p->notes.text.data; line && *line; line = strchr(line, '\n') + 1) rt_log(RT_LOG_WARNING, "%.*s", (int)strcspn(line, "\n"), line);
}

static rt_status build(parts *p, const rt_frozen *source, const rt_export_place *place, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    RT_TRY(open_parts(p, source, o, err));
    RT_TRY(write_file(p, source, place, o, err));
    RT_TRY(rt_rounded_fill(&p->rounded, source->files, err));
    RT_TRY(rt_export_check(place->building, source, &p->rounded, o, r, err));
    RT_TRY(rt_export_file_publish(place, err));
    say_notes(p);
    if (!p->tokenizer) rt_log(RT_LOG_WARNING, "the file holds no tokenizer");
    return RT_OK;
}
rt_status rt_export_as_gguf(const rt_frozen *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    rt_export_place place;
    parts p = {0};
    RT_TRY(rt_export_file_open(&place, rt_hf_path(source->files), out, o->force, err));
    rt_status s = build(&p, source, &place, o, r, err);
    close_parts(&p);
    rt_export_place_close(&place);
    return s;
}
