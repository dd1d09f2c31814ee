/* run.c - memory, limits, variables and failure of a rendering. */
#include "text/template/run.h"
#include "text/template/template.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = (1 << 16) - 64 };

tpl_value tpl_fail(tpl_run *r, const tpl_node *at, rt_status s, const char *format, ...) {
    char text[400];
    va_list args;
    if (tpl_failed(r)) return TPL_NOTHING;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *name = rt_template_name(r->t);
    r->status = at ? rt_fail(r->err, s, "%s:%d:%d: %s", name, at->line, at->column, text) : rt_fail(r->err, s, "%s: %s", name, text);
    return TPL_NOTHING;
}

static void *no_room(tpl_run *r, bool limit) {
    if (limit) tpl_fail(r, NULL, RT_E_INPUT, "the template asks for more than %d MiB", TPL_MEMORY >> 20);
    else tpl_fail(r, NULL, RT_E_NOMEM, "out of memory");
    return NULL;
}

void *tpl_alloc(tpl_run *r, size_t bytes) {
    if (tpl_failed(r)) return NULL;
    if (bytes > r->memory_left) return no_room(r, true);
    bytes = bytes ? (bytes + 15) / 16 * 16 : 16;
    r->memory_left -= bytes < r->memory_left ? bytes : r->memory_left;
    if (bytes > CHUNK / 4) {
        void *p = rt_arena_alloc(&r->arena, bytes);
        r->free_at = r->free_end = NULL; /* the arena goes on in its newest block only */
        return p ? p : no_room(r, false);
    }
    if ((size_t)(r->free_end - r->free_at) < bytes) {
        r->free_at = rt_arena_alloc(&r->arena, CHUNK);
        if (!r->free_at) return r->free_end = NULL, no_room(r, false);
        r->free_end = r->free_at + CHUNK;
    }
    void *p = r->free_at;
    r->free_at += bytes;
    return p;
}

static void spend(tpl_run *r, const tpl_node *at, size_t steps) {
    if ((int64_t)steps <= r->steps_left) r->steps_left -= (int64_t)steps;
    else tpl_fail(r, at, RT_E_INPUT, "the template takes more than %d steps", TPL_STEPS);
}
void tpl_charge(tpl_run *r, size_t bytes) { spend(r, NULL, bytes / 64); }
bool tpl_step(tpl_run *r, const tpl_node *at) { return spend(r, at, 1), !tpl_failed(r); }
bool tpl_enter(tpl_run *r, const tpl_node *at) {
    if (++r->depth > TPL_DEPTH) tpl_fail(r, at, RT_E_INPUT, "the template goes deeper than %d levels", TPL_DEPTH);
    return !tpl_failed(r);
}

/* ---------------------------------------------------------------- variables */

static tpl_variable *find(const tpl_run *r, size_t from, size_t end, const char *name) {
    for (size_t i = end; i > from; i--)
        if (r->variables[i - 1].name == name) return &r->variables[i - 1];
    return NULL;
}

const tpl_value *tpl_lookup(const tpl_run *r, const char *name) {
    size_t from = r->floor > r->globals ? r->floor : r->globals;
    const tpl_variable *v = find(r, from, r->count, name);
    if (!v) v = find(r, 0, r->globals, name);
    return v ? &v->value : NULL;
}

void tpl_bind(tpl_run *r, const char *name, tpl_value value) {
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 64;
        tpl_variable *grown = tpl_alloc(r, rt_array_bytes(capacity, sizeof *grown));
        if (!grown) return;
        if (r->count) memcpy(grown, r->variables, r->count * sizeof *grown);
        r->variables = grown, r->capacity = capacity;
    }
    r->variables[r->count++] = (tpl_variable){name, value};
}

void tpl_assign(tpl_run *r, const char *name, tpl_value value) {
    tpl_variable *there = find(r, r->scope, r->count, name);
    if (there) {
        there->value = value;
        return;
    }
    bool global = r->scope == 0;
    tpl_bind(r, name, value);
    if (global) r->globals = r->count;
}
