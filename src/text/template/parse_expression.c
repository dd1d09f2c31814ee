/* parse_expression.c - expressions, with Jinja's precedence: if-else, or, and, not, comparison, + -, ~, * / // %, unary
 * sign, **, then what stands behind a primary: .name [..] (..) | filter, is test. */
#include "text/template/parser.h"
#include <string.h>

static tpl_node *two(tpl_parser *p, tpl_node_kind kind, int op, const tpl_token *at, tpl_node *a, tpl_node *b) {
    tpl_node *n = tpl_node_new(p, kind, at);
    n->op = op, n->a = a, n->b = b;
    return n;
}
static bool sign(tpl_parser *p, const char *text) { return tpl_accept(p, TPL_T_SIGN, text); }
static bool name(tpl_parser *p, const char *text) { return tpl_accept(p, TPL_T_NAME, text); }
static tpl_node **append(tpl_node **last, tpl_node *n) { return *last = n, &n->next; }

/* ------------------------------------------------------------------ primary */

static tpl_node *literal(tpl_parser *p, const tpl_token *t, tpl_value v) {
    tpl_node *n = tpl_node_new(p, TPL_LITERAL, t);
    n->value = v;
    return n;
}

static tpl_node *strings(tpl_parser *p) { /* "a" "b" is one string */
    const tpl_token *first = p->at++;
    size_t n = first->n;
    if (p->at->kind != TPL_T_STRING) return literal(p, first, tpl_bytes(first->s, n, NULL));
    while (p->at->kind == TPL_T_STRING) n += p->at++->n;
    char *all = rt_arena_alloc(p->arena, n + 1), *to = all;
    if (!all) return tpl_refuse(p, NULL);
    for (const tpl_token *t = first; t < p->at; t++) to = (char *)memcpy(to, t->s, t->n) + t->n;
    return literal(p, first, tpl_bytes(all, n, NULL));
}

static tpl_node *names(tpl_parser *p) {
    static const struct {
        const char *text;
        tpl_value value;
    } constants[] = {{"true", {.kind = TPL_BOOL, .b = true}},   {"True", {.kind = TPL_BOOL, .b = true}},
                     {"false", {.kind = TPL_BOOL, .b = false}}, {"False", {.kind = TPL_BOOL, .b = false}},
                     {"none", {.kind = TPL_NONE}},              {"None", {.kind = TPL_NONE}}};
    const tpl_token *t = p->at++;
    for (int i = 0; i < 6; i++)
        if (t->n == strlen(constants[i].text) && memcmp(t->s, constants[i].text, t->n) == 0) return literal(p, t, constants[i].value);
    tpl_node *n = tpl_node_new(p, TPL_NAME, t);
    n->name = tpl_intern(p, t->s, t->n);
    return n;
}

static tpl_node *list(tpl_parser *p) {
    tpl_node *n = tpl_node_new(p, TPL_LIST_OF, p->at - 1), **last = &n->a;
    while (!tpl_next_is(p, TPL_T_SIGN, "]")) {
        last = append(last, tpl_expression(p));
        if (!sign(p, ",")) break;
    }
    tpl_expect(p, TPL_T_SIGN, "]");
    return n;
}

static tpl_node *dict(tpl_parser *p) {
    tpl_node *n = tpl_node_new(p, TPL_DICT_OF, p->at - 1), **last = &n->a;
    while (!tpl_next_is(p, TPL_T_SIGN, "}")) {
        last = append(last, tpl_expression(p));
        tpl_expect(p, TPL_T_SIGN, ":");
        last = append(last, tpl_expression(p));
        if (!sign(p, ",")) break;
    }
    tpl_expect(p, TPL_T_SIGN, "}");
    return n;
}

static tpl_node *bracketed(tpl_parser *p) {
    if (sign(p, ")")) return two(p, TPL_LIST_OF, 1, p->at - 1, NULL, NULL);
    tpl_node *n = tpl_tuple(p, true);
    tpl_expect(p, TPL_T_SIGN, ")");
    return n;
}

