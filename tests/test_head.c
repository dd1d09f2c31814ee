/* The head: gradients by finite differences, precisions against f64, bits, memory, refusals. Values: test_losses.c. */
#include "head_case.h"
#include "kernels/isa.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
/* Everything that can be trained on. */
static const rt_head_term trained[] = {
    {&rt_loss_next_token, 0, 0, 0}, {&rt_loss_next_token, 0, 0, 0.2}, {&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_reverse_kl, 2, 0, 0},
    {&rt_loss_jsd, 0, 0.3, 0},      {&rt_loss_jsd, 2, 0.5, 0},        {&rt_loss_jsd, 0, 0, 0},        {&rt_loss_jsd, 0, 1, 0},
    {&rt_loss_tv, 0, 0, 0},         {&rt_loss_tv, 3, 0, 0}};
/* ------------------------------------------------------- finite differences */

static double objective(head_case *c) {
    rt_error err = {0};
    c->evaluate = true;
    RT_OK_OR_FAIL(head_case_run(c, &err));
    c->evaluate = false;
    double total = 0;
    for (int i = 0; i < c->n_terms; i++) total += c->gains[i] * ((const double *)c->out.data)[i * c->out.dim[1]];
    return total;
}
static double moved(head_case *c, rt_tensor *t, int64_t i, double by) {
    double x = rt_get(t, i);
    rt_put(t, i, x + by);
    double y = objective(c);
    rt_put(t, i, x);
    return y;
}
static void compare_differences(head_case *c, rt_tensor *t, const rt_tensor *d, const char *what) {
    double h = 1e-3, worst = 0, largest = 0;
    int64_t count = rt_tensor_count(t), step = count / (c->V > 500 ? 5 : 19) + 1;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(rt_get(d, i)));
    for (int64_t i = 0; i < count; i += step) {
        double near = moved(c, t, i, h) - moved(c, t, i, -h), far = moved(c, t, i, 2 * h) - moved(c, t, i, -2 * h);
        worst = fmax(worst, fabs((8 * near - far) / (12 * h) - rt_get(d, i)));
    }
    RT_CHECK(largest > 0 && worst <= 1e-8 * largest, "%s of %s (term beta %g, tau %g): off by %.3g of %.3g", what, c->terms->loss->name,
             c->terms->beta, c->terms->temperature, worst, largest);
}
/* Teacher logits half above or below the student's, in turn: |p - q| has its kinks far away, for tv. */
static void keep_apart(head_case *c) {
    for (int64_t n = 0; n < c->N; n++)
        for (int64_t v = 0; v < c->V; v++) {
            double z = c->given[0] ? rt_get(&c->logits[0], n * c->padded + v) : 0;
            for (int64_t d = 0; d < c->D[0] && !c->given[0]; d++) z += rt_get(&c->hidden[0], n * c->D[0] + d) * rt_get(&c->weight[0], v * c->D[0] + d);
            rt_put(&c->logits[1], n * c->padded + v, z + (v % 2 ? 0.5 : -0.5));
        }
}
static void differences(bool given, int64_t V) {
    rt_error err = {0};
    rt_threads_set(1); /* many tiny runs */
    for (int i = 0; i < COUNT(trained); i++) {
        bool tv = trained[i].loss == &rt_loss_tv;
        head_case c = {.N = 19, .D = {6, 5}, .V = V, .padded = V + 3, .prec = {head_f64, head_f64}, .given = {given, given || tv}, .terms = &trained[i],
                       .n_terms = 1, .rows = 16, .scale = given ? 1 : 0.5};
        head_case_make(&c);
        if (tv) keep_apart(&c);
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        if (given) compare_differences(&c, &c.logits[0], &c.d_logits, "logits");
        else compare_differences(&c, &c.hidden[0], &c.d_hidden, "hidden"), compare_differences(&c, &c.weight[0], &c.d_weight, "weight");
        head_case_free(&c);
    }
    rt_threads_set(0);
}
static void gradient_logits(void) { differences(true, 17); }
static void gradient_hidden_weight(void) { differences(false, 17); }
static void gradient_several_tiles(void) { differences(false, 517); }

