/* expression.c - evaluating expressions. What Python would do with the operands is done; what would raise there fails. */
#include "text/template/run.h"
#include <math.h>
#include <string.h>

static tpl_value undefined_use(tpl_run *r, const tpl_node *at, tpl_value v) {
    return tpl_fail(r, at, RT_E_INPUT, "'%s' is undefined", v.s ? v.s : "a value");
}
static tpl_value misfit(tpl_run *r, const tpl_node *n, const char *op, tpl_value a, tpl_value b) {
    if (a.kind == TPL_UNDEFINED) return undefined_use(r, n, a);
    if (b.kind == TPL_UNDEFINED) return undefined_use(r, n, b);
    return tpl_fail(r, n, RT_E_INPUT, "%s between %s and %s", op, tpl_kind_name(a), tpl_kind_name(b));
}

/* --------------------------------------------------------------- arithmetic */

static tpl_value joined(tpl_run *r, tpl_value a, tpl_value b) {
    tpl_value out = tpl_list_new(r, a.list->n + b.list->n);
    if (tpl_failed(r)) return out;
    if (a.list->n) memcpy(out.list->items, a.list->items, a.list->n * sizeof *out.list->items);
    if (b.list->n) memcpy(out.list->items + a.list->n, b.list->items, b.list->n * sizeof *out.list->items);
    out.tuple = a.tuple;
    return out;
}

static tpl_value repeated(tpl_run *r, tpl_value text, int64_t times) {
    tpl_text_buf b = {0};
    for (int64_t i = 0; i < times && text.n && tpl_step(r, NULL); i++) tpl_add(r, &b, text);
    return tpl_taken(&b);
}

/* Python's floor division and modulo: towards minus infinity, the sign of the divisor. */
static tpl_value whole(tpl_run *r, const tpl_node *n, int64_t a, int64_t b) {
    int64_t x = 0;
    bool over = false, zero = (n->op == TPL_FLOOR || n->op == TPL_MODULO) && b == 0;
    if (zero) return tpl_fail(r, n, RT_E_INPUT, "division by zero");
    switch (n->op) {
    case TPL_ADD: over = __builtin_add_overflow(a, b, &x); break;
    case TPL_SUBTRACT: over = __builtin_sub_overflow(a, b, &x); break;
    case TPL_MULTIPLY: over = __builtin_mul_overflow(a, b, &x); break;
    case TPL_FLOOR:
        if (b == -1) over = __builtin_sub_overflow(0, a, &x);
        else x = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    default: x = b == -1 ? 0 : a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
    }
    return over ? tpl_fail(r, n, RT_E_INPUT, "an integer beyond 64 bits") : tpl_int(x);
}

static tpl_value real(tpl_run *r, const tpl_node *n, double a, double b) {
    switch (n->op) {
    case TPL_ADD: return tpl_float(a + b);
    case TPL_SUBTRACT: return tpl_float(a - b);
    case TPL_MULTIPLY: return tpl_float(a * b);
    case TPL_POWER: return tpl_float(pow(a, b));
    default: break;
    }
    if (b == 0) return tpl_fail(r, n, RT_E_INPUT, "division by zero");
    if (n->op == TPL_DIVIDE) return tpl_float(a / b);
    double floored = floor(a / b);
    return tpl_float(n->op == TPL_FLOOR ? floored : a - b * floored);
}

static int64_t integer(tpl_value v) { return v.kind == TPL_BOOL ? v.b : v.i; }
static tpl_value power(tpl_run *r, const tpl_node *n, tpl_value a, tpl_value b) {
    tpl_node times = *n;
    bool whole_ones = a.kind != TPL_FLOAT && b.kind != TPL_FLOAT;
    int64_t base = whole_ones ? integer(a) : 0, left = whole_ones ? integer(b) : 0;
    times.op = TPL_MULTIPLY;
    if (!whole_ones || left < 0) return real(r, n, tpl_real(a), tpl_real(b));
    if (base == 0 || base == 1 || base == -1) return tpl_int(left == 0 ? 1 : base == -1 && left % 2 == 0 ? 1 : base);
    tpl_value out = tpl_int(1);
    for (; left > 0 && !tpl_failed(r); left--) out = whole(r, &times, out.i, base);
    return out;
}

static tpl_value arithmetic(tpl_run *r, const tpl_node *n, tpl_value a, tpl_value b) {
    static const char *const signs[] = {"", "", "+", "-", "*", "/", "//", "%", "**"};
    bool whole_ones = a.kind != TPL_FLOAT && b.kind != TPL_FLOAT && n->op != TPL_DIVIDE;
    if (n->op == TPL_ADD && a.kind == TPL_STRING && b.kind == TPL_STRING) return tpl_concat(r, a, b);
    if (n->op == TPL_ADD && a.kind == TPL_LIST && b.kind == TPL_LIST) return joined(r, a, b);
    if (n->op == TPL_MULTIPLY && a.kind == TPL_STRING && b.kind == TPL_INT) return repeated(r, a, b.i);
    if (!tpl_number(a) || !tpl_number(b)) return misfit(r, n, signs[n->op], a, b);
    if (n->op == TPL_POWER) return power(r, n, a, b);
    if (whole_ones) return whole(r, n, integer(a), integer(b));
    return real(r, n, tpl_real(a), tpl_real(b));
}

