/* ast.h - a parsed template: nodes, in the memory of the template. Names are interned, so that they compare by address. */
#ifndef RETORT_SRC_TEXT_TEMPLATE_AST_H
#define RETORT_SRC_TEXT_TEMPLATE_AST_H
#include "text/template/value.h"

typedef enum tpl_node_kind {
    /* expressions */
    TPL_LITERAL,   /* value */
    TPL_NAME,      /* name */
    TPL_LIST_OF,   /* a: items; op 1: a tuple */
    TPL_DICT_OF,   /* a: key, value, key, value ... */
    TPL_ATTRIBUTE, /* a.name */
    TPL_ITEM,      /* a[b] */
    TPL_SLICE,     /* a[b:c:d]; each may be NULL */
    TPL_CALL,      /* a(b...); an argument's `label` is its keyword */
    TPL_FILTER,    /* a | name(b...) */
    TPL_TEST,      /* a is name(b...); op 1: is not */
    TPL_UNARY,     /* op a */
    TPL_BINARY,    /* a op b */
    TPL_COMPARE,   /* a, then b: operands with their op */
    TPL_AND, TPL_OR, TPL_NOT,
    TPL_CHOICE, /* b if a else c */
    /* statements */
    TPL_OUTPUT_TEXT, /* value */
    TPL_OUTPUT_OF,   /* a */
    TPL_IF,          /* a: condition, b: body, c: else */
    TPL_FOR,         /* name: "loop"; a: target, b: what, c: body, d: else, e: filter */
    TPL_SET,         /* a: target, b: value */
    TPL_SET_BLOCK,   /* a: target, c: body, b: filters over a TPL_NAME "" */
    TPL_MACRO_OF,    /* name, a: parameters (b: default), c: body */
    TPL_CALL_BLOCK,  /* name: "caller"; a: the call, b: its parameters, c: body */
    TPL_FILTER_BLOCK, /* b: filters, c: body */
    TPL_GENERATION,  /* c: body */
    TPL_BREAK_NOW, TPL_CONTINUE_NOW
} tpl_node_kind;

typedef enum tpl_op {
    TPL_ADD = 2, TPL_SUBTRACT, TPL_MULTIPLY, TPL_DIVIDE, TPL_FLOOR, TPL_MODULO, TPL_POWER, TPL_TILDE,
    TPL_EQ, TPL_NE, TPL_LT, TPL_LE, TPL_GT, TPL_GE, TPL_IN, TPL_NOT_IN
} tpl_op;

typedef struct tpl_node {
    tpl_node_kind kind;
    int op, line, column;
    bool chained; /* of an if: an elif of the one before */
    const char *name, *label;
    tpl_value value;
    struct tpl_node *a, *b, *c, *d, *e, *next;
} tpl_node;
#endif
