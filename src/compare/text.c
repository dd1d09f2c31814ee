/* text.c - a comparison as a page. Tensors whose names differ in numbers alone are one line: layers, experts. */
#include "compare/private.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 160, VALUE = 44 };

/* -------------------------------------------------------------------- groups */

typedef struct group {
    char name[NAME]; /* numbers between dots are '*'; of other files only the kind is left: "optimizer.safetensors: m.*" */
    int64_t tensors, different, elements, differing, other_shape;
    double max_abs, relative;
    const rt_compared *worst;
} group;
typedef struct groups {
    group *of;
    int64_t count, capacity;
    bool failed;
} groups;

static void pattern(const rt_compared *t, char *out) {
    const char *name = t->name, *kind = t->other ? strstr(name, ": ") : NULL, *dot = kind ? strchr(kind, '.') : NULL;
    size_t n = 0;
    if (dot) {
        snprintf(out, NAME, "%.*s.*", (int)(dot - name), name);
        return;
    }
    for (const char *p = name; *p && n < NAME - 1;) {
        size_t digits = strspn(p, "0123456789");
        bool whole = digits && p > name && p[-1] == '.' && (p[digits] == '.' || !p[digits]);
        out[n++] = whole ? '*' : *p;
        p += whole ? digits : 1;
    }
    out[n] = 0;
}
static group *find(groups *g, const char *name) {
    for (int64_t i = 0; i < g->count; i++)
        if (strcmp(g->of[i].name, name) == 0) return &g->of[i];
    if (g->count == g->capacity) {
        g->capacity = 2 * g->capacity + 32;
        group *more = rt_realloc(g->of, rt_array_bytes((size_t)g->capacity, sizeof *more));
        if (!more) return g->failed = true, NULL;
        g->of = more;
    }
    group *made = &g->of[g->count++];
    *made = (group){.tensors = 0};
    return snprintf(made->name, NAME, "%s", name), made;
}
/* Tensors of one rank (both, only A, only B): `which` says whether one belongs. Worst first, as the list is. */
static groups fold(const rt_comparison *c, bool (*which)(const rt_compared *)) {
    groups g = {0};
    char name[NAME];
    for (int64_t i = 0; i < c->count && !g.failed; i++) {
        const rt_compared *t = &c->tensors[i];
        if (!which(t)) continue;
        pattern(t, name);
        group *one = find(&g, name);
        if (!one) break;
        if (!one->worst) one->worst = t;
        one->tensors++, one->different += !t->equal, one->other_shape += !t->same_shape;
        one->elements += t->d.elements, one->differing += t->d.differing;
        one->max_abs = fmax(one->max_abs, t->d.max_abs), one->relative = fmax(one->relative, t->d.relative);
    }
    return g;
}
static bool in_both(const rt_compared *t) { return t->a && t->b; }
static bool in_a(const rt_compared *t) { return !t->b; }
static bool in_b(const rt_compared *t) { return !t->a; }

/* ------------------------------------------------------------------- tensors */

static void add_count(rt_buf *out, int64_t n) { /* 1234567 as 1,234,567 */
    char digits[32];
    int k = snprintf(digits, sizeof digits, "%lld", (long long)n);
    for (int i = 0; i < k; i++) {
        if (i && (k - i) % 3 == 0) rt_buf_putc(out, ',');
        rt_buf_putc(out, digits[i]);
    }
}
static void add_shapes(const rt_compared *t, rt_buf *out) {
    char a[96], b[96];
    rt_buf_printf(out, "%s and %s", rt_tensor_text(t->a, a), rt_tensor_text(t->b, b));
}
/* "model.layers.3.x: the largest difference is 0.5 (element 17: 1.5 and 1)" */
static void add_worst(const rt_compared *t, rt_buf *out) {
    int64_t i = t->d.nonfinite ? t->d.first : t->d.worst;
    if (i < 0) i = t->d.first;
    if (i < 0) return;
    rt_buf_printf(out, "  the worst: %s\n    element %lld is %.9g and %.9g\n", t->name, (long long)i, rt_tensor_element(t->a, i), rt_tensor_element(t->b, i));
}

