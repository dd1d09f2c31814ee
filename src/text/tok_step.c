/* tok_step.c - the three registries, and loading a component of tokenizer.json into a flat list of steps. */
#include "text/tok_step.h"
#include <string.h>

#define TOK_KIND(name) extern const tok_kind rt_tok_normalizer_##name;
#include "text/normalizers.def"
#undef TOK_KIND
#define TOK_KIND(name) extern const tok_kind rt_tok_pretokenizer_##name;
#include "text/pretokenizers.def"
#undef TOK_KIND
#define TOK_KIND(name) extern const tok_kind rt_tok_decoder_##name;
#include "text/decoders.def"
#undef TOK_KIND

const tok_kind *const rt_tok_normalizers[] = {
#define TOK_KIND(name) &rt_tok_normalizer_##name,
#include "text/normalizers.def"
#undef TOK_KIND
    NULL};
const tok_kind *const rt_tok_pretokenizers[] = {
#define TOK_KIND(name) &rt_tok_pretokenizer_##name,
#include "text/pretokenizers.def"
#undef TOK_KIND
    NULL};
const tok_kind *const rt_tok_decoders[] = {
#define TOK_KIND(name) &rt_tok_decoder_##name,
#include "text/decoders.def"
#undef TOK_KIND
    NULL};

enum { MAX_DEPTH = 16, MAX_KINDS = 63 };

rt_status rt_tok_out_of_memory(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory in the tokenizer"); }

rt_status rt_tok_step_content(tok_step *s, const tok_node *json, const char *key, const char *otherwise,
                              rt_error *err) {
    const char *text;
    RT_TRY(rt_tok_string(json, key, otherwise, &text, &s->content_bytes, err));
    s->content = rt_strndup(text, s->content_bytes);
    return s->content ? RT_OK : rt_tok_out_of_memory(err);
}

static rt_status find_kind(const tok_node *json, const tok_kind *const *kinds, const tok_kind **kind, rt_error *err) {
    const char *names[MAX_KINDS + 1] = {0}, *type;
    int i = 0;
    RT_TRY(rt_tok_string(json, "type", NULL, &type, NULL, err));
    for (; i < MAX_KINDS && kinds[i]; i++) names[i] = kinds[i]->type;
    RT_TRY(rt_tok_choice(json, type, names, &i, err));
    *kind = kinds[i];
    return RT_OK;
}

static rt_status load(tok_steps *s, const tok_node *json, const tok_kind *const *kinds, const char *members, int depth,
                      rt_error *err) {
    const char *type;
    RT_TRY(rt_tok_string(json, "type", NULL, &type, NULL, err));
    if (depth > MAX_DEPTH) return rt_tok_fail(json, RT_E_INPUT, err, "sequences nested deeper than %d", MAX_DEPTH);
    if (strcmp(type, "Sequence") == 0) {
        tok_node list = rt_tok_key(json, members);
        RT_TRY(rt_tok_expect(&list, JSON_ARRAY, err));
        for (size_t i = 0; i < json_array_size(list.json); i++) {
            tok_node item = rt_tok_item(&list, i);
            RT_TRY(load(s, &item, kinds, members, depth + 1, err));
        }
        return RT_OK;
    }
    const tok_kind *kind;
    RT_TRY(find_kind(json, kinds, &kind, err));
    if (!rt_tok_grow((void **)&s->items, s->size + 1, &s->capacity, sizeof *s->items)) return rt_tok_out_of_memory(err);
    tok_step *step = &s->items[s->size++];
    *step = (tok_step){.kind = kind};
    return kind->load ? kind->load(step, json, err) : RT_OK;
}

rt_status rt_tok_steps_load(tok_steps *s, const tok_node *json, const tok_kind *const *kinds, const char *members,
                            rt_error *err) {
    return rt_tok_absent(json) ? RT_OK : load(s, json, kinds, members, 0, err);
}

void rt_tok_steps_free(tok_steps *s) {
    for (size_t i = 0; i < s->size; i++) {
        rt_tok_pattern_free(&s->items[i].pattern);
        rt_free(s->items[i].content);
    }
    rt_free(s->items);
    *s = (tok_steps){0};
}

bool rt_tok_steps_have(const tok_steps *s, const tok_kind *kind) {
    for (size_t i = 0; i < s->size; i++)
        if (s->items[i].kind == kind) return true;
    return false;
}
