/* statement.c - running statements: scopes, loops, macros. A for has a scope of its own, an if has not. */
#include "text/template/run.h"
#include <string.h>

static void run_one(tpl_run *r, const tpl_node *n);

void tpl_statements(tpl_run *r, const tpl_node *n) {
    if (tpl_enter(r, n))
        for (; n && !tpl_failed(r) && r->flow == TPL_ON; n = n->next)
            if (tpl_step(r, n)) run_one(r, n);
    tpl_leave(r);
}

static void write(tpl_run *r, tpl_value v) {
    size_t before = r->out->n;
    if (r->generating && v.n) { /* its bytes need marks of their own */
        uint16_t *marks = tpl_alloc(r, rt_array_bytes(v.n, sizeof *marks));
        if (!marks) return;
        for (size_t i = 0; i < v.n; i++) marks[i] = (uint16_t)((v.marks ? v.marks[i] : 0) | TPL_GENERATED);
        v.marks = marks;
    }
    tpl_add(r, r->out, v);
    if (before + v.n > TPL_OUTPUT) tpl_fail(r, NULL, RT_E_INPUT, "the template writes more than %d MiB", TPL_OUTPUT >> 20);
}

tpl_value tpl_capture(tpl_run *r, const tpl_node *body) {
    tpl_text_buf text = {0}, *out = r->out;
    r->out = &text;
    tpl_statements(r, body);
    r->out = out;
    return tpl_taken(&text);
}

/* ---------------------------------------------------------------- assigning */

static void assign(tpl_run *r, const tpl_node *target, tpl_value v);

static void unpack(tpl_run *r, const tpl_node *target, tpl_value v) {
    tpl_value items = tpl_items(r, target, v);
    size_t wanted = 0, i = 0;
    for (const tpl_node *n = target->a; n; n = n->next) wanted++;
    if (tpl_failed(r)) return;
    if (items.list->n != wanted) {
        tpl_fail(r, target, RT_E_INPUT, "%zu names for %zu values", wanted, items.list->n);
        return;
    }
    for (const tpl_node *n = target->a; n; n = n->next) assign(r, n, items.list->items[i++]);
}

static void assign(tpl_run *r, const tpl_node *target, tpl_value v) {
    if (tpl_failed(r)) return;
    if (target->kind == TPL_NAME) tpl_assign(r, target->name, v);
    else if (target->kind == TPL_LIST_OF) unpack(r, target, v);
    else {
        tpl_value object = tpl_evaluate(r, target->a);
        if (object.kind == TPL_DICT && object.dict->is_namespace) tpl_dict_put(r, object.dict, tpl_text(target->name), v);
        else tpl_fail(r, target, RT_E_INPUT, "only a namespace's attributes can be set (found %s)", tpl_kind_name(object));
    }
}

/* -------------------------------------------------------------------- loops */

typedef struct frame {
    size_t count, scope;
} frame;
static frame open_scope(tpl_run *r) {
    frame f = {r->count, r->scope};
    r->scope = r->count;
    return f;
}
static void close_scope(tpl_run *r, frame f) {
    r->count = f.count, r->scope = f.scope;
}

static tpl_value kept(tpl_run *r, const tpl_node *n, tpl_value items) {
    tpl_value out = tpl_list_new(r, tpl_failed(r) ? 0 : items.list->n);
    size_t count = 0;
    for (size_t i = 0; !tpl_failed(r) && i < items.list->n; i++) {
        frame f = open_scope(r);
        assign(r, n->a, items.list->items[i]);
        if (tpl_truth(tpl_evaluate(r, n->e))) out.list->items[count++] = items.list->items[i];
        close_scope(r, f);
    }
    if (!tpl_failed(r)) out.list->n = count;
    return out;
}

static void run_for(tpl_run *r, const tpl_node *n) {
    tpl_value items = tpl_items(r, n->b, tpl_evaluate(r, n->b));
    if (n->e && !tpl_failed(r)) items = kept(r, n, items);
    if (tpl_failed(r)) return;
    tpl_loop *l = tpl_alloc(r, sizeof *l); /* a value may outlive the loop */
    if (!l) return;
    for (l->items = items.list; l->index < items.list->n && !tpl_failed(r); l->index++) {
        frame f = open_scope(r);
        tpl_bind(r, n->name, (tpl_value){.kind = TPL_LOOP, .loop = l});
        assign(r, n->a, items.list->items[l->index]);
        tpl_statements(r, n->c);
        close_scope(r, f);
        tpl_flow flow = r->flow;
        r->flow = TPL_ON;
        if (flow == TPL_BREAK) break;
    }
    if (items.list->n == 0) tpl_statements(r, n->d);
    if (l->index >= items.list->n && l->index) l->index = items.list->n - 1;
}