/* ------------------------------------------------------------ precisions */

static void convert_tensor(rt_tensor *to, const rt_tensor *from) {
    for (int64_t i = 0; i < rt_tensor_count(to); i++) rt_put(to, i, rt_get(from, i));
}
static double distance(const rt_tensor *a, const rt_tensor *b) {
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < rt_tensor_count(a); i++) {
        worst = fmax(worst, fabs(rt_get(a, i) - rt_get(b, i)));
        largest = fmax(largest, fabs(rt_get(b, i)));
    }
    return worst / largest;
}
/* Relative to the largest element, each loss alone. dz of the last three is q times a difference of numbers whose errors
 * (1e-6 from the products) are not small against it; forward_kl's and next_token's is a difference of probabilities. */
static void compare_gradients(head_case *c, head_case *w, const char *name) {
    rt_error err = {0};
    for (int i = 0; i < c->n_terms; i++) {
        const rt_vocab_loss *loss = head_all[i].loss;
        if (!loss->gradient) continue;
        memset(c->gains, 0, sizeof c->gains), memset(w->gains, 0, sizeof w->gains);
        c->gains[i] = w->gains[i] = 1;
        RT_OK_OR_FAIL(head_case_run(c, &err));
        RT_OK_OR_FAIL(head_case_run(w, &err));
        double tolerance = loss == &rt_loss_next_token || loss == &rt_loss_forward_kl ? 2e-6 : 3e-5;
        double dh = distance(&c->d_hidden, &w->d_hidden), dw = distance(&c->d_weight, &w->d_weight);
        RT_CHECK(dh < tolerance && dw < tolerance, "%s, %s: dH off by %.3g, dW by %.3g", name, loss->name, dh, dw);
    }
}
/* The same numbers in the contract under test and in f64. */
static void against_f64(rt_prec student, rt_prec teacher, const char *name) {
    head_case c = {.N = 60, .D = {48, 72}, .V = 600, .padded = 604, .prec = {student, teacher}, .terms = head_all, .n_terms = HEAD_ALL, .rows = 32,
                   .scale = 0.3};
    head_case w = c;
    w.prec[0] = w.prec[1] = head_f64;
    rt_error err = {0};
    head_case_make(&c), head_case_make(&w);
    for (int s = 0; s < 2; s++) convert_tensor(&w.hidden[s], &c.hidden[s]), convert_tensor(&w.weight[s], &c.weight[s]);
    RT_OK_OR_FAIL(head_case_run(&c, &err));
    RT_OK_OR_FAIL(head_case_run(&w, &err));
    for (int i = 0; i < c.n_terms; i++) {
        double found = head_case_report(&c, i), want = head_case_report(&w, i);
        RT_CHECK(fabs(found - want) <= 2e-6 * fmax(fabs(want), 0.1), "%s, %s: %.10g, in f64 %.10g", name, head_all[i].loss->name, found, want);
    }
    compare_gradients(&c, &w, name);
    for (int64_t i = c.V * c.D[0]; i < c.padded * c.D[0]; i++) CU_ASSERT_EQUAL(rt_get(&c.d_weight, i), 0);
    for (int64_t n = 0; n < c.N; n++)
        if (c.target[n] < 0) CU_ASSERT_EQUAL(rt_get(&c.d_hidden, n * c.D[0]), 0);
    head_case_free(&c), head_case_free(&w);
}
static void precisions(void) {
    rt_prec f32_f16 = {RT_F32, RT_F16, RT_F32, RT_F32, RT_F32}, bf16 = {RT_BF16, RT_BF16, RT_F32, RT_F32, RT_F32};
    against_f64(head_f32, head_f32, "f32");
    against_f64(head_f32, head_f16, "f32, teacher f16");
    against_f64(f32_f16, head_f16, "f16 weights");
    against_f64(bf16, bf16, "bf16");
}

/* ---------------------------------------------------------------- bits */