static tpl_node *primary(tpl_parser *p) {
    const tpl_token *t = p->at;
    switch (t->kind) {
    case TPL_T_STRING: return strings(p);
    case TPL_T_NAME: return names(p);
    case TPL_T_INT: return p->at++, literal(p, t, tpl_int(t->i));
    case TPL_T_FLOAT: return p->at++, literal(p, t, tpl_float(t->f));
    default:
        if (sign(p, "(")) return bracketed(p);
        if (sign(p, "[")) return list(p);
        return sign(p, "{") ? dict(p) : tpl_refuse(p, "a value");
    }
}

/* ------------------------------------------------------- behind a primary */

tpl_node *tpl_call_args(tpl_parser *p) {
    tpl_node *first = NULL, **last = &first;
    while (!tpl_next_is(p, TPL_T_SIGN, ")")) {
        bool keyword = p->at->kind == TPL_T_NAME && p->at[1].kind == TPL_T_SIGN && p->at[1].n == 1 && *p->at[1].s == '=';
        const char *label = keyword ? tpl_intern(p, p->at->s, p->at->n) : NULL;
        if (keyword) p->at += 2;
        tpl_node *argument = tpl_node_new(p, TPL_CALL, p->at);
        argument->label = label;
        argument->a = tpl_expression(p);
        last = append(last, argument);
        if (!sign(p, ",")) break;
    }
    tpl_expect(p, TPL_T_SIGN, ")");
    return first;
}

static const char *any_name(tpl_parser *p) {
    const tpl_token *t = p->at;
    tpl_expect(p, TPL_T_NAME, NULL);
    return p->status == RT_OK ? tpl_intern(p, t->s, t->n) : "";
}

static tpl_node *attribute(tpl_parser *p, tpl_node *of) {
    const tpl_token *t = p->at;
    if (t->kind == TPL_T_INT) return p->at++, two(p, TPL_ITEM, 0, t, of, literal(p, t, tpl_int(t->i)));
    tpl_node *n = two(p, TPL_ATTRIBUTE, 0, t, of, NULL);
    n->name = any_name(p);
    return n;
}

static tpl_node *item(tpl_parser *p, tpl_node *of) {
    tpl_node *n = two(p, TPL_ITEM, 0, p->at - 1, of, NULL), **parts[] = {&n->b, &n->c, &n->d};
    for (int i = 0; i < 3; i++) {
        if (!tpl_next_is(p, TPL_T_SIGN, ":") && !tpl_next_is(p, TPL_T_SIGN, "]")) *parts[i] = tpl_expression(p);
        if (i == 2 || !sign(p, ":")) break;
        n->kind = TPL_SLICE;
    }
    tpl_expect(p, TPL_T_SIGN, "]");
    return n->kind == TPL_ITEM && !n->b ? tpl_refuse(p, "an index") : n;
}

static tpl_node *postfix(tpl_parser *p, tpl_node *n) {
    for (int length = 0; p->status == RT_OK; length++) {
        const tpl_token *t = p->at;
        if (length > TPL_CHAIN) return tpl_refuse(p, "a shorter chain");
        if (sign(p, ".")) n = attribute(p, n);
        else if (sign(p, "[")) n = item(p, n);
        else if (sign(p, "(")) n = two(p, TPL_CALL, 0, t, n, tpl_call_args(p));
        else break;
    }
    return n;
}

/* "is divisibleby 3" takes one primary without brackets. */
static bool bare_argument(const tpl_parser *p) {
    static const char *const words[] = {"else", "or", "and", "is", "if", "in", "not", NULL};
    tpl_token_kind k = p->at->kind;
    for (int i = 0; k == TPL_T_NAME && words[i]; i++)
        if (tpl_next_is(p, k, words[i])) return false;
    return k == TPL_T_NAME || k == TPL_T_STRING || k == TPL_T_INT || k == TPL_T_FLOAT || tpl_next_is(p, TPL_T_SIGN, "[") ||
           tpl_next_is(p, TPL_T_SIGN, "{");
}

