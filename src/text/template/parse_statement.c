/* parse_statement.c - statements, and what both halves of the parser share. */
#include "text/template/parser.h"
#include <stdio.h>
#include <string.h>

/* What a failed parser hands out: writable, since callers fill what they get, and never looked at afterwards. */
static _Thread_local tpl_node nobody;

static const tpl_token ends[3] = {{.kind = TPL_T_END}, {.kind = TPL_T_END}, {.kind = TPL_T_END}}; /* a failed parser looks one back and one ahead */

static const char *found(const tpl_token *t, char text[64]) {
    static const char *const kinds[] = {"the end of the template", "text", "{{", "}}", "{%", "%}"};
    if (t->kind == TPL_T_NAME || t->kind == TPL_T_SIGN || t->kind == TPL_T_STRING) snprintf(text, 64, "'%.*s'", (int)(t->n < 40 ? t->n : 40), t->s);
    else snprintf(text, 64, "%s", t->kind <= TPL_T_CLOSE_BLOCK ? kinds[t->kind] : "a number");
    return text;
}

tpl_node *tpl_refuse(tpl_parser *p, const char *expected) {
    char text[64];
    nobody = (tpl_node){.kind = TPL_LITERAL};
    if (p->status != RT_OK) return &nobody;
    if (!expected) p->status = rt_fail(p->err, RT_E_NOMEM, "%s: out of memory", p->name);
    else
        p->status = rt_fail(p->err, RT_E_INPUT, "%s:%d:%d: found %s, expected %s", p->name, p->at->line, p->at->column, found(p->at, text), expected);
    p->at = ends + 1;
    return &nobody;
}

bool tpl_deeper(tpl_parser *p) {
    if (++p->depth <= TPL_NESTING) return p->status == RT_OK;
    tpl_refuse(p, "less nesting");
    return false;
}

tpl_node *tpl_node_new(tpl_parser *p, tpl_node_kind kind, const tpl_token *at) {
    tpl_node *n = p->status == RT_OK ? rt_arena_alloc(p->arena, sizeof *n) : NULL;
    if (!n) return tpl_refuse(p, NULL);
    *n = (tpl_node){.kind = kind, .line = at->line, .column = at->column};
    return n;
}

const char *tpl_intern(tpl_parser *p, const char *s, size_t n) {
    tpl_names *t = p->names;
    for (size_t i = 0; i < t->n; i++)
        if (strlen(t->item[i]) == n && memcmp(t->item[i], s, n) == 0) return t->item[i];
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        const char **grown = rt_arena_alloc(p->arena, rt_array_bytes(capacity, sizeof *grown));
        if (!grown) return tpl_refuse(p, NULL), "";
        if (t->n) memcpy(grown, t->item, t->n * sizeof *grown);
        t->item = grown, t->capacity = capacity;
    }
    char *copy = rt_arena_alloc(p->arena, n + 1);
    if (!copy) return tpl_refuse(p, NULL), "";
    return t->item[t->n++] = memcpy(copy, s, n);
}

bool tpl_next_is(const tpl_parser *p, tpl_token_kind kind, const char *text) {
    return p->at->kind == kind && (!text || (p->at->n == strlen(text) && memcmp(p->at->s, text, p->at->n) == 0));
}
bool tpl_accept(tpl_parser *p, tpl_token_kind kind, const char *text) {
    bool is = tpl_next_is(p, kind, text);
    p->at += is && p->at->kind != TPL_T_END;
    return is;
}
void tpl_expect(tpl_parser *p, tpl_token_kind kind, const char *text) {
    char quoted[32];
    if (tpl_accept(p, kind, text)) return;
    snprintf(quoted, sizeof quoted, "'%s'", text ? text : "");
    tpl_refuse(p, text ? quoted : kind == TPL_T_NAME ? "a name" : kind == TPL_T_CLOSE_BLOCK ? "%}" : "}}");
}

/* --------------------------------------------------------------- statements */