static bool same_out(const head_case *a, const head_case *b) {
    return memcmp(a->out.data, b->out.data, rt_tensor_bytes(&a->out)) == 0;
}
static void bits_of_rows_and_mode(void) {
    rt_error err = {0};
    head_case a = head_case_big(64);
    head_case_make(&a);
    RT_OK_OR_FAIL(head_case_run(&a, &err));
    int64_t rows[] = {16, 32, 48, 80, 112, 256, 496, 512};
    for (int i = 0; i < COUNT(rows); i++) {
        head_case b = head_case_big(rows[i]);
        b.evaluate = i % 2;
        head_case_make(&b);
        RT_OK_OR_FAIL(head_case_run(&b, &err));
        RT_CHECK(same_out(&a, &b), "values differ with %d rows", (int)rows[i]);
        if (!b.evaluate) RT_CHECK(head_case_same(&a.d_hidden, &b.d_hidden), "dH differs with %d rows", (int)rows[i]);
        if (!b.evaluate) RT_CHECK(distance(&a.d_weight, &b.d_weight) < 1e-6, "dW differs with %d rows", (int)rows[i]);
        head_case_free(&b);
    }
    head_case_free(&a);
}
static void bits_of_threads(void) {
    rt_error err = {0};
    head_case c[3];
    for (int i = 0; i < 3; i++) {
        rt_threads_set(i + 1);
        c[i] = head_case_big(128);
        head_case_make(&c[i]);
        RT_OK_OR_FAIL(head_case_run(&c[i], &err));
        CU_ASSERT(same_out(&c[0], &c[i]) && head_case_same(&c[0].d_hidden, &c[i].d_hidden) && head_case_same(&c[0].d_weight, &c[i].d_weight));
    }
    rt_threads_set(0);
    for (int i = 0; i < 3; i++) head_case_free(&c[i]);
}
/* A term's values do not depend on which other terms there are, nor on gains. */
static void bits_of_company(void) {
    rt_error err = {0};
    head_case a = head_case_big(64);
    head_case_make(&a);
    RT_OK_OR_FAIL(head_case_run(&a, &err));
    for (int i = 0; i < HEAD_ALL; i++) {
        head_case b = head_case_big(64);
        b.terms = &head_all[i], b.n_terms = 1;
        head_case_make(&b);
        b.gains[0] = i % 2;
        RT_OK_OR_FAIL(head_case_run(&b, &err));
        RT_CHECK(memcmp((double *)a.out.data + i * a.out.dim[1], b.out.data, (size_t)head_all[i].loss->columns * 8) == 0, "%s", head_all[i].loss->name);
        head_case_free(&b);
    }
    head_case_free(&a);
}
/* A position's values have the same bits wherever it stands; and the library's product column by column (wide D too). */
static void bits_of_places(void) {
    enum { D = 1536, V = 300, N = 70 };
    const rt_head_term term[] = {{&rt_loss_forward_kl, 2, 0, 0}};
    rt_error err = {0};
    head_case a = {.N = N, .D = {D, D}, .V = V, .prec = {head_f32, head_f16}, .terms = term, .n_terms = 1, .rows = 512, .scale = 0.05, .evaluate = true};
    head_case_make(&a);
    for (int64_t n = 0; n < N; n += 9) {
        double alone[2];
        for (int k = 0; k < 2; k++) { /* in its place, then alone */
            head_case b = a;
            int32_t target[N];
            for (int i = 0; i < N; i++) target[i] = i == (k ? 0 : n) ? 1 : -1;
            b.target = target;
            b.N = k ? 1 : N;
            if (k)
                for (int s = 0; s < 2; s++) {
                    b.hidden[s].dim[0] = 1;
                    b.hidden[s].data = (char *)a.hidden[s].data + (size_t)(n * D) * rt_dtype_size(a.hidden[s].dtype);
                }
            RT_OK_OR_FAIL(head_case_run(&b, &err));
            alone[k] = ((double *)b.out.data)[0];
            a.out = b.out;
        }
        RT_CHECK(alone[0] == alone[1] && alone[0] > 0, "row %d: %.17g, alone %.17g", (int)n, alone[0], alone[1]);
    }
    head_case_free(&a);
}