static void add_numbers(double max_abs, double relative, int64_t differing, int64_t elements, rt_buf *out) {
    rt_buf_printf(out, "%9.3g %9.3g %7.2f %%", max_abs, relative, elements ? 100 * (double)differing / (double)elements : 0);
}
/* In a folded line a name goes without its ends, which are the same everywhere. */
static void add_short_name(const char *name, rt_buf *out) {
    size_t n = strlen(name), skip = strncmp(name, "model.", 6) == 0 ? 6 : 0;
    if (n > 7 && strcmp(name + n - 7, ".weight") == 0) n -= 7;
    rt_buf_printf(out, "%.*s", (int)(n > skip ? n - skip : n), name + skip);
}

static void add_groups(const rt_comparison *c, rt_buf *out) {
    groups g = fold(c, in_both);
    int64_t same = 0, kinds = 0;
    for (int64_t i = 0; i < g.count; i++) {
        const group *one = &g.of[i];
        if (!one->different && one->differing == 0 && !one->other_shape) {
            same += one->tensors, kinds++;
            continue;
        }
        if (i == kinds) rt_buf_puts(out, "max |a-b|  relative    differ  tensors  of (model. and .weight left out)\n");
        add_numbers(one->max_abs, one->relative, one->differing, one->elements, out);
        rt_buf_printf(out, " %8lld  ", (long long)one->tensors);
        add_short_name(one->name, out);
        if (one->different && one->different < one->tensors) rt_buf_printf(out, " (%lld equal)", (long long)(one->tensors - one->different));
        if (one->other_shape) rt_buf_puts(out, "  "), add_shapes(one->worst, out);
        rt_buf_putc(out, '\n');
    }
    if (same && c->different) rt_buf_printf(out, "  %lld tensors of %lld kinds are the same\n", (long long)same, (long long)kinds);
    out->failed |= g.failed;
    rt_free(g.of);
}
static void add_all(const rt_comparison *c, rt_buf *out) {
    rt_buf_puts(out, "max |a-b|  relative    differ  tensor\n");
    for (int64_t i = 0; i < c->count; i++) {
        const rt_compared *t = &c->tensors[i];
        if (!t->a || !t->b) continue;
        add_numbers(t->d.max_abs, t->d.relative, t->d.differing, t->d.elements, out);
        rt_buf_printf(out, "  %s", t->name);
        if (!t->same_shape || t->d.widened) rt_buf_puts(out, "  "), add_shapes(t, out);
        rt_buf_putc(out, '\n');
    }
}
static void add_missing(const rt_comparison *c, bool (*which)(const rt_compared *), const char *where, bool all, rt_buf *out) {
    char text[96];
    if (all) {
        for (int64_t i = 0; i < c->count; i++)
            if (which(&c->tensors[i])) rt_buf_printf(out, "  only in %s: %s  %s\n", where, c->tensors[i].name, rt_tensor_text(c->tensors[i].a ? c->tensors[i].a : c->tensors[i].b, text));
        return;
    }
    groups g = fold(c, which);
    for (int64_t i = 0; i < g.count; i++) {
        const rt_compared *t = g.of[i].worst;
        rt_buf_printf(out, "  only in %s: %s  %s", where, g.of[i].name, rt_tensor_text(t->a ? t->a : t->b, text));
        if (g.of[i].tensors > 1) rt_buf_printf(out, " x %lld", (long long)g.of[i].tensors);
        rt_buf_putc(out, '\n');
    }
    out->failed |= g.failed;
    rt_free(g.of);
}

