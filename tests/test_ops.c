/* test_ops.c - every operation through five oracles, from the case tables; an operation without a case fails.
 * Repeat one: retort_tests --suite ops --case linear/odd/f16 */
#include "op_case.h"
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define RT_CASES(group) extern const op_case op_cases_##group[];
#include "op_cases.def"
#undef RT_CASES
static const op_case *const groups[] = {
#define RT_CASES(group) op_cases_##group,
#include "op_cases.def"
    NULL};

const rt_prec op_all_precs[] = {OP_PREC(F64, F64, F64, F64, F64),    OP_PREC(F32, F32, F32, F32, F32),   OP_PREC(F32, F16, F32, F32, F32),
                                OP_PREC(F32, BF16, F32, F32, F32),   OP_PREC(F16, F16, F32, F16, F32),   OP_PREC(BF16, BF16, F32, BF16, F32),
                                OP_PREC(F16, F16, F32, F32, F32),    OP_PREC(BF16, BF16, F32, F32, F32), {0}};
const rt_prec op_row_precs[] = {OP_PREC(F64, NONE, F64, F64, F64), OP_PREC(F32, NONE, F32, F32, F32), OP_PREC(F16, NONE, F32, F16, F32),
                                OP_PREC(BF16, NONE, F32, BF16, F32), {0}};
const rt_prec op_f32_precs[] = {OP_PREC(F64, F64, F64, F64, F64), OP_PREC(F32, F32, F32, F32, F32), {0}};

/* ------------------------------------------------- a loss for any output: sum of c * y, c fixed random numbers */
static double probe_weight(int64_t i) { return rt_rng_normal(rt_rng_make(5, "probe", 0), (uint64_t)i); }
static rt_status probe_infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }
static void probe_forward(const rt_call *c) {
    double s = 0;
    for (int64_t i = 0; i < rt_tensor_count(&c->in[0]); i++) s += probe_weight(i) * rt_get(&c->in[0], i);
    *(double *)c->out[0].data = s;
}
static void probe_backward(const rt_call *c) {
    double d = *(double *)c->dout[0].data;
    for (int64_t i = 0; i < rt_tensor_count(&c->in[0]); i++) rt_put((rt_tensor *)(uintptr_t)&c->din[0], i, rt_get(&c->din[0], i) + d * probe_weight(i));
}
static const rt_op probe = {.name = "probe", .n_in = 1, .n_out = 1, .diff = RT_IN(0), .infer = probe_infer, .forward = probe_forward, .backward = probe_backward};

/* -------------------------------------------------------------------- a run */
typedef struct run {
    const op_case *c;
    rt_prec p;
    rt_graph *g;
    rt_ref in[RT_MAX_IN], outs[OP_CASE_OUTS + 1], probes[OP_CASE_OUTS];
    rt_tensor value[RT_MAX_IN], grad[RT_MAX_IN];
    double gain;
} run;

static bool differentiable(const op_operand *o) { return (o->role == OP_IN || o->role == OP_OUT || o->role == OP_WEIGHT || o->role == OP_GATE) && !o->fixed; }
static rt_dtype operand_dtype(const op_operand *o, rt_prec p) {
    return o->role == OP_IN ? p.in : o->role == OP_OUT ? p.out : o->role == OP_WEIGHT ? p.weight : o->role == OP_ACC || o->role == OP_GATE ? p.acc : RT_I32;
}
static int operands(const op_case *c) {
    int n = 0;
    while (c->in[n].role != OP_END) n++;
    return n;
}
/* The values every contract starts from: f64, or i32. */
static void fill_source(const op_operand *o, int k, bool integers, rt_tensor *t) {
    if (o->fill) { o->fill(t); return; }
    rt_rng r = rt_rng_make(3, "case", (uint64_t)k);
    for (int64_t i = 0; i < rt_tensor_count(t); i++) {
        double x = integers ? (double)rt_rng_below(r, (uint64_t)i, 7) - 3 : o->shift + (o->scale == 0 ? 1 : o->scale) * rt_rng_normal(r, (uint64_t)i);
        rt_put(t, i, x);
    }
}
static rt_tensor source(const op_operand *o, int k, bool integers) {
    rt_tensor t = rt_tensor_make(o->role == OP_INTEGER ? RT_I32 : RT_F64, o->ndim, o->dim, NULL);
    t.data = rt_zalloc(rt_tensor_bytes(&t));
    fill_source(o, k, integers, &t);
    return t;
}
static rt_tensor converted(const rt_tensor *s, rt_dtype t) {
    rt_tensor x = rt_tensor_make(t, s->ndim, s->dim, NULL);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    for (int64_t i = 0; i < rt_tensor_count(s); i++) rt_put(&x, i, rt_get(s, i));
    return x;
}