/* Gradients that are overwritten, padding of the vocabulary included, are those added to zero; also without anything to learn. */
static void fresh_gradients(void) {
    const rt_head_term term[] = {{&rt_loss_next_token, 0, 0, 0}};
    rt_error err = {0};
    for (int given = 0; given < 2; given++)
        for (int idle = 0; idle < 2; idle++) {
            head_case c = {.N = 50, .D = {24}, .V = 300, .padded = 310, .prec = {head_f32}, .given = {given}, .terms = term, .n_terms = 1, .rows = 16};
            head_case_make(&c);
            if (idle) c.gains[0] = 0;
            const rt_tensor *d = given ? &c.d_logits : &c.d_weight;
            float *first = rt_alloc(rt_tensor_bytes(d));
            RT_OK_OR_FAIL(head_case_run(&c, &err));
            memcpy(first, d->data, rt_tensor_bytes(d));
            c.fresh = true;
            RT_OK_OR_FAIL(head_case_run(&c, &err));
            int64_t i = 0;
            while (i < rt_tensor_count(d) && first[i] == ((float *)d->data)[i]) i++;
            RT_CHECK(i == rt_tensor_count(d), "given %d, idle %d: other gradient at %d", given, idle, (int)i);
            rt_free(first);
            head_case_free(&c);
        }
}

/* v3 and v4 give the same bits; v2, without fused multiply-add, the same to rounding. */
static void isa_levels(void) {
    rt_error err = {0};
    head_case c[3];
    const char *level[] = {NULL, "v3", "v2"};
    for (int i = 0; i < 3; i++) {
        c[i] = head_case_big(128);
        head_case_make(&c[i]);
        if (rt_isa_force(level[i])) RT_OK_OR_FAIL(head_case_run(&c[i], &err));
        else c[i].n_terms = 0, rt_test_skip("this processor has no level %s", level[i]);
    }
    rt_isa_force(NULL);
    if (c[1].n_terms) CU_ASSERT(same_out(&c[0], &c[1]) && head_case_same(&c[0].d_weight, &c[1].d_weight));
    for (int i = 0; i < c[2].n_terms; i++) CU_ASSERT_DOUBLE_EQUAL(head_case_report(&c[0], i), head_case_report(&c[2], i), 2e-6 * (1 + head_case_report(&c[0], i)));
    if (c[2].n_terms) CU_ASSERT(distance(&c[0].d_weight, &c[2].d_weight) < 3e-5);
    for (int i = 0; i < 3; i++) head_case_free(&c[i]);
}

/* Equal sides: every divergence is exactly 0 and so is its gradient; through weights and through given logits. */
static void equal_sides(void) {
    const rt_head_term terms[] = {{&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_forward_kl, 1, 0, 0}, {&rt_loss_reverse_kl, 2, 0, 0},
                                  {&rt_loss_jsd, 1, 0.3, 0},      {&rt_loss_tv, 1, 0, 0},         {&rt_loss_kl_t1, 0, 0, 0}};
    rt_error err = {0};
    for (int k = 0; k < 3; k++) {
        head_case c = {.N = 100, .D = {48, 48}, .V = 700, .padded = 701, .prec = {head_f32, k == 1 ? head_f16 : head_f32}, .given = {k == 2, k == 2},
                       .terms = terms, .n_terms = COUNT(terms), .rows = 48, .scale = 2};
        head_case_make(&c);
        if (k == 2) convert_tensor(&c.logits[0], &c.logits[1]);
        else convert_tensor(&c.hidden[0], &c.hidden[1]), convert_tensor(&c.weight[0], &c.weight[1]); /* exact from f16, too */
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        const rt_tensor *d = k == 2 ? &c.d_logits : &c.d_weight;
        for (int i = 0; i < c.n_terms; i++) RT_CHECK(head_case_report(&c, i) == 0, "%s: %g", terms[i].loss->name, head_case_report(&c, i));
        for (int64_t i = 0; i < rt_tensor_count(d); i++)
            if (rt_get(d, i) != 0) RT_FAILF("gradient %g at %d", rt_get(d, i), (int)i), i = INT32_MAX;
        head_case_free(&c);
    }
}