static void add_layout_note(const rt_comparison *c, rt_buf *out) {
    const rt_model_config *a = rt_hf_config(c->a.files), *b = rt_hf_config(c->b.files);
    if (!a->experts != !b->experts)
        rt_buf_printf(out, "  %s is dense, %s a mixture of %lld experts: their feed-forward weights have no counterparts\n", a->experts ? "B" : "A",
                      a->experts ? "A" : "B", (long long)(a->experts ? a->experts : b->experts));
    else if (a->arch != b->arch && c->only_a + c->only_b > 0)
        rt_buf_printf(out, "  A is a %s, B a %s: weights that these families name differently have no counterparts\n", a->arch->name, b->arch->name);
}
static void add_tensors(const rt_comparison *c, bool all, rt_buf *out) {
    int64_t both = c->count - c->only_a - c->only_b;
    rt_buf_puts(out, "\ntensors: ");
    add_count(out, both);
    rt_buf_printf(out, " in both, %lld %s", (long long)c->different, c->different == 1 ? "differs" : "differ");
    if (c->other_shape) rt_buf_printf(out, " (%lld in shape)", (long long)c->other_shape);
    if (c->only_a || c->only_b) rt_buf_printf(out, "; %lld only in A, %lld only in B", (long long)c->only_a, (long long)c->only_b);
    rt_buf_puts(out, c->same_weights ? ": the same bits\n" : "\n");
    if (c->other_dtype) rt_buf_printf(out, "  %lld of two dtypes: compared as f64, to which both widen exactly\n", (long long)c->other_dtype);
    add_layout_note(c, out);
    if (both && all) add_all(c, out);
    if (both && !all) add_groups(c, out);
    if (both && c->tensors[0].same_shape && c->tensors[0].d.differing) add_worst(&c->tensors[0], out);
    add_missing(c, in_a, "A", all, out);
    add_missing(c, in_b, "B", all, out);
}

/* ------------------------------------------------------------------- the rest */

static void add_value(const json_t *v, rt_buf *out) {
    rt_buf text = {0};
    double x = json_is_real(v) ? json_real_value(v) : 0;
    if (!v) rt_buf_putc(&text, '-');
    else if (json_is_real(v)) rt_buf_printf(&text, "%.15g", x); /* 1e-05, not its 17 digits */
    else rt_json_dump(v, 0, &text);
    rt_buf_printf(out, " %-*.*s", VALUE / 2, VALUE, text.data ? text.data : "?");
    out->failed |= text.failed;
    rt_buf_free(&text);
}
static void add_differences(const json_t *list, rt_buf *out) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        rt_buf_printf(out, "  %-31s", json_string_value(json_object_get(one, "key")));
        add_value(json_object_get(one, "a"), out);
        add_value(json_object_get(one, "b"), out);
        while (out->size && out->data[out->size - 1] == ' ') out->data[--out->size] = 0;
        rt_buf_putc(out, '\n');
    }
}
static void add_configuration(const rt_comparison *c, rt_buf *out) {
    size_t n = json_array_size(c->config_differences);
    rt_buf_puts(out, "\nconfig.json: ");
    if (n == 0) rt_buf_puts(out, "the same\n");
    else rt_buf_printf(out, "%zu %s; what is computed is %s\n", n, n == 1 ? "key differs" : "keys differ", c->same_architecture ? "the same" : "another model");
    add_differences(c->config_differences, out);
}
static void add_job(const rt_comparison *c, rt_buf *out) {
    if (!c->job_differences) return;
    rt_buf_printf(out, "\njob: %s\n", json_array_size(c->job_differences) ? "differs" : "the same");
    add_differences(c->job_differences, out);
}