static tpl_node *test(tpl_parser *p, tpl_node *of) {
    tpl_node *n = two(p, TPL_TEST, 0, p->at - 1, of, NULL);
    n->op = name(p, "not");
    n->name = any_name(p);
    if (sign(p, "(")) n->b = tpl_call_args(p);
    else if (bare_argument(p)) {
        n->b = tpl_node_new(p, TPL_CALL, p->at);
        n->b->a = postfix(p, primary(p));
    }
    return n;
}

tpl_node *tpl_filters(tpl_parser *p, tpl_node *n) {
    for (int length = 0; p->status == RT_OK; length++) {
        if (length > TPL_CHAIN) return tpl_refuse(p, "a shorter chain");
        if (sign(p, "|")) {
            n = two(p, TPL_FILTER, 0, p->at, n, NULL);
            n->name = any_name(p);
            if (sign(p, "(")) n->b = tpl_call_args(p);
        } else if (name(p, "is")) n = test(p, n);
        else if (sign(p, "(")) n = two(p, TPL_CALL, 0, p->at - 1, n, tpl_call_args(p));
        else break;
    }
    return n;
}

static tpl_node *unary(tpl_parser *p, bool filters) {
    const tpl_token *t = p->at;
    tpl_node *n;
    bool in = tpl_deeper(p), minus = in && sign(p, "-"), plus = in && !minus && sign(p, "+");
    if (!in) n = tpl_refuse(p, NULL);
    else if (minus || plus) n = two(p, TPL_UNARY, minus ? TPL_SUBTRACT : TPL_ADD, t, unary(p, false), NULL);
    else n = primary(p);
    p->depth--;
    n = postfix(p, n);
    return filters ? tpl_filters(p, n) : n;
}
tpl_node *tpl_postfixed(tpl_parser *p) { return unary(p, true); }

/* ---------------------------------------------------------------- operators */

typedef struct binary {
    const char *text;
    int op;
} binary;
static const binary powers[] = {{"**", TPL_POWER}, {NULL}}, tildes[] = {{"~", TPL_TILDE}, {NULL}}, sums[] = {{"+", TPL_ADD}, {"-", TPL_SUBTRACT}, {NULL}},
                    products[] = {{"*", TPL_MULTIPLY}, {"//", TPL_FLOOR}, {"/", TPL_DIVIDE}, {"%", TPL_MODULO}, {NULL}};
static const binary *const levels[] = {sums, tildes, products, powers};

static tpl_node *operation(tpl_parser *p, int level) {
    if (level == 4) return unary(p, true);
    tpl_node *n = operation(p, level + 1);
    for (int length = 0; p->status == RT_OK; length++) {
        const tpl_token *t = p->at;
        const binary *b = levels[level];
        while (b->text && !sign(p, b->text)) b++;
        if (!b->text) break;
        if (length > TPL_CHAIN) return tpl_refuse(p, "a shorter chain");
        n = two(p, TPL_BINARY, b->op, t, n, operation(p, level + 1));
    }
    return n;
}

