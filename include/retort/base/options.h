/* options.h - one table per struct describes its options; it parses, checks, documents and writes them.
 *
 *     typedef struct schedule { int kind; int64_t warmup; double final; } schedule;
 *     static const char *const kinds[] = {"constant", "cosine", NULL};
 *     static const rt_option schedule_options[] = {
 *         RT_OPT_ENUM(schedule, kind, "cosine", kinds, "course of the learning rate after warm-up"),
 *         RT_OPT_INT(schedule, warmup, "100", 0, 1e9, "optimizer steps of linear warm-up"),
 *         RT_OPT_REAL(schedule, final, "0.1", 0, 1, "learning rate at the end, relative to its peak"),
 *         RT_OPT_END};
 *
 * The key is the member's name; a member of the wrong C type does not compile. Order of effect: defaults < file < set.
 * Scalars are read by the option's type, not guessed from their look: 0123 is 123 for an integer and "0123" for a
 * string; a flag takes true, false, yes, no, on, off; bytes take 100, 96MiB, 4GiB, 1GB. Strings and lists live in the
 * caller's arena. Errors are RT_E_CONFIG: FILE:LINE:COL: unknown key 'temprature' in objective[0] (did you mean
 * 'temperature'?). */
#ifndef RETORT_BASE_OPTIONS_H
#define RETORT_BASE_OPTIONS_H
#include <retort/base/yaml.h>

typedef struct rt_strings {
    const char **item;
    int64_t count;
} rt_strings;
typedef struct rt_reals {
    double *item;
    int64_t count;
} rt_reals;
typedef struct rt_sections {
    void *item; /* `count` structs of the table's size */
    int64_t count;
} rt_sections;

typedef enum rt_option_type {
    RT_OPTION_FLAG,     /* bool */
    RT_OPTION_INT,      /* int64_t */
    RT_OPTION_BYTES,    /* int64_t; word i of `choices` is -1 - i */
    RT_OPTION_REAL,     /* double, finite */
    RT_OPTION_STRING,   /* const char *, NULL unless set or defaulted; `choices` may restrict it */
    RT_OPTION_ENUM,     /* int, index into `choices` */
    RT_OPTION_STRINGS,  /* rt_strings; one scalar is a list of one */
    RT_OPTION_REALS,    /* rt_reals */
    RT_OPTION_SECTION,  /* a struct in place, with its own table */
    RT_OPTION_SECTIONS, /* rt_sections */
} rt_option_type;

typedef struct rt_option {
    const char *name;
    rt_option_type type;
    size_t offset;
    const char *fallback; /* the default, as text of a file; NULL: zero, empty, or unset */
    double min, max;      /* of a number, or of the items of a list of numbers; checked when min < max */
    const char *const *choices;    /* NULL-terminated */
    const struct rt_option *table; /* of sections */
    size_t size;                   /* of the section's struct */
    const char *doc;               /* one line, without a final stop */
    /* Command lines only (cli.h): */
    char letter;         /* -x, or 0 */
    const char *operand; /* what help calls the value, "FILE" */
    bool positional, required;
} rt_option;