static void open_run(run *r, const op_case *c, rt_prec p, bool integers) {
    *r = (run){.c = c, .p = p, .gain = 1};
    for (int k = 0; k < operands(c); k++) {
        rt_tensor s = source(&c->in[k], k, integers);
        r->value[k] = converted(&s, operand_dtype(&c->in[k], p));
        r->grad[k] = rt_tensor_make(p.grad, s.ndim, s.dim, rt_zalloc((size_t)rt_tensor_count(&s) * 8));
        rt_free(s.data);
    }
}
static void close_run(run *r) {
    rt_graph_free(r->g);
    for (int k = 0; k < operands(r->c); k++) rt_free(r->value[k].data), rt_free(r->grad[k].data);
}
static void add_leaves(run *r, bool train) {
    char name[16];
    for (int k = 0; k < operands(r->c); k++) {
        snprintf(name, sizeof name, "in%d", k);
        bool trained = train && differentiable(&r->c->in[k]);
        r->in[k] = trained ? rt_graph_param(r->g, name, &r->value[k], &r->grad[k])
                   : r->c->in[k].role == OP_WEIGHT ? rt_graph_param(r->g, name, &r->value[k], NULL) : rt_graph_input(r->g, name, &r->value[k]);
    }
}
static rt_status build_and_plan(run *r, bool train, bool chains, bool recompute, rt_error *err) {
    r->g = rt_graph_new("t");
    if (!chains) rt_graph_no_chains(r->g);
    add_leaves(r, train);
    if (recompute) rt_graph_segment(r->g, true);
    r->c->build(r->g, r->in, r->p, r->outs);
    if (recompute) rt_graph_segment(r->g, false);
    for (int k = 0; !rt_ref_is_null(r->outs[k]); k++) {
        if (!recompute) rt_graph_output(r->g, r->outs[k]); /* an output is kept, not recomputed */
        if (!train) continue;
        r->probes[k] = rt_graph_add(r->g, &probe, "probe", rt_prec_uniform(RT_F64), NULL, 0, &r->outs[k], 1, NULL);
        rt_graph_loss(r->g, r->probes[k], &r->gain);
    }
    return rt_graph_plan(r->g, train, err);
}
static bool open_and_run(run *r, const op_case *c, rt_prec p, bool train, bool integers) {
    rt_error err = {0};
    open_run(r, c, p, integers);
    rt_status s = build_and_plan(r, train, true, false, &err);
    if (s == RT_OK) s = rt_graph_forward(r->g, &err);
    if (s == RT_OK && train) s = rt_graph_backward(r->g, &err);
    if (s != RT_OK) RT_FAILF("%s: %s: %s", c->name, rt_status_name(s), err.text);
    return s == RT_OK;
}

/* ----------------------------------------------------------------- oracles */

