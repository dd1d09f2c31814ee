/* show_evaluation.c - `retort show evaluation`: several evaluations side by side, as a table. */
#include <retort/base/command.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct arguments {
    rt_strings files;
    const char *source, *text;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRINGS(arguments, files, NULL, "JSON of retort eval, one column each; its name without .json is the heading", .positional = true,
                   .operand = "EVAL.json...", .required = true),
    RT_OPT_STRING(arguments, source, NULL, "source.json of retort data synth: adds the source's true entropy as the floor", .operand = "FILE"),
    RT_OPT_STRING(arguments, text, "valid.txt", "which of its files was evaluated", .operand = "NAME"),
    RT_OPT_END};

enum { COLUMNS = 12 };
typedef struct table {
    json_t *column[COLUMNS];
    const char *heading[COLUMNS];
    int n;
    double floor; /* bits per byte; NaN: unknown */
} table;

/* The mean of a member over the layers that have it. */
static double over_layers(const json_t *o, const char *key) {
    const json_t *layers = json_object_get(o, "layers");
    double sum = 0;
    int n = 0;
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *x = json_object_get(json_array_get(layers, i), key);
        if (json_is_number(x)) sum += json_number_value(x), n++;
    }
    return n ? sum / n : (double)NAN;
}
static double number(const json_t *o, const char *key) {
    const json_t *x = json_object_get(o, key);
    if (strncmp(key, "layers.", 7) == 0) return over_layers(o, key + 7);
    return json_is_number(x) ? json_number_value(x) : (double)NAN;
}

static const struct row {
    const char *label, *key, *format;
    double scale;
} rows[] = {{"cross-entropy (nats/token)", "ce", "%.4f", 1},    {"perplexity", "perplexity", "%.3f", 1},
            {"bits per byte", "bits_per_byte", "%.4f", 1},        {"KL to the teacher", "kl_t1", "%.4f", 1},
            {"top-1 agreement (%)", "top1_agreement", "%.1f", 100}, {"acceptance (%)", "acceptance", "%.1f", 100},
            {"parameters (k)", "parameters", "%.0f", 1e-3},       {"active parameters (k)", "active_parameters", "%.0f", 1e-3},
            {"router z (unscaled)", "layers.router_z", "%.4f", 1}, {"expert coherence (psi)", "layers.psi", "%.4f", 1},
            {"evaluation tokens/s", "tokens_per_s", "%.0f", 1}};

static void print_row(const table *t, const struct row *r, rt_buf *out) {
    char cell[64];
    rt_buf_printf(out, "%-28s", r->label);
    for (int i = 0; i < t->n; i++) {
        double x = number(t->column[i], r->key);
        if (isnan(x)) snprintf(cell, sizeof cell, "-");
        else snprintf(cell, sizeof cell, r->format, x * r->scale);
        rt_buf_printf(out, " %14s", cell);
    }
    if (strcmp(r->key, "bits_per_byte") == 0 && !isnan(t->floor)) rt_buf_printf(out, " %14.4f", t->floor);
    rt_buf_putc(out, '\n');
}

static void print(const table *t, rt_buf *out) {
    rt_buf_printf(out, "%-28s", "");
    for (int i = 0; i < t->n; i++) {
        const char *slash = strrchr(t->heading[i], '/'), *name = slash ? slash + 1 : t->heading[i];
        size_t n = strlen(name);
        if (n > 5 && strcmp(name + n - 5, ".json") == 0) n -= 5;
        rt_buf_printf(out, " %14.*s", (int)(n > 14 ? 14 : n), name);
    }
    rt_buf_printf(out, "%s\n", isnan(t->floor) ? "" : "     true floor");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) print_row(t, &rows[i], out);
}

static rt_status read_floor(table *t, const arguments *a, rt_error *err) {
    json_t *source;
    t->floor = (double)NAN;
    if (!a->source) return RT_OK;
    RT_TRY(rt_json_load(a->source, 0, &source, err));
    rt_json root = rt_json_root(source, a->source), files, file;
    rt_status s = rt_json_object(&root, "files", &files, err);
    if (s == RT_OK) s = rt_json_object(&files, a->text, &file, err);
    if (s == RT_OK) s = rt_json_real(&file, "bits_per_byte", &t->floor, err);
    json_decref(source);
    return s;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    table t = {.n = 0};
    rt_buf page = {0};
    if (a->files.count > COLUMNS) return rt_fail(err, RT_E_USAGE, "%lld files, at most %d fit beside each other", (long long)a->files.count, COLUMNS);
    rt_status s = read_floor(&t, a, err);
    for (; s == RT_OK && t.n < a->files.count; t.n += s == RT_OK) {
        t.heading[t.n] = a->files.item[t.n];
        s = rt_json_load(t.heading[t.n], 0, &t.column[t.n], err);
    }
    if (s == RT_OK) print(&t, &page);
    for (int i = 0; i < t.n; i++) json_decref(t.column[i]);
    return s == RT_OK ? rt_out_buf(c, &page, err) : s;
}

const rt_command rt_command_show_evaluation = {"show evaluation",
                                               "evaluations side by side",
                                               "EVAL.json... [--source source.json]",
                                               "A dash stands where a model has no such number: a dense model has no router.",
                                               options,
                                               sizeof(arguments),
                                               run};
