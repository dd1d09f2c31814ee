/* template.c - a template from its text, and its renderings. */
#include "text/template/template.h"
#include "text/template/parser.h"
#include "text/template/run.h"
#include "text/utf8.h"
#include <string.h>

enum { MAX_BYTES = 4 << 20 };

struct rt_template {
    rt_arena arena;
    char *name;
    tpl_names names;
    tpl_node *body;
};
struct tpl_scene {
    tpl_run run;
    rt_arena values; /* what was made before the first rendering; the run's own arena lasts for one rendering */
    bool sealed;
};

const char *rt_template_name(const rt_template *t) { return t->name; }

void rt_template_free(rt_template *t) {
    if (!t) return;
    rt_arena_free(&t->arena);
    rt_free(t);
}

/* Line ends become \n, and one at the very end goes, as Jinja has it. */
static char *normalised(rt_arena *a, const char *text, size_t bytes, size_t *n) {
    char *out = rt_arena_alloc(a, bytes + 1);
    *n = 0;
    for (size_t i = 0; out && i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') continue;
        out[(*n)++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (out && *n && out[*n - 1] == '\n') --*n;
    return out;
}

static rt_status parse(rt_template *t, const char *text, size_t bytes, const char *name, rt_error *err) {
    size_t n = 0;
    tpl_token *tokens;
    if (bytes > MAX_BYTES) return rt_fail(err, RT_E_INPUT, "%s: a template of more than %d bytes", name, MAX_BYTES);
    if (rt_utf8_valid_bytes(text, bytes) < bytes) return rt_fail(err, RT_E_INPUT, "%s: not UTF-8 at byte %zu", name, rt_utf8_valid_bytes(text, bytes));
    t->name = rt_arena_strdup(&t->arena, name);
    char *source = normalised(&t->arena, text, bytes, &n);
    if (!t->name || !source) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", name);
    RT_TRY(tpl_lex(source, n, t->name, &t->arena, &tokens, err));
    tpl_parser p = {.name = t->name, .arena = &t->arena, .at = tokens, .names = &t->names, .err = err};
    t->body = tpl_parse(&p);
    return p.status;
}

rt_status rt_template_parse(rt_template **out, const char *text, size_t bytes, const char *name, rt_error *err) {
    rt_template *t = rt_zalloc(sizeof *t);
    *out = NULL;
    if (!t) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", name);
    rt_status s = parse(t, text, bytes, name, err);
    if (s != RT_OK) return rt_template_free(t), s;
    *out = t;
    return RT_OK;
}

/* ---------------------------------------------------------------- rendering */

rt_status tpl_scene_new(tpl_scene **out, const rt_template *t, int64_t now, rt_error *err) {
    tpl_scene *s = *out = rt_zalloc(sizeof *s);
    if (!s) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", t->name);
    s->run = (tpl_run){.t = t, .err = err, .memory_left = SIZE_MAX / 4, .steps_left = INT64_MAX, .now = now};
    return RT_OK;
}
void tpl_scene_free(tpl_scene *s) {
    if (!s) return;
    rt_arena_free(&s->run.arena);
    rt_arena_free(&s->values);
    rt_free(s);
}
tpl_run *tpl_scene_run(tpl_scene *s) { return &s->run; }

static tpl_value marked(tpl_run *r, const char *text, size_t n, uint16_t mark) {
    uint16_t *marks = mark && n ? tpl_alloc(r, rt_array_bytes(n, sizeof *marks)) : NULL;
    for (size_t i = 0; marks && i < n; i++) marks[i] = mark;
    return tpl_bytes(text, n, marks);
}

static tpl_value from_list(tpl_run *r, const json_t *v, uint16_t mark) {
    tpl_value out = tpl_list_new(r, json_array_size(v));
    for (size_t i = 0; !tpl_failed(r) && i < out.list->n; i++) out.list->items[i] = tpl_from_json(r, json_array_get(v, i), mark);
    return out;
}
/* Its keys are known to differ, and may be many: none is looked for. */
tpl_value tpl_from_object(tpl_run *r, const json_t *v, uint16_t mark, uint16_t role) {
    tpl_value out = tpl_dict_new(r);
    const char *name;
    json_t *item;
    size_t n = json_object_size(v);
    tpl_pair *pairs = tpl_alloc(r, rt_array_bytes(n, sizeof *pairs));
    if (!pairs) return TPL_NOTHING;
    *out.dict = (tpl_dict){.pairs = pairs, .capacity = n};
    json_object_foreach((json_t *)v, name, item) {
        tpl_value key = marked(r, name, strlen(name), mark), value = tpl_from_json(r, item, strcmp(name, "role") == 0 ? role : mark);
        if (tpl_failed(r)) return TPL_NOTHING;
        pairs[out.dict->n++] = (tpl_pair){key, value};
    }
    return out;
}

tpl_value tpl_from_json(tpl_run *r, const json_t *v, uint16_t mark) {
    tpl_value out = TPL_NOTHING;
    if (tpl_enter(r, NULL)) switch (json_typeof(v)) {
        case JSON_OBJECT: out = tpl_from_object(r, v, mark, mark); break;
        case JSON_ARRAY: out = from_list(r, v, mark); break;
        case JSON_STRING: out = marked(r, json_string_value(v), json_string_length(v), mark); break;
        case JSON_INTEGER: out = tpl_int(json_integer_value(v)); break;
        case JSON_REAL: out = tpl_float(json_real_value(v)); break;
        case JSON_NULL: out = tpl_none(); break;
        default: out = tpl_bool(json_is_true(v));
        }
    tpl_leave(r);
    return out;
}

/* Only names that the template knows can be asked for, so only those are bound. */
static void bind(tpl_run *r, const tpl_binding *b) {
    const tpl_names *names = &r->t->names;
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->item[i], b->name) == 0) tpl_assign(r, names->item[i], b->value);
}

static void fresh_memory(tpl_scene *s) {
    tpl_run *r = &s->run;
    if (s->sealed) rt_arena_free(&r->arena);
    else s->values = r->arena;
    s->sealed = true;
    r->arena = (rt_arena){0};
    r->free_at = r->free_end = NULL;
    r->variables = NULL, r->capacity = 0;
    r->memory_left = TPL_MEMORY;
}

rt_status tpl_render(tpl_scene *s, const tpl_binding *variables, size_t n, rt_error *err, tpl_value *out) {
    tpl_run *r = &s->run;
    tpl_text_buf text = {0};
    fresh_memory(s);
    r->err = err, r->status = RT_OK, r->depth = 0;
    r->count = r->globals = r->scope = r->floor = 0;
    r->steps_left = TPL_STEPS, r->flow = TPL_ON, r->generating = false, r->out = &text;
    for (size_t i = 0; i < n; i++) bind(r, &variables[i]);
    tpl_statements(r, r->t->body);
    *out = tpl_taken(&text);
    return r->status;
}