static double largest(const rt_tensor *t) {
    double m = 0;
    for (int64_t i = 0; i < rt_tensor_count(t); i++) m = fmax(m, fabs(rt_get(t, i)));
    return m;
}
static void reference_of(const run *r, int outputs, rt_tensor *out) {
    rt_tensor in[RT_MAX_IN];
    for (int k = 0; k < operands(r->c); k++) in[k] = converted(&r->value[k], r->value[k].dtype == RT_I32 ? RT_I32 : RT_F64);
    for (int k = 0; k < outputs; k++) {
        const rt_tensor *v = rt_graph_value(r->g, r->outs[k]);
        out[k] = rt_tensor_make(RT_F64, v->ndim, v->dim, NULL);
        out[k].data = rt_zalloc(rt_tensor_bytes(&out[k]));
    }
    r->c->reference(in, out);
    for (int k = 0; k < operands(r->c); k++) rt_free(in[k].data);
}
static int outputs_of(const run *r) {
    int n = 0;
    while (!rt_ref_is_null(r->outs[n])) n++;
    return n;
}
/* Rounding of the storage type at this magnitude, plus the accumulator's. */
static double allowance(rt_dtype t, rt_dtype acc, double reference, double scale, double tolerance) {
    double half = t == RT_F16 ? fabs(reference) * 0x1.02p-11 + 0x1p-25 : t == RT_BF16 ? fabs(reference) * 0x1.02p-8 : 0;
    return half + (acc == RT_F64 ? 1e-12 * scale : tolerance * scale);
}
static void against_reference(const op_case *c, rt_prec p, const char *label, bool integers) {
    run r;
    rt_tensor want[OP_CASE_OUTS];
    if (open_and_run(&r, c, p, false, integers)) {
        int n = outputs_of(&r);
        reference_of(&r, n, want);
        for (int k = 0; k < n; k++) {
            const rt_tensor *got = rt_graph_value(r.g, r.outs[k]);
            double scale = largest(&want[k]), worst = 0;
            int64_t at = -1;
            for (int64_t i = 0; i < rt_tensor_count(got); i++) {
                double d = fabs(rt_get(got, i) - rt_get(&want[k], i)), a = integers ? 0 : allowance(got->dtype, p.acc, rt_get(&want[k], i), scale, c->tolerance > 0 ? c->tolerance : 2e-6);
                if (!(d <= a) && !(d - a <= worst)) worst = d - a, at = i;
            }
            RT_CHECK(at < 0, "%s output %d differs at %lld: %.17g, reference %.17g (repeat: --suite ops --case %s)", label, k, (long long)at,
                     at < 0 ? 0 : rt_get(got, at), at < 0 ? 0 : rt_get(&want[k], at), label);
            rt_free(want[k].data);
        }
    }
    close_run(&r);
}