static int comparison(tpl_parser *p) {
    static const binary signs[] = {{"==", TPL_EQ}, {"!=", TPL_NE}, {"<=", TPL_LE}, {">=", TPL_GE}, {"<", TPL_LT}, {">", TPL_GT}, {NULL}};
    for (const binary *b = signs; b->text; b++)
        if (sign(p, b->text)) return b->op;
    if (name(p, "in")) return TPL_IN;
    if (tpl_next_is(p, TPL_T_NAME, "not") && p->at[1].kind == TPL_T_NAME && p->at[1].n == 2 && memcmp(p->at[1].s, "in", 2) == 0)
        return p->at += 2, TPL_NOT_IN;
    return 0;
}
static tpl_node *compared(tpl_parser *p) {
    const tpl_token *t = p->at;
    tpl_node *n = operation(p, 0), *c = NULL, **last = NULL;
    for (int op; p->status == RT_OK && (op = comparison(p)); last = &(*last)->next) {
        if (!c) c = two(p, TPL_COMPARE, 0, t, n, NULL), last = &c->b;
        *last = two(p, TPL_COMPARE, op, t, operation(p, 0), NULL);
    }
    return c ? c : n;
}
static tpl_node *negated(tpl_parser *p) {
    const tpl_token *t = p->at;
    tpl_node *n;
    if (!name(p, "not")) return compared(p);
    n = tpl_deeper(p) ? two(p, TPL_NOT, 0, t, negated(p), NULL) : tpl_refuse(p, NULL);
    p->depth--;
    return n;
}
static tpl_node *both(tpl_parser *p) {
    tpl_node *n = negated(p);
    for (int length = 0; p->status == RT_OK && name(p, "and"); length++)
        n = length > TPL_CHAIN ? tpl_refuse(p, "a shorter chain") : two(p, TPL_AND, 0, p->at, n, negated(p));
    return n;
}
tpl_node *tpl_condition(tpl_parser *p) {
    tpl_node *n = both(p);
    for (int length = 0; p->status == RT_OK && name(p, "or"); length++)
        n = length > TPL_CHAIN ? tpl_refuse(p, "a shorter chain") : two(p, TPL_OR, 0, p->at, n, both(p));
    return n;
}

tpl_node *tpl_expression(tpl_parser *p) {
    bool in = tpl_deeper(p);
    tpl_node *n = in ? tpl_condition(p) : tpl_refuse(p, NULL);
    for (int length = 0; p->status == RT_OK && name(p, "if"); length++) {
        if (length > TPL_CHAIN) tpl_refuse(p, "a shorter chain");
        tpl_node *c = two(p, TPL_CHOICE, 0, p->at, NULL, n);
        c->a = tpl_condition(p);
        if (name(p, "else")) c->c = tpl_expression(p);
        n = c;
    }
    p->depth--;
    return n;
}

tpl_node *tpl_tuple(tpl_parser *p, bool choice) {
    const tpl_token *t = p->at;
    tpl_node *n = choice ? tpl_expression(p) : tpl_condition(p);
    if (!tpl_next_is(p, TPL_T_SIGN, ",")) return n;
    tpl_node *all = two(p, TPL_LIST_OF, 1, t, n, NULL);
    while (sign(p, ",") && !tpl_next_is(p, TPL_T_SIGN, ")") && p->at->kind != TPL_T_CLOSE_BLOCK && p->at->kind != TPL_T_CLOSE_OUTPUT) {
        n->next = choice ? tpl_expression(p) : tpl_condition(p);
        n = n->next;
    }
    return all;
}

/* Names in brackets, behind "(". */
static tpl_node *inner_target(tpl_parser *p) {
    tpl_node *n = tpl_deeper(p) ? tpl_target(p) : tpl_refuse(p, NULL);
    p->depth--;
    tpl_expect(p, TPL_T_SIGN, ")");
    return n;
}
tpl_node *tpl_target(tpl_parser *p) {
    tpl_node *first = NULL, **last = &first;
    const tpl_token *t = p->at;
    size_t n = 0;
    do {
        bool bracket = sign(p, "(");
        if (p->at->kind != TPL_T_NAME) return tpl_refuse(p, "a name to assign to");
        *last = bracket ? inner_target(p) : names(p);
        if ((*last)->kind == TPL_LITERAL) return tpl_refuse(p, "a name to assign to");
        if (!bracket && sign(p, ".")) *last = attribute(p, *last);
        last = &(*last)->next, n++;
    } while (p->status == RT_OK && sign(p, ","));
    return n == 1 ? first : two(p, TPL_LIST_OF, 1, t, first, NULL);
}