/* offsetof, refused by the compiler when the member is not of type C. */
#define RT_OPTION_AT(T, member, C) _Generic(((T *)0)->member, C: offsetof(T, member))
#define RT_OPTION_ROW(T, member, kind, C, ...)                                                                         \
    {.name = #member, .type = kind, .offset = RT_OPTION_AT(T, member, C), __VA_ARGS__}
/* Further fields may follow the doc: RT_OPT_INT(args, tokens, "100", 1, 1e6, "tokens to make", .letter = 'n'). */
#define RT_OPT_FLAG(T, member, text, ...) RT_OPTION_ROW(T, member, RT_OPTION_FLAG, bool, .fallback = text, .doc = __VA_ARGS__)
#define RT_OPT_INT(T, member, text, lo, hi, ...)                                                                       \
    RT_OPTION_ROW(T, member, RT_OPTION_INT, int64_t, .fallback = text, .min = lo, .max = hi, .doc = __VA_ARGS__)
#define RT_OPT_BYTES(T, member, text, lo, hi, ...)                                                                     \
    RT_OPTION_ROW(T, member, RT_OPTION_BYTES, int64_t, .fallback = text, .min = lo, .max = hi, .doc = __VA_ARGS__)
#define RT_OPT_REAL(T, member, text, lo, hi, ...)                                                                      \
    RT_OPTION_ROW(T, member, RT_OPTION_REAL, double, .fallback = text, .min = lo, .max = hi, .doc = __VA_ARGS__)
#define RT_OPT_STRING(T, member, text, ...)                                                                            \
    RT_OPTION_ROW(T, member, RT_OPTION_STRING, const char *, .fallback = text, .doc = __VA_ARGS__)
#define RT_OPT_NAME(T, member, text, names, ...)                                                                       \
    RT_OPTION_ROW(T, member, RT_OPTION_STRING, const char *, .fallback = text, .choices = names, .doc = __VA_ARGS__)
#define RT_OPT_ENUM(T, member, text, names, ...)                                                                       \
    RT_OPTION_ROW(T, member, RT_OPTION_ENUM, int, .fallback = text, .choices = names, .doc = __VA_ARGS__)
#define RT_OPT_STRINGS(T, member, text, ...)                                                                           \
    RT_OPTION_ROW(T, member, RT_OPTION_STRINGS, rt_strings, .fallback = text, .doc = __VA_ARGS__)
#define RT_OPT_REALS(T, member, text, lo, hi, ...)                                                                     \
    RT_OPTION_ROW(T, member, RT_OPTION_REALS, rt_reals, .fallback = text, .min = lo, .max = hi, .doc = __VA_ARGS__)
#define RT_OPT_SECTION(T, member, S, rows, ...)                                                                        \
    RT_OPTION_ROW(T, member, RT_OPTION_SECTION, S, .table = rows, .size = sizeof(S), .doc = __VA_ARGS__)
#define RT_OPT_SECTIONS(T, member, S, rows, ...)                                                                       \
    RT_OPTION_ROW(T, member, RT_OPTION_SECTIONS, rt_sections, .table = rows, .size = sizeof(S), .doc = __VA_ARGS__)
#define RT_OPT_END {.name = NULL}

/* Every option takes its default; `out` is otherwise left alone (zero it first). */
rt_status rt_options_defaults(const rt_option *table, void *out, rt_arena *arena, rt_error *err) RT_NODISCARD;
/* What the mapping says over what `out` holds; `file` is its name in errors. */
rt_status rt_options_read(const rt_option *table, void *out, const rt_node *map, const char *file, rt_arena *arena,
                          rt_error *err) RT_NODISCARD;
/* "student.layers=4", "objective.0.weight=0.5", "data.train=[a.bin, b.bin]". Sections of a list count from 0; the next
 * free index adds one. The text right of '=' is the value as it stands; lists are YAML. */
rt_status rt_options_set(const rt_option *table, void *out, const char *assignment, rt_arena *arena, rt_error *err) RT_NODISCARD;
/* All options as they are, in the table's order (unset strings are left out): reading it back gives the same struct.
 * NULL: out of memory. */
json_t *rt_options_json(const rt_option *table, const void *in);
/* One block per section: key, type, default, doc. */
void rt_options_help(const rt_option *table, rt_buf *out);
/* One row of a help text: the name padded to a column, the doc, then "(what it takes; default)", within 80 columns. */
void rt_option_help_line(const rt_option *o, const char *left, rt_buf *out);
/* The words of `text`, on lines of at most 80 columns (a longer word has a line of its own, and so has [what brackets hold]).
 * The first line has `at` columns taken already; the others begin with `indent` spaces. No line end at the end. */
void rt_help_wrap(const char *text, int at, int indent, rt_buf *out);
/* Paragraphs within 80 columns, each ended; empty lines, and lines that begin with a space, stay as they are. */
void rt_help_text(const char *text, rt_buf *out);
/* "an integer, 1 to 64", "one of: a, b, c", ...: what a value of this option looks like; returns buffer. */
const char *rt_option_expects(const rt_option *o, char buffer[160]);
#endif