/* Five-point differences of the probed sum, in f64, on up to 40 elements of each operand. */
static double probed(run *r) {
    rt_error err = {0};
    double s = 0;
    if (rt_graph_forward(r->g, &err) != RT_OK) RT_FAILF("%s", err.text);
    for (int k = 0; !rt_ref_is_null(r->outs[k]); k++) s += *(double *)rt_graph_value(r->g, r->probes[k])->data;
    return s;
}
static double difference(run *r, double *x) {
    double keep = *x, h = 1e-3 * fmax(1, fabs(keep)), f[4], at[4] = {-2, -1, 1, 2};
    for (int i = 0; i < 4; i++) *x = keep + at[i] * h, f[i] = probed(r);
    *x = keep;
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h);
}
static void gradients(const op_case *c, const char *label) {
    run r;
    if (c->no_gradient) return;
    if (open_and_run(&r, c, (rt_prec)OP_PREC(F64, F64, F64, F64, F64), true, false))
        for (int k = 0; k < operands(c); k++) {
            if (!differentiable(&c->in[k])) continue;
            int64_t n = rt_tensor_count(&r.value[k]), step = n > 40 ? n / 40 : 1;
            double scale = fmax(largest(&r.grad[k]), 1e-3), worst = 0;
            for (int64_t i = 0; i < n; i += step) worst = fmax(worst, fabs(difference(&r, (double *)r.value[k].data + i) - rt_get(&r.grad[k], i)) / scale);
            RT_CHECK(worst <= 1e-8, "%s: gradient of input %d is off by %.3g of its largest", label, k, worst);
        }
    close_run(&r);
}
/* Gradients of every contract against those of f64 on the same (rounded) values. */
static void gradients_agree(const op_case *c, rt_prec p, const char *label) {
    run r, w;
    bool half = rt_dtype_is_half(p.in) || rt_dtype_is_half(p.out) || rt_dtype_is_half(p.weight);
    if (c->no_gradient || p.acc == RT_F64) return;
    bool ok = open_and_run(&r, c, p, true, false);
    open_run(&w, c, (rt_prec)OP_PREC(F64, F64, F64, F64, F64), false);
    for (int k = 0; k < operands(c); k++)
        for (int64_t i = 0; i < rt_tensor_count(&w.value[k]); i++) rt_put(&w.value[k], i, rt_get(&r.value[k], i));
    rt_error err = {0};
    RT_OK_OR_FAIL(build_and_plan(&w, true, true, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(w.g, &err));
    RT_OK_OR_FAIL(rt_graph_backward(w.g, &err));
    for (int k = 0; ok && k < operands(c); k++) {
        if (!differentiable(&c->in[k])) continue;
        double scale = fmax(largest(&w.grad[k]), 1e-6), worst = 0;
        for (int64_t i = 0; i < rt_tensor_count(&w.grad[k]); i++) worst = fmax(worst, fabs(rt_get(&w.grad[k], i) - rt_get(&r.grad[k], i)) / scale);
        RT_CHECK(worst <= (half ? 2e-2 : 2e-5), "%s: gradient of input %d differs from f64's by %.3g of its largest", label, k, worst);
    }
    close_run(&r);
    close_run(&w);
}

/* Every operand once in a wrong dtype, once in a wrong shape: refused when built, the operand named. */
static void refusals(const op_case *c, rt_prec p, const char *label) {
    for (int k = 0; k < operands(c); k++)
        for (int what = 0; what < 2; what++) {
            run r;
            rt_error err = {0};
            open_run(&r, c, p, false);
            if (what == 0) r.value[k].dtype = r.value[k].dtype == RT_I32 ? RT_I64 : r.value[k].dtype == RT_F32 ? RT_BF16 : r.value[k].dtype == RT_F64 ? RT_F32 : RT_F64;
            else r.value[k].ndim = r.value[k].ndim == 1 ? 2 : 1, r.value[k].dim[1] = 1;
            rt_status s = build_and_plan(&r, false, true, false, &err), want = what == 0 ? RT_E_DTYPE : RT_E_SHAPE;
            bool cast = strncmp(c->name, "cast", 4) == 0; /* casts take any float; f64 is refused as such */
            RT_CHECK(s == want || (cast && what == 0), "%s: input %d with a wrong %s gives %s (%s)", label, k, what ? "shape" : "dtype", rt_status_name(s), err.text);
            RT_CHECK(cast || strstr(err.text, "t.") != NULL, "%s: the refusal does not name the node: %s", label, err.text);
            if (what == 0 && k < 1 && !cast) RT_CHECK(strstr(err.text, "contract says") != NULL, "%s: both sides are not named: %s", label, err.text);
            close_run(&r);
        }
}

typedef struct bits {
    uint64_t values, gradients;
} bits;
static bool same(bits a, bits b) { return a.values == b.values && a.gradients == b.gradients; }
static bits bits_of(const op_case *c, rt_prec p, bool train, bool chains, bool recompute) {
    run r;
    rt_error err = {0};
    bits first = {0};
    open_run(&r, c, p, false);
    rt_status s = build_and_plan(&r, train, chains, recompute, &err);
    for (int i = 0; s == RT_OK && i < 2; i++) { /* the second run must give what the first gave */
        bits now = {17, 17};
        for (int k = 0; k < operands(c); k++) memset(r.grad[k].data, 0, rt_tensor_bytes(&r.grad[k]));
        s = rt_graph_forward(r.g, &err);
        for (int k = 0; !recompute && !rt_ref_is_null(r.outs[k]); k++) now.values = now.values * 31 + rt_tensor_hash(rt_graph_value(r.g, r.outs[k]));
        if (train && s == RT_OK) s = rt_graph_backward(r.g, &err);
        for (int k = 0; k < operands(c); k++) now.gradients = now.gradients * 31 + rt_tensor_hash(&r.grad[k]);
        RT_CHECK(i == 0 || same(now, first), "%s: the second run has other bits", c->name);
        first = now;
    }
    if (s != RT_OK) RT_FAILF("%s: %s", c->name, err.text);
    close_run(&r);
    return first;
}
static void repeats(const op_case *c, rt_prec p, const char *label) {
    int before = rt_threads();
    bool train = !c->no_gradient;
    rt_threads_set(1);
    bits one = bits_of(c, p, train, true, false), eval = bits_of(c, p, false, true, false);
    for (int threads = 2; threads <= 3; threads++) {
        rt_threads_set(threads);
        RT_CHECK(same(bits_of(c, p, train, true, false), one), "%s: other bits with %d threads", label, threads);
    }
    rt_threads_set(before);
    RT_CHECK(eval.values == one.values, "%s: evaluation has other bits than training", label);
    RT_CHECK(same(bits_of(c, p, train, false, false), one), "%s: other bits without chains", label);
    RT_CHECK(same(bits_of(c, p, false, false, false), eval), "%s: evaluation has other bits without chains", label);
    RT_CHECK(bits_of(c, p, train, true, true).gradients == one.gradients, "%s: other bits with recomputation", label);
}

/* Gradients of trained parameters, overwritten, are those added to zero. */
static void overwrites(const op_case *c, rt_prec p, const char *label) {
    run r;
    rt_error err = {0};
    if (c->no_gradient) return;
    if (!open_and_run(&r, c, p, true, false)) return;
    rt_tensor first[RT_MAX_IN];
    for (int k = 0; k < operands(c); k++) {
        first[k] = converted(&r.grad[k], r.grad[k].dtype);
        if (rt_graph_gradient(r.g, r.in[k])->data) memset(r.grad[k].data, 0xff, rt_tensor_bytes(&r.grad[k]));
    }
    rt_graph_fresh_gradients(r.g);
    rt_status s = rt_graph_forward(r.g, &err);
    if (s == RT_OK) s = rt_graph_backward(r.g, &err);
    RT_CHECK(s == RT_OK, "%s: %s", label, err.text);
    for (int k = 0; k < operands(c); k++) {
        int64_t i = 0, n = rt_tensor_count(&first[k]);
        while (i < n && rt_get(&first[k], i) == rt_get(&r.grad[k], i)) i++;
        RT_CHECK(i == n, "%s: the gradient of input %d is not overwritten at %lld", label, k, (long long)i);
        rt_free(first[k].data);
    }
    close_run(&r);
}
static const char *prec_label(rt_prec p, char b[64]) {
    char t[48];
    snprintf(b, 64, "%s", rt_prec_text(p, t));
    for (char *s = b; *s; s++) if (*s == ' ') *s = '_';
    return b;
}
static void each_case(void (*fn)(const op_case *c, rt_prec p, const char *label)) {
    for (int i = 0; groups[i]; i++)
        for (const op_case *c = groups[i]; c->name; c++)
            for (const rt_prec *p = c->precs ? c->precs : op_all_precs; p->acc != RT_NONE; p++) {
                char b[64], label[192];
                snprintf(label, sizeof label, "%s/%s", c->name, prec_label(*p, b));
                if (rt_case_selected(label)) fn(c, *p, label);
            }
}

static void exact_case(const op_case *c, rt_prec p, const char *label) {
    if (!c->integers_differ) against_reference(c, p, label, true);
}
static void exact_on_small_integers(void) { each_case(exact_case); }
static void reference_case(const op_case *c, rt_prec p, const char *label) { against_reference(c, p, label, false); }
static void equals_the_f64_reference(void) { each_case(reference_case); }
static void gradient_case(const op_case *c, rt_prec p, const char *label) {
    if (p.acc == RT_F64) gradients(c, label);
    else gradients_agree(c, p, label);
}
static void gradients_equal_differences(void) { each_case(gradient_case); }
static void wrong_operands_are_refused(void) { each_case(refusals); }
static void same_bits_every_time(void) { each_case(repeats); }
static void fresh_gradients_are_overwritten(void) { each_case(overwrites); }

static void every_operation_has_a_case(void) {
    for (int o = 0; rt_ops[o]; o++) {
        bool found = false;
        size_t n = strlen(rt_ops[o]->name);
        for (int i = 0; groups[i]; i++)
            for (const op_case *c = groups[i]; c->name; c++) found |= strncmp(c->name, rt_ops[o]->name, n) == 0 && c->name[n] == '/';
        RT_CHECK(found || strcmp(rt_ops[o]->name, "head") == 0, "operation '%s' has no case", rt_ops[o]->name); /* head: test_head.c */
    }
}

RT_SUITE(ops) {
    RT_TEST(every_operation_has_a_case);
    RT_TEST(exact_on_small_integers);
    RT_TEST(equals_the_f64_reference);
    RT_TEST(gradients_equal_differences);
    RT_TEST(wrong_operands_are_refused);
    RT_TEST(same_bits_every_time);
    RT_TEST(fresh_gradients_are_overwritten);
}