/* ------------------------------------------------------------------- macros */

static void bind_parameters(tpl_run *r, const tpl_node *parameters, const tpl_args *a) {
    size_t position = 0;
    for (const tpl_node *p = parameters; p && !tpl_failed(r); p = p->next, position++) {
        tpl_value v = tpl_argument(a, position, p->name);
        if (v.kind == TPL_UNDEFINED && p->b) v = tpl_evaluate(r, p->b);
        tpl_bind(r, p->name, v);
    }
    if (a->n > position) tpl_fail(r, a->at, RT_E_INPUT, "%zu arguments, the macro takes %zu", a->n, position);
}

/* A macro sees its parameters and what is global; the body of a call block also what is around it. */
tpl_value tpl_call_macro(tpl_run *r, const tpl_node *macro, const tpl_args *a, const tpl_node *block) {
    size_t floor = r->floor;
    frame f = open_scope(r);
    tpl_value out = TPL_NOTHING;
    r->floor = macro->kind == TPL_MACRO_OF ? r->count : 0;
    if (r->scope == 0) r->scope = 1; /* what a macro sets is never global */
    if (tpl_enter(r, a->at)) {
        bind_parameters(r, macro->kind == TPL_MACRO_OF ? macro->a : macro->b, a);
        if (block) tpl_bind(r, block->name, (tpl_value){.kind = TPL_MACRO, .macro = block});
        out = tpl_capture(r, macro->c);
    }
    tpl_leave(r);
    close_scope(r, f);
    r->floor = floor;
    return out;
}

static void run_call_block(tpl_run *r, const tpl_node *n) {
    tpl_value callee = tpl_evaluate(r, n->a->a);
    tpl_args a = tpl_arguments(r, n->a, n->a->b);
    if (!tpl_failed(r) && callee.kind != TPL_MACRO) tpl_fail(r, n->a, RT_E_INPUT, "call of %s, expected a macro", tpl_kind_name(callee));
    if (!tpl_failed(r)) write(r, tpl_call_macro(r, callee.macro, &a, n));
}

/* Filters over a block: their innermost operand is the name "", bound to what the block wrote. */
static tpl_value filtered(tpl_run *r, const tpl_node *n) {
    tpl_value text = tpl_capture(r, n->c);
    const tpl_node *innermost = n->b;
    while (innermost->a) innermost = innermost->a;
    frame f = open_scope(r);
    tpl_bind(r, innermost->name, text);
    text = tpl_evaluate(r, n->b);
    close_scope(r, f);
    return text;
}

static void run_generation(tpl_run *r, const tpl_node *n) {
    bool before = r->generating;
    r->generating = true;
    tpl_statements(r, n->c);
    r->generating = before;
}

static void run_if(tpl_run *r, const tpl_node *n) {
    while (n && n->kind == TPL_IF && !tpl_truth(tpl_evaluate(r, n->a))) {
        if (tpl_failed(r)) return;
        const tpl_node *other = n->c;
        if (!other || !other->chained) {
            tpl_statements(r, other);
            return;
        }
        n = other;
    }
    tpl_statements(r, n->b);
}

static void run_one(tpl_run *r, const tpl_node *n) {
    switch (n->kind) {
    case TPL_OUTPUT_TEXT: write(r, n->value); break;
    case TPL_OUTPUT_OF: write(r, tpl_str(r, tpl_evaluate(r, n->a))); break;
    case TPL_IF: run_if(r, n); break;
    case TPL_FOR: run_for(r, n); break;
    case TPL_SET: assign(r, n->a, tpl_evaluate(r, n->b)); break;
    case TPL_SET_BLOCK: assign(r, n->a, filtered(r, n)); break;
    case TPL_FILTER_BLOCK: write(r, tpl_str(r, filtered(r, n))); break;
    case TPL_MACRO_OF: tpl_assign(r, n->name, (tpl_value){.kind = TPL_MACRO, .macro = n}); break;
    case TPL_CALL_BLOCK: run_call_block(r, n); break;
    case TPL_GENERATION: run_generation(r, n); break;
    case TPL_BREAK_NOW: r->flow = TPL_BREAK; break;
    case TPL_CONTINUE_NOW: r->flow = TPL_CONTINUE; break;
    default: tpl_fail(r, n, RT_E_INPUT, "no statement");
    }
}