static tpl_value binary(tpl_run *r, const tpl_node *n) {
    tpl_value a = tpl_evaluate(r, n->a), b = tpl_evaluate(r, n->b);
    if (tpl_failed(r)) return TPL_NOTHING;
    if (n->op != TPL_TILDE) return arithmetic(r, n, a, b);
    tpl_value left = tpl_str(r, a), right = tpl_str(r, b);
    return tpl_failed(r) ? TPL_NOTHING : tpl_concat(r, left, right);
}

static tpl_value unary(tpl_run *r, const tpl_node *n) {
    tpl_value v = tpl_evaluate(r, n->a);
    if (tpl_failed(r)) return TPL_NOTHING;
    if (!tpl_number(v)) return misfit(r, n, "a sign", v, v);
    if (v.kind == TPL_FLOAT) return tpl_float(n->op == TPL_SUBTRACT ? -v.f : v.f);
    return whole(r, n, 0, integer(v));
}

/* --------------------------------------------------------------- comparison */

bool tpl_contains(tpl_run *r, const tpl_node *at, tpl_value container, tpl_value item) {
    if (container.kind == TPL_STRING) {
        if (item.kind != TPL_STRING) return tpl_fail(r, at, RT_E_INPUT, "'in' a string needs a string (found %s)", tpl_kind_name(item)), false;
        tpl_charge(r, container.n);
        return item.n == 0 || tpl_find(container, item, 0) < container.n;
    }
    if (container.kind == TPL_DICT) return tpl_dict_get(r, container.dict, item) != NULL;
    if (container.kind == TPL_UNDEFINED) return false;
    if (container.kind != TPL_LIST) return tpl_fail(r, at, RT_E_INPUT, "'in' %s", tpl_kind_name(container)), false;
    tpl_charge(r, 64 * container.list->n);
    for (size_t i = 0; i < container.list->n; i++)
        if (tpl_equal(r, container.list->items[i], item)) return true;
    return false;
}

static bool holds(tpl_run *r, const tpl_node *n, tpl_value a, tpl_value b) {
    int order;
    if (a.kind == TPL_STRING) tpl_charge(r, a.n);
    if (n->op == TPL_EQ || n->op == TPL_NE) return tpl_equal(r, a, b) == (n->op == TPL_EQ);
    if (n->op == TPL_IN || n->op == TPL_NOT_IN) return tpl_contains(r, n, b, a) == (n->op == TPL_IN);
    if (!tpl_order(a, b, &order)) return misfit(r, n, "an order", a, b), false;
    return n->op == TPL_LT ? order < 0 : n->op == TPL_LE ? order <= 0 : n->op == TPL_GT ? order > 0 : order >= 0;
}

static tpl_value compare(tpl_run *r, const tpl_node *n) {
    tpl_value a = tpl_evaluate(r, n->a), b;
    for (const tpl_node *c = n->b; c; c = c->next, a = b) {
        b = tpl_evaluate(r, c->a);
        if (tpl_failed(r) || !holds(r, c, a, b)) return tpl_bool(false);
    }
    return tpl_bool(true);
}

/* -------------------------------------------------------------------- calls */

tpl_args tpl_arguments(tpl_run *r, const tpl_node *at, const tpl_node *list) {
    tpl_args a = {.at = at};
    size_t n = 0;
    for (const tpl_node *i = list; i; i = i->next) n++;
    if (!n) return a;
    a.items = tpl_alloc(r, n * sizeof *a.items), a.names = tpl_alloc(r, n * sizeof *a.names);
    for (const tpl_node *i = list; i && !tpl_failed(r); i = i->next, a.n++) {
        a.items[a.n] = tpl_evaluate(r, i->a);
        a.names[a.n] = i->label;
    }
    return a;
}

tpl_value tpl_argument(const tpl_args *a, size_t position, const char *name) {
    if (position < a->n && !a->names[position]) return a->items[position];
    for (size_t i = 0; name && i < a->n; i++)
        if (a->names[i] && strcmp(a->names[i], name) == 0) return a->items[i];
    return TPL_NOTHING;
}

static tpl_value call(tpl_run *r, const tpl_node *n) {
    bool method = n->a->kind == TPL_ATTRIBUTE;
    tpl_value object = tpl_evaluate(r, method ? n->a->a : n->a), callee = object;
    if (tpl_failed(r)) return TPL_NOTHING;
    if (method) callee = object.kind == TPL_DICT || object.kind == TPL_LOOP ? tpl_attribute(r, object, n->a->name) : TPL_NOTHING;
    tpl_args a = tpl_arguments(r, n, n->b);
    if (tpl_failed(r)) return TPL_NOTHING;
    if (callee.kind == TPL_MACRO) return tpl_call_macro(r, callee.macro, &a, NULL);
    if (callee.kind == TPL_FUNCTION) return tpl_call_function(r, callee.i, &a);
    if (method && object.kind != TPL_UNDEFINED) return tpl_call_method(r, object, n->a->name, &a);
    if (callee.kind == TPL_UNDEFINED) return undefined_use(r, n, callee.s || !method ? callee : object);
    return tpl_fail(r, n, RT_E_INPUT, "%s cannot be called", tpl_kind_name(callee));
}

