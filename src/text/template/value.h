/* value.h - what a template computes with: Python's values as Jinja sees them, all in the memory of one rendering.
 *
 * Every byte of a string knows where it came from (`marks`, NULL: all from the template): so a rendered conversation can
 * be tokenized without what a message spells out ever becoming a control token, and the bytes of each message can be
 * found again, whatever the template did to them. Lists and dicts never change once made, as in Jinja's immutable
 * sandbox; a namespace is the one exception. */
#ifndef RETORT_SRC_TEXT_TEMPLATE_VALUE_H
#define RETORT_SRC_TEXT_TEMPLATE_VALUE_H
#include <retort/base/mem.h>
#include <stdint.h>

struct tpl_run;
typedef enum tpl_kind {
    TPL_UNDEFINED, TPL_NONE, TPL_BOOL, TPL_INT, TPL_FLOAT, TPL_STRING, TPL_LIST, TPL_DICT, TPL_LOOP, TPL_MACRO, TPL_FUNCTION
} tpl_kind;
typedef struct tpl_value {
    tpl_kind kind;
    bool tuple; /* of a list: written with round brackets */
    size_t n;   /* bytes of a string */
    union {
        bool b;
        int64_t i; /* also the number of a built-in function */
        double f;
        const char *s; /* [n], not terminated; of an undefined value its name, or NULL */
        struct tpl_list *list;
        struct tpl_dict *dict;
        const struct tpl_loop *loop;
        const struct tpl_node *macro;
    };
    const uint16_t *marks; /* of a string, [n] or NULL */
} tpl_value;
typedef struct tpl_list {
    tpl_value *items;
    size_t n;
} tpl_list;
typedef struct tpl_pair {
    tpl_value key, value;
} tpl_pair;
typedef struct tpl_dict {
    tpl_pair *pairs; /* in order of insertion */
    size_t n, capacity;
    bool is_namespace;
} tpl_dict;
typedef struct tpl_loop { /* what the name "loop" means inside a for */
    const tpl_list *items;
    size_t index;
} tpl_loop;

/* A mark: bit 15, written inside a generation block; the rest 0 template, 1.. the content of message 1.., DATA other data. */
enum { TPL_GENERATED = 0x8000, TPL_DATA = 0x7fff, TPL_MESSAGES = 0x7ffe };

#define TPL_NOTHING ((tpl_value){.kind = TPL_UNDEFINED})
static inline tpl_value tpl_none(void) { return (tpl_value){.kind = TPL_NONE}; }
static inline tpl_value tpl_bool(bool b) { return (tpl_value){.kind = TPL_BOOL, .b = b}; }
static inline tpl_value tpl_int(int64_t i) { return (tpl_value){.kind = TPL_INT, .i = i}; }
static inline tpl_value tpl_float(double f) { return (tpl_value){.kind = TPL_FLOAT, .f = f}; }
static inline tpl_value tpl_bytes(const char *s, size_t n, const uint16_t *marks) {
    return (tpl_value){.kind = TPL_STRING, .n = n, .s = s, .marks = marks};
}
tpl_value tpl_text(const char *s); /* borrowed */
tpl_value tpl_undefined(const char *name);
/* Bytes [begin, end) of a string, shared. */
static inline tpl_value tpl_part(tpl_value v, size_t begin, size_t end) {
    return tpl_bytes(v.s + begin, end - begin, v.marks ? v.marks + begin : NULL);
}

/* The makers below give TPL_NOTHING, with the run failed, when memory or a limit is exhausted. */
tpl_value tpl_list_new(struct tpl_run *r, size_t n); /* items undefined, to be filled by the caller at once */
tpl_value tpl_dict_new(struct tpl_run *r);
void tpl_dict_put(struct tpl_run *r, tpl_dict *d, tpl_value key, tpl_value value);
const tpl_value *tpl_dict_get(struct tpl_run *r, const tpl_dict *d, tpl_value key);
tpl_value tpl_concat(struct tpl_run *r, tpl_value a, tpl_value b); /* two strings */

/* A string in the making. */
typedef struct tpl_text_buf {
    char *s;
    uint16_t *marks; /* NULL until a marked byte comes */
    size_t n, capacity;
} tpl_text_buf;
void tpl_add(struct tpl_run *r, tpl_text_buf *b, tpl_value string);
void tpl_add_text(struct tpl_run *r, tpl_text_buf *b, const char *text);
tpl_value tpl_taken(const tpl_text_buf *b);

const char *tpl_kind_name(tpl_value v); /* "a string" */
bool tpl_truth(tpl_value v);
bool tpl_number(tpl_value v); /* bool, int or float */
double tpl_real(tpl_value v);
bool tpl_is(tpl_value string, const char *text);
bool tpl_equal(struct tpl_run *r, tpl_value a, tpl_value b);
bool tpl_order(tpl_value a, tpl_value b, int *order); /* -1, 0, 1; false: not comparable */
tpl_value tpl_str(struct tpl_run *r, tpl_value v);    /* Python's str() */
void tpl_repr(struct tpl_run *r, tpl_text_buf *b, tpl_value v);
/* Python's json.dumps(ensure_ascii=False); indent < 0: on one line. */
void tpl_json(struct tpl_run *r, tpl_text_buf *b, tpl_value v, int64_t indent, int level, bool sorted);
size_t tpl_length(tpl_value string); /* in characters */
/* str.strip: white space as Python has it, or the characters of `chars` when it is a string. */
tpl_value tpl_strip(tpl_value s, tpl_value chars, bool left, bool right);
bool tpl_is_space(int32_t c);
size_t tpl_find(tpl_value s, tpl_value part, size_t from); /* byte; s.n: not found (an empty part is found) */
#endif