static tpl_node *body_until(tpl_parser *p, const char *const *stops);
static void close_block(tpl_parser *p) { tpl_expect(p, TPL_T_CLOSE_BLOCK, NULL); }
static bool word(tpl_parser *p, const char *text) { return tpl_accept(p, TPL_T_NAME, text); }

/* The body, and its end tag. */
static tpl_node *block_body(tpl_parser *p, const char *stop) {
    const char *const stops[] = {stop, NULL};
    close_block(p);
    tpl_node *body = body_until(p, stops);
    tpl_expect(p, TPL_T_NAME, stop);
    return body;
}

static void parse_if(tpl_parser *p, tpl_node *n) {
    static const char *const stops[] = {"elif", "else", "endif", NULL};
    n->a = tpl_tuple(p, true);
    close_block(p);
    n->b = body_until(p, stops);
    while (word(p, "elif")) { /* a chain, not a nest: as many as one likes */
        tpl_node *next = tpl_node_new(p, TPL_IF, p->at);
        next->chained = true;
        next->a = tpl_tuple(p, true);
        close_block(p);
        next->b = body_until(p, stops);
        n->c = next;
        n = next;
    }
    if (word(p, "else")) {
        close_block(p);
        n->c = body_until(p, stops + 2);
    }
    tpl_expect(p, TPL_T_NAME, "endif");
}

static void parse_for(tpl_parser *p, tpl_node *n) {
    static const char *const stops[] = {"else", "endfor", NULL};
    n->name = tpl_intern(p, "loop", 4);
    n->a = tpl_target(p);
    if (!word(p, "in")) tpl_refuse(p, "'in'");
    n->b = tpl_tuple(p, false);
    if (word(p, "if")) n->e = tpl_expression(p);
    close_block(p);
    p->loops++;
    n->c = body_until(p, stops);
    p->loops--;
    if (word(p, "else")) {
        close_block(p);
        n->d = body_until(p, stops + 1);
    }
    tpl_expect(p, TPL_T_NAME, "endfor");
}

static void parse_set(tpl_parser *p, tpl_node *n) {
    n->a = tpl_target(p);
    if (tpl_accept(p, TPL_T_SIGN, "=")) {
        n->b = tpl_tuple(p, true);
        return;
    }
    n->kind = TPL_SET_BLOCK;
    n->b = tpl_node_new(p, TPL_NAME, p->at);
    n->b->name = tpl_intern(p, "", 0);
    n->b = tpl_filters(p, n->b);
    n->c = block_body(p, "endset");
}

static tpl_node *parameters(tpl_parser *p) {
    tpl_node *first = NULL, **last = &first;
    tpl_expect(p, TPL_T_SIGN, "(");
    while (!tpl_next_is(p, TPL_T_SIGN, ")")) {
        const tpl_token *t = p->at;
        tpl_expect(p, TPL_T_NAME, NULL);
        if (p->status != RT_OK) break;
        tpl_node *n = *last = tpl_node_new(p, TPL_NAME, t);
        n->name = tpl_intern(p, t->s, t->n);
        if (tpl_accept(p, TPL_T_SIGN, "=")) n->b = tpl_expression(p);
        last = &n->next;
        if (!tpl_accept(p, TPL_T_SIGN, ",")) break;
    }
    tpl_expect(p, TPL_T_SIGN, ")");
    return first;
}

static tpl_node *apart_from_loops(tpl_parser *p, const char *stop) {
    int loops = p->loops;
    p->loops = 0;
    tpl_node *body = block_body(p, stop);
    p->loops = loops;
    return body;
}

static void parse_macro(tpl_parser *p, tpl_node *n) {
    const tpl_token *t = p->at;
    tpl_expect(p, TPL_T_NAME, NULL);
    if (p->status != RT_OK) return;
    n->name = tpl_intern(p, t->s, t->n);
    n->a = parameters(p);
    n->c = apart_from_loops(p, "endmacro");
}