/* -------------------------------------------------------------- memory, edges */

static void memory_is_bounded(void) {
    const rt_head_term terms[] = {{&rt_loss_next_token, 0, 0, 0}, {&rt_loss_forward_kl, 2, 0, 0}};
    rt_error err = {0};
    int64_t arena[2], N[2] = {512, 4096};
    for (int i = 0; i < 2; i++) {
        head_case c = {.N = N[i], .D = {16, 16}, .V = 2000, .prec = {head_f32, head_f16}, .terms = terms, .n_terms = 2, .budget = 4 << 20};
        head_case_make(&c);
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        arena[i] = c.stats.arena_bytes;
        RT_CHECK(c.stats.arena_bytes + 4 * c.stats.worker_scratch_bytes <= (4 << 20) + 4096, "%lld bytes", (long long)c.stats.arena_bytes);
        CU_ASSERT(c.rows_used >= 128 && c.rows_used % 16 == 0);
        head_case_free(&c);
    }
    RT_CHECK(arena[0] == arena[1], "%lld bytes for 512 rows, %lld for 4096", (long long)arena[0], (long long)arena[1]);
}

/* One row, no supervised row, a vocabulary of one or three ids, only a student. */
static void edges(void) {
    const rt_head_term terms[] = {{&rt_loss_next_token, 0, 0, 0}, {&rt_loss_calibration, 0, 0, 0}};
    rt_error err = {0};
    for (int64_t V = 1; V < 4; V++) {
        head_case c = {.N = 1, .D = {3}, .V = V, .prec = {head_f32}, .terms = terms, .n_terms = 2};
        head_case_make(&c);
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        CU_ASSERT_EQUAL(c.rows_used, 512);
        CU_ASSERT(head_case_report(&c, 0) >= 0 && (V > 1) == (head_case_report(&c, 0) > 0));
        c.target[0] = -1;
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        CU_ASSERT_EQUAL(head_case_report(&c, 0), 0);
        CU_ASSERT_EQUAL(rt_vocab_count(c.out.data, c.out.dim[1]), 0);
        for (int64_t i = 0; i < rt_tensor_count(&c.d_weight); i++) CU_ASSERT_EQUAL(rt_get(&c.d_weight, i), 0);
        head_case_free(&c);
    }
}