/* ------------------------------------------------------------------- others */

static tpl_value list_of(tpl_run *r, const tpl_node *n) {
    size_t count = 0;
    for (const tpl_node *i = n->a; i; i = i->next) count++;
    tpl_value out = tpl_list_new(r, count);
    count = 0;
    for (const tpl_node *i = n->a; i && !tpl_failed(r); i = i->next) out.list->items[count++] = tpl_evaluate(r, i);
    out.tuple = n->op == 1;
    return out;
}
static tpl_value dict_of(tpl_run *r, const tpl_node *n) {
    tpl_value out = tpl_dict_new(r);
    for (const tpl_node *i = n->a; i && !tpl_failed(r); i = i->next->next) {
        tpl_value key = tpl_evaluate(r, i), value = tpl_evaluate(r, i->next);
        if (!tpl_failed(r)) tpl_dict_put(r, out.dict, key, value);
    }
    return out;
}

static tpl_value name(tpl_run *r, const tpl_node *n) {
    const tpl_value *v = tpl_lookup(r, n->name);
    if (v) return *v;
    int64_t function = tpl_function_find(n->name);
    return function >= 0 ? (tpl_value){.kind = TPL_FUNCTION, .i = function} : tpl_undefined(n->name);
}

static tpl_value attribute(tpl_run *r, const tpl_node *n) {
    tpl_value object = tpl_evaluate(r, n->a);
    if (object.kind == TPL_UNDEFINED) return tpl_failed(r) ? object : undefined_use(r, n, object);
    return tpl_attribute(r, object, n->name);
}
static tpl_value optional(tpl_run *r, const tpl_node *n) { return n ? tpl_evaluate(r, n) : tpl_none(); }
static tpl_value item(tpl_run *r, const tpl_node *n) {
    tpl_value object = tpl_evaluate(r, n->a), b = optional(r, n->b);
    if (tpl_failed(r)) return TPL_NOTHING;
    if (object.kind == TPL_UNDEFINED) return undefined_use(r, n, object);
    if (n->kind == TPL_ITEM) return tpl_item(r, n, object, b);
    tpl_value c = optional(r, n->c), d = optional(r, n->d);
    return tpl_failed(r) ? TPL_NOTHING : tpl_slice(r, n, object, b, c, d);
}

static tpl_value filter(tpl_run *r, const tpl_node *n) {
    tpl_value v = tpl_evaluate(r, n->a);
    tpl_args a = tpl_arguments(r, n, n->b);
    return tpl_failed(r) ? TPL_NOTHING : tpl_filter(r, v, n->name, &a);
}
static tpl_value test(tpl_run *r, const tpl_node *n) {
    tpl_value v = tpl_evaluate(r, n->a);
    tpl_args a = tpl_arguments(r, n, n->b);
    return tpl_failed(r) ? TPL_NOTHING : tpl_bool(tpl_test(r, v, n->name, &a) != n->op);
}

static tpl_value evaluate(tpl_run *r, const tpl_node *n) {
    tpl_value v;
    switch (n->kind) {
    case TPL_LITERAL: return n->value;
    case TPL_NAME: return name(r, n);
    case TPL_LIST_OF: return list_of(r, n);
    case TPL_DICT_OF: return dict_of(r, n);
    case TPL_ATTRIBUTE: return attribute(r, n);
    case TPL_ITEM:
    case TPL_SLICE: return item(r, n);
    case TPL_CALL: return call(r, n);
    case TPL_FILTER: return filter(r, n);
    case TPL_TEST: return test(r, n);
    case TPL_UNARY: return unary(r, n);
    case TPL_BINARY: return binary(r, n);
    case TPL_COMPARE: return compare(r, n);
    case TPL_AND: return tpl_truth(v = tpl_evaluate(r, n->a)) ? tpl_evaluate(r, n->b) : v;
    case TPL_OR: return tpl_truth(v = tpl_evaluate(r, n->a)) ? v : tpl_evaluate(r, n->b);
    case TPL_NOT: return tpl_bool(!tpl_truth(tpl_evaluate(r, n->a)));
    case TPL_CHOICE:
        if (tpl_truth(tpl_evaluate(r, n->a))) return tpl_evaluate(r, n->b);
        return n->c ? tpl_evaluate(r, n->c) : TPL_NOTHING;
    default: return tpl_fail(r, n, RT_E_INPUT, "no expression");
    }
}

tpl_value tpl_evaluate(tpl_run *r, const tpl_node *n) {
    tpl_value v = TPL_NOTHING;
    if (tpl_enter(r, n) && tpl_step(r, n)) v = evaluate(r, n);
    tpl_leave(r);
    return tpl_failed(r) ? TPL_NOTHING : v;
}
