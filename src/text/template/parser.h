/* parser.h - tokens to nodes. Failure is sticky: the parser then stands at the end of the tokens, so that every loop
 * ends, and gives a node that means nothing. */
#ifndef RETORT_SRC_TEXT_TEMPLATE_PARSER_H
#define RETORT_SRC_TEXT_TEMPLATE_PARSER_H
#include "text/template/ast.h"
#include "text/template/lexer.h"

enum { TPL_NESTING = 100, TPL_CHAIN = 200 }; /* brackets and blocks in each other; links of a chain */

typedef struct tpl_names { /* interned names, sorted by nothing: templates have few dozens */
    const char **item;
    size_t n, capacity;
} tpl_names;

typedef struct tpl_parser {
    const char *name; /* of the template, in errors */
    rt_arena *arena;
    const tpl_token *at;
    tpl_names *names;
    int depth, loops, macros;
    rt_status status;
    rt_error *err;
} tpl_parser;

tpl_node *tpl_parse(tpl_parser *p); /* the whole template: a list of statements */

/* What the two halves of the parser share. */
tpl_node *tpl_refuse(tpl_parser *p, const char *expected); /* "NAME:LINE:COLUMN: found X, expected Y" */
tpl_node *tpl_node_new(tpl_parser *p, tpl_node_kind kind, const tpl_token *at);
const char *tpl_intern(tpl_parser *p, const char *s, size_t n);
bool tpl_next_is(const tpl_parser *p, tpl_token_kind kind, const char *text);
bool tpl_accept(tpl_parser *p, tpl_token_kind kind, const char *text); /* and goes on */
void tpl_expect(tpl_parser *p, tpl_token_kind kind, const char *text);
bool tpl_deeper(tpl_parser *p); /* false: too deep; p->depth-- must follow */
tpl_node *tpl_expression(tpl_parser *p);           /* with a conditional */
tpl_node *tpl_condition(tpl_parser *p);            /* without one at its top */
tpl_node *tpl_tuple(tpl_parser *p, bool choice);   /* a, b */
tpl_node *tpl_postfixed(tpl_parser *p);            /* a primary with calls, attributes, items, filters and tests */
tpl_node *tpl_filters(tpl_parser *p, tpl_node *n); /* | name(...) ... behind n */
tpl_node *tpl_call_args(tpl_parser *p);            /* behind "(" */
tpl_node *tpl_target(tpl_parser *p);               /* of set and for: a name, a.b, or names with commas */
#endif
