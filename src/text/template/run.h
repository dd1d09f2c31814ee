/* run.h - one rendering: its memory, its limits, its variables, its output, and how it fails.
 *
 * Failure is sticky: the first one is kept, from then on every step is refused and values are undefined, so that the
 * evaluator reads as what it computes. Namespaces can hold themselves; walks over values are bounded by depth. */
#ifndef RETORT_SRC_TEXT_TEMPLATE_RUN_H
#define RETORT_SRC_TEXT_TEMPLATE_RUN_H
#include "text/template/ast.h"
#include <retort/base/status.h>

enum { TPL_DEPTH = 400, TPL_STEPS = 20000000, TPL_MEMORY = 256 << 20, TPL_OUTPUT = 1 << 30 };

typedef struct tpl_variable {
    const char *name; /* interned: compared by address */
    tpl_value value;
} tpl_variable;
typedef enum tpl_flow { TPL_ON, TPL_BREAK, TPL_CONTINUE } tpl_flow;

typedef struct tpl_run {
    const struct rt_template *t;
    rt_error *err;
    rt_status status;
    rt_arena arena;
    char *free_at, *free_end; /* the chunk that small blocks come from */
    size_t memory_left;
    int64_t steps_left, now; /* now: for strftime_now, seconds since 1970 */
    int depth;
    tpl_variable *variables; /* the innermost last */
    size_t count, capacity;
    size_t globals; /* variables[0, globals) are seen everywhere */
    size_t scope;   /* those from here on are assigned to by set */
    size_t floor;   /* those between globals and here belong to a macro's caller and are not seen */
    tpl_flow flow;
    bool generating;
    tpl_text_buf *out;
} tpl_run;

static inline bool tpl_failed(const tpl_run *r) { return r->status != RT_OK; }
/* Records the failure, with line and column of the node (NULL: none); gives an undefined value. */
tpl_value tpl_fail(tpl_run *r, const tpl_node *at, rt_status s, const char *format, ...) RT_PRINTF(4, 5);
void *tpl_alloc(tpl_run *r, size_t bytes); /* zeroed; NULL: failed */
void tpl_charge(tpl_run *r, size_t bytes); /* work proportional to `bytes`; fails out of steps, so that a loop that asks tpl_failed ends */
bool tpl_step(tpl_run *r, const tpl_node *at); /* false: failed, or now out of steps */
bool tpl_enter(tpl_run *r, const tpl_node *at); /* one level deeper; tpl_leave must follow even after false */
static inline void tpl_leave(tpl_run *r) { r->depth--; }

const tpl_value *tpl_lookup(const tpl_run *r, const char *interned);
void tpl_assign(tpl_run *r, const char *interned, tpl_value v); /* in the present scope */
void tpl_bind(tpl_run *r, const char *interned, tpl_value v);   /* a new variable, innermost */

void tpl_statements(tpl_run *r, const tpl_node *body);
tpl_value tpl_capture(tpl_run *r, const tpl_node *body); /* what the statements write, as a string */
tpl_value tpl_evaluate(tpl_run *r, const tpl_node *n);

typedef struct tpl_args { /* of a call, evaluated */
    const tpl_node *at;
    tpl_value *items;
    const char **names; /* NULL: by position; those come first */
    size_t n;
} tpl_args;
tpl_args tpl_arguments(tpl_run *r, const tpl_node *at, const tpl_node *list);
/* By position or by name; undefined when absent. */
tpl_value tpl_argument(const tpl_args *a, size_t position, const char *name);
tpl_value tpl_call_macro(tpl_run *r, const tpl_node *macro, const tpl_args *a, const tpl_node *caller_body);
tpl_value tpl_call_function(tpl_run *r, int64_t which, const tpl_args *a);
int64_t tpl_function_find(const char *name); /* -1: none */
tpl_value tpl_call_method(tpl_run *r, tpl_value object, const char *name, const tpl_args *a);
tpl_value tpl_filter(tpl_run *r, tpl_value v, const char *name, const tpl_args *a);
bool tpl_test(tpl_run *r, tpl_value v, const char *name, const tpl_args *a);
bool tpl_contains(tpl_run *r, const tpl_node *at, tpl_value container, tpl_value item);
tpl_value tpl_attribute(tpl_run *r, tpl_value object, const char *name);
tpl_value tpl_item(tpl_run *r, const tpl_node *at, tpl_value object, tpl_value key);
tpl_value tpl_slice(tpl_run *r, const tpl_node *at, tpl_value object, tpl_value first, tpl_value end, tpl_value step);
/* What a for, list or join goes through: the items of a list, keys of a dict, characters of a string. */
tpl_value tpl_items(tpl_run *r, const tpl_node *at, tpl_value v);
/* The same of a dict as a list of (key, value). */
tpl_value tpl_pairs(tpl_run *r, const tpl_dict *d);
#endif