static void add_tokenizers(const rt_comparison *c, rt_buf *out) {
    const rt_compare_side *sides[] = {&c->a, &c->b};
    bool a = *c->a.tokenizer, b = *c->b.tokenizer;
    rt_buf_puts(out, "\ntokenizer: ");
    if (!a && !b && !*c->a.tokenizer_error && !*c->b.tokenizer_error) {
        rt_buf_puts(out, "neither has one\n");
        return;
    }
    if (a && strcmp(c->a.tokenizer, c->b.tokenizer) == 0) {
        rt_buf_printf(out, "the same, %lld ids (hash %.12s)\n", (long long)c->a.tokenizer_size, c->a.tokenizer);
        return;
    }
    rt_buf_puts(out, a && b ? "differs\n" : "not compared\n");
    for (int i = 0; i < 2; i++) {
        rt_buf_printf(out, "  %c: ", 'A' + i);
        if (*sides[i]->tokenizer) rt_buf_printf(out, "%lld ids (hash %.12s)\n", (long long)sides[i]->tokenizer_size, sides[i]->tokenizer);
        else rt_buf_printf(out, "%s\n", *sides[i]->tokenizer_error ? sides[i]->tokenizer_error : "none");
    }
}

static void add_probe(const rt_compare_probe *p, rt_buf *out) {
    if (*p->skipped) {
        rt_buf_printf(out, "\nlogits: not compared (%s)\n", p->skipped);
        return;
    }
    double n = (double)p->positions;
    rt_buf_printf(out, "\nlogits on %lld positions (%s)\n", (long long)p->positions, p->source);
    rt_buf_printf(out, "  max |a-b| %.4g, KL(A, B) %.4g nats, KL(B, A) %.4g\n", p->max_abs, p->kl, p->reverse_kl);
    rt_buf_printf(out, "  first choice the same at %.2f %% (%lld of %lld differ)\n", 100 * (1 - (double)p->top1_changed / n), (long long)p->top1_changed, (long long)p->positions);
    if (p->routes) rt_buf_printf(out, "  experts chosen: %lld of %lld choices differ (%.3f %%)\n", (long long)p->routes_flipped, (long long)p->routes, 100 * (double)p->routes_flipped / (double)p->routes);
}

static const char *const measured[] = {"step", "tokens", "ce", "perplexity", "bits_per_byte", "teacher_ce", "kl_t1", "kl", "top1_agreement", "acceptance", "calibration_error", "router_z", "balance"};
static void add_evaluations(const rt_comparison *c, rt_buf *out) {
    const json_t *columns[] = {c->a.last, c->b.last, c->a.best, c->b.best};
    if (!c->a.last && !c->b.last) return;
    rt_buf_printf(out, "\n%-20s %12s %12s %12s %12s\n", "evaluations", "A last", "B last", "A best", "B best");
    for (size_t k = 0; k < sizeof measured / sizeof *measured; k++) {
        bool any = false;
        for (int i = 0; i < 4; i++) any |= json_is_number(json_object_get(columns[i], measured[k]));
        if (!any) continue;
        rt_buf_printf(out, "  %-18s", measured[k]);
        for (int i = 0; i < 4; i++) {
            const json_t *x = json_object_get(columns[i], measured[k]);
            if (json_is_number(x)) rt_buf_printf(out, " %12.6g", json_number_value(x));
            else rt_buf_printf(out, " %12s", "-");
        }
        rt_buf_putc(out, '\n');
    }
}

static void add_side(char letter, const rt_compare_side *s, rt_buf *out) {
    const rt_model_config *c = rt_hf_config(s->files);
    rt_param_count n = rt_model_parameters(c);
    rt_dtype t = rt_hf_matrix_dtype(s->files);
    rt_buf_printf(out, "%c  %s\n   %s, %.4g M parameters", letter, s->path, c->arch->name, (double)n.total / 1e6);
    if (n.active != n.total) rt_buf_printf(out, " (%.4g M active)", (double)n.active / 1e6);
    rt_buf_printf(out, ", %s%s\n", t ? rt_dtype_name(t) : "several dtypes", s->manifest ? ", a checkpoint" : "");
}

void rt_compare_text(const rt_comparison *c, bool all, rt_buf *out) {
    add_side('A', &c->a, out);
    add_side('B', &c->b, out);
    add_tensors(c, all, out);
    add_configuration(c, out);
    add_tokenizers(c, out);
    add_probe(&c->probe, out);
    add_job(c, out);
    add_evaluations(c, out);
}