static void parse_call(tpl_parser *p, tpl_node *n) {
    n->name = tpl_intern(p, "caller", 6);
    if (tpl_next_is(p, TPL_T_SIGN, "(")) n->b = parameters(p);
    n->a = tpl_postfixed(p);
    if (n->a->kind != TPL_CALL) tpl_refuse(p, "a call of a macro");
    n->c = apart_from_loops(p, "endcall");
}

static void parse_filter(tpl_parser *p, tpl_node *n) {
    const tpl_token *t = p->at;
    tpl_expect(p, TPL_T_NAME, NULL);
    if (p->status != RT_OK) return;
    n->b = tpl_node_new(p, TPL_FILTER, t);
    n->b->name = tpl_intern(p, t->s, t->n);
    n->b->a = tpl_node_new(p, TPL_NAME, t);
    n->b->a->name = tpl_intern(p, "", 0);
    if (tpl_accept(p, TPL_T_SIGN, "(")) n->b->b = tpl_call_args(p);
    n->b = tpl_filters(p, n->b);
    n->c = block_body(p, "endfilter");
}

static void parse_generation(tpl_parser *p, tpl_node *n) { n->c = block_body(p, "endgeneration"); }
static void parse_jump(tpl_parser *p, tpl_node *n) {
    (void)n;
    if (p->loops == 0) tpl_refuse(p, "a loop around break and continue");
}

static tpl_node *statement(tpl_parser *p) {
    static const struct {
        const char *word;
        tpl_node_kind kind;
        void (*parse)(tpl_parser *, tpl_node *);
    } kinds[] = {{"if", TPL_IF, parse_if}, {"for", TPL_FOR, parse_for}, {"set", TPL_SET, parse_set}, {"macro", TPL_MACRO_OF, parse_macro},
                 {"call", TPL_CALL_BLOCK, parse_call}, {"filter", TPL_FILTER_BLOCK, parse_filter}, {"generation", TPL_GENERATION, parse_generation},
                 {"break", TPL_BREAK_NOW, parse_jump}, {"continue", TPL_CONTINUE_NOW, parse_jump}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (word(p, kinds[i].word)) {
            tpl_node *n = tpl_node_new(p, kinds[i].kind, p->at - (p->status == RT_OK));
            bool in = tpl_deeper(p);
            if (in) kinds[i].parse(p, n);
            p->depth--;
            close_block(p);
            return n;
        }
    return tpl_refuse(p, "a statement: if, for, set, macro, call, filter, generation, break or continue");
}

static tpl_node *output(tpl_parser *p) {
    tpl_node *n = tpl_node_new(p, TPL_OUTPUT_OF, p->at - 1);
    n->a = tpl_tuple(p, true);
    tpl_expect(p, TPL_T_CLOSE_OUTPUT, NULL);
    return n;
}
static tpl_node *text(tpl_parser *p) {
    tpl_node *n = tpl_node_new(p, TPL_OUTPUT_TEXT, p->at);
    n->value = tpl_bytes(p->at->s, p->at->n, NULL);
    p->at += p->status == RT_OK;
    return n;
}

/* Statements up to a tag that begins with one of the words, which is left at its word; NULL: up to the end. */
static tpl_node *body_until(tpl_parser *p, const char *const *stops) {
    tpl_node *first = NULL, **last = &first;
    while (p->at->kind != TPL_T_END) {
        if (p->at->kind == TPL_T_TEXT) *last = text(p);
        else if (tpl_accept(p, TPL_T_OPEN_OUTPUT, NULL)) *last = output(p);
        else {
            tpl_expect(p, TPL_T_OPEN_BLOCK, NULL);
            for (int i = 0; stops && stops[i]; i++)
                if (tpl_next_is(p, TPL_T_NAME, stops[i])) return first;
            *last = statement(p);
        }
        last = &(*last)->next;
    }
    return first;
}

tpl_node *tpl_parse(tpl_parser *p) { return body_until(p, NULL); }