static void refused(head_case c, rt_status want, const char *word) {
    rt_error err = {0};
    head_case_make(&c);
    rt_status s = head_case_run(&c, &err);
    RT_CHECK(s == want && strstr(err.text, word), "%s: '%s', expected %s with '%s'", rt_status_name(s), err.text, rt_status_name(want), word);
    head_case_free(&c);
}
static void refusals(void) {
    const rt_head_term kl[] = {{&rt_loss_forward_kl, 2, 0, 0}}, ce[] = {{&rt_loss_next_token, 0, 0, 0}}, cold[] = {{&rt_loss_forward_kl, -1, 0, 0}},
                       fixed[] = {{&rt_loss_kl_t1, 2, 0, 0}}, beta[] = {{&rt_loss_jsd, 1, 1.5, 0}}, smooth[] = {{&rt_loss_next_token, 0, 0, 1}};
    head_case base = {.N = 8, .D = {4, 4}, .V = 20, .prec = {head_f32, head_f32}, .terms = kl, .n_terms = 1}, c = base;
    c.prec[1] = (rt_prec){0};
    refused(c, RT_E_CONFIG, "needs a teacher");
    c = base, c.terms = cold, refused(c, RT_E_CONFIG, "temperature");
    c = base, c.terms = fixed, refused(c, RT_E_CONFIG, "temperature");
    c = base, c.terms = beta, refused(c, RT_E_CONFIG, "beta");
    c = base, c.terms = smooth, refused(c, RT_E_CONFIG, "label_smoothing");
    c = base, c.padded = 19, refused(c, RT_E_SHAPE, "vocabulary");
    c = base, c.n_terms = 0, refused(c, RT_E_ARG, "terms");
    c = base, c.rows = 24, refused(c, RT_E_CONFIG, "multiple");
    c = base, c.budget = 1000, refused(c, RT_E_CONFIG, "budget");
    c = base, c.prec[1] = head_f64, refused(c, RT_E_PREC, "teacher");
    c = base, c.prec[0].out = RT_F16, refused(c, RT_E_PREC, "logits are f32");
    c = base, c.terms = ce, c.prec[0].in = RT_I32, refused(c, RT_E_PREC, "student");
}
/* A graph without a leaf; then hidden without a weight. */
static void nothing_given(void) {
    const rt_head_term ce[] = {{&rt_loss_next_token, 0, 0, 0}};
    rt_error err = {0};
    for (int i = 0; i < 2; i++) {
        rt_graph *g = rt_graph_new("test");
        rt_tensor ids = rt_tensor_1d(RT_I32, NULL, 4), hidden = rt_tensor_2d(RT_F32, NULL, 4, 8);
        rt_head_config c = {.terms = ce, .n_terms = 1, .vocab = 9, .student.prec = head_f32, .teacher.prec = head_f32};
        if (i) c.targets = rt_graph_input(g, "ids", &ids), c.student.hidden = rt_graph_input(g, "hidden", &hidden);
        CU_ASSERT(rt_ref_is_null(rt_head(g, &c, "head", NULL)));
        CU_ASSERT_EQUAL(rt_graph_plan(g, true, &err), RT_E_ARG);
        rt_error_clear(&err);
        rt_graph_free(g);
    }
}
static void bad_targets(void) {
    const rt_head_term ce[] = {{&rt_loss_next_token, 0, 0, 0}};
    head_case c = {.N = 8, .D = {4}, .V = 20, .prec = {head_f32}, .terms = ce, .n_terms = 1};
    rt_error err = {0};
    head_case_make(&c);
    c.target[3] = 20;
    CU_ASSERT_EQUAL(head_case_run(&c, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "row 3"));
    head_case_free(&c);
}
static void out_of_memory(void) {
    head_case c = {.N = 8, .D = {4, 4}, .V = 20, .prec = {head_f32, head_f32}, .terms = head_all, .n_terms = HEAD_ALL};
    head_case_make(&c);
    int64_t before = rt_mem_stats_get().live_blocks;
    rt_status s = RT_E_NOMEM;
    for (int i = 1; s == RT_E_NOMEM && i < 100; i++) {
        rt_scratch_release();
        int64_t live = rt_mem_stats_get().live_blocks;
        rt_error err = {0};
        rt_mem_fail_at(i);
        s = head_case_run(&c, &err);
        rt_mem_fail_at(0);
        rt_scratch_release();
        CU_ASSERT(rt_mem_stats_get().live_blocks <= live && (s == RT_OK || s == RT_E_NOMEM));
    }
    CU_ASSERT_EQUAL(s, RT_OK);
    CU_ASSERT(rt_mem_stats_get().live_blocks <= before);
    head_case_free(&c);
}

RT_SUITE(head) {
    RT_TEST(gradient_logits);
    RT_TEST(gradient_hidden_weight);
    RT_TEST(gradient_several_tiles);
    RT_TEST(fresh_gradients);
    RT_TEST(precisions);
    RT_TEST(bits_of_rows_and_mode);
    RT_TEST(bits_of_threads);
    RT_TEST(bits_of_company);
    RT_TEST(bits_of_places);
    RT_TEST(isa_levels);
    RT_TEST(equal_sides);
    RT_TEST(memory_is_bounded);
    RT_TEST(edges);
    RT_TEST(refusals);
    RT_TEST(nothing_given);
    RT_TEST(bad_targets);
    RT_TEST(out_of_memory);
}
