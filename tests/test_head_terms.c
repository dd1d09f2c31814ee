/* The head's terms from run to run: which are active, and at which temperatures. */
#include "head_case.h"
#include <retort/base/mem.h>
#include <math.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static bool same_row(const head_case *a, int i, const head_case *b, int j) {
    int64_t wide = a->out.dim[1], other = b->out.dim[1];
    const double *x = (const double *)a->out.data + i * wide, *y = (const double *)b->out.data + j * other;
    return memcmp(x, y, (size_t)a->terms[i].loss->columns * sizeof *x) == 0 && rt_vocab_count(x, wide) == rt_vocab_count(y, other);
}
static bool zero_row(const head_case *c, int i) {
    for (int64_t k = 0; k < c->out.dim[1]; k++)
        if (((const double *)c->out.data)[i * c->out.dim[1] + k] != 0) return false;
    return true;
}
static bool has_bit(uint64_t bits, int i) { return bits >> (i % 64) & 1; }

/* Masked terms are as if they were not there: in values, in gradients, in training and in evaluation. */
static void bits_of_masks(void) {
    const uint64_t masks[] = {0x001, 0x002, 0x010, 0x020, 0x400, 0x180, 0x015, 0x3e0, 0x40a, 0x7fe, 0x7ff, 0};
    rt_error err = {0};
    head_case all_on = head_case_big(64), some = head_case_big(64), alone = head_case_big(64);
    rt_head_term kept[HEAD_ALL];
    int32_t active[HEAD_ALL];
    some.active = active, alone.terms = kept;
    head_case_make(&all_on), head_case_make(&some), head_case_make(&alone);
    RT_OK_OR_FAIL(head_case_run(&all_on, &err));
    for (int m = 0; m < 2 * COUNT(masks); m++) {
        uint64_t mask = masks[m / 2];
        alone.n_terms = 0;
        for (int i = 0; i < HEAD_ALL; i++) {
            active[i] = has_bit(mask, i) ? 1 + i : 0;
            if (active[i]) alone.gains[alone.n_terms] = some.gains[i], kept[alone.n_terms++] = head_all[i];
        }
        some.evaluate = alone.evaluate = m % 2;
        RT_OK_OR_FAIL(head_case_run(&some, &err));
        if (alone.n_terms) RT_OK_OR_FAIL(head_case_run(&alone, &err));
        for (int i = 0, k = 0; i < HEAD_ALL; k += active[i++] != 0) {
            bool right = active[i] ? same_row(&all_on, i, &some, i) && same_row(&some, i, &alone, k) : zero_row(&some, i);
            RT_CHECK(right, "mask %x: %s", (unsigned)mask, head_all[i].loss->name);
        }
        if (alone.n_terms && !some.evaluate)
            RT_CHECK(head_case_same(&some.d_hidden, &alone.d_hidden) && head_case_same(&some.d_weight, &alone.d_weight), "mask %x: gradients", (unsigned)mask);
    }
    for (int64_t i = 0; i < rt_tensor_count(&some.d_weight); i++) CU_ASSERT_EQUAL_FATAL(rt_get(&some.d_weight, i), 0); /* the last mask: none */
    head_case_free(&all_on), head_case_free(&some), head_case_free(&alone);
}

/* A temperature given when run has the bits of the same one given when built; 0 and less keep the one that was built. */
static void bits_of_temperatures(void) {
    rt_error err = {0};
    rt_head_term retold[HEAD_ALL];
    double tau[HEAD_ALL] = {1.5, 3, -1, 2, 0.7, 1, 0, 0, 1, -3, 1};
    head_case a = head_case_big(64), b = head_case_big(64);
    a.terms = retold, b.temperatures = tau;
    for (int i = 0; i < HEAD_ALL; i++) {
        retold[i] = head_all[i];
        if (tau[i] > 0) retold[i].temperature = tau[i];
    }
    head_case_make(&a), head_case_make(&b);
    for (int k = 0; k < 3; k++) {
        if (k == 2) /* as many different ones as there is room for */
            for (int i = 0; i < 5; i++) retold[i].temperature = tau[i] = 1.25 + 0.25 * i;
        a.evaluate = b.evaluate = k == 1;
        RT_OK_OR_FAIL(head_case_run(&a, &err));
        RT_OK_OR_FAIL(head_case_run(&b, &err));
        for (int i = 0; i < HEAD_ALL; i++) RT_CHECK(same_row(&a, i, &b, i), "%s at %g", head_all[i].loss->name, tau[i]);
        if (!a.evaluate) CU_ASSERT(head_case_same(&a.d_hidden, &b.d_hidden) && head_case_same(&a.d_weight, &b.d_weight));
    }
    head_case_free(&a), head_case_free(&b);
}

/* What a run may not ask for; masked terms are checked as well, and the next run is sound. */
static void refused_at_run(double at_fixed, double at_free, const char *word) {
    const rt_head_term terms[] = {{&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_kl_t1, 0, 0, 0}};
    double tau[] = {at_free, at_fixed};
    int32_t active[] = {1, 0};
    head_case c = {.N = 8, .D = {4, 4}, .V = 20, .prec = {head_f32, head_f32}, .terms = terms, .n_terms = 2, .active = active, .temperatures = tau};
    rt_error err = {0};
    head_case_make(&c);
    rt_status s = head_case_run(&c, &err);
    RT_CHECK(s == RT_E_CONFIG && strstr(err.text, word) && strstr(err.text, "test.head (head): term"), "%s: '%s', expected '%s'", rt_status_name(s), err.text, word);
    rt_error_clear(&err);
    tau[0] = 3, tau[1] = 1;
    RT_OK_OR_FAIL(head_case_run(&c, &err));
    head_case_free(&c);
}
static void refusals_at_run(void) {
    refused_at_run(2, 1, "'kl_t1' is defined at temperature 1, not 2");
    refused_at_run(1, (double)INFINITY, "('forward_kl'): temperature inf");
    refused_at_run(1, (double)NAN, "('forward_kl'): temperature nan");
    refused_at_run((double)NAN, 0, "'kl_t1' is defined at temperature 1");
}
/* The arrays may change between runs of one planned graph, which allocates nothing then. */
static void runs_of_one_plan(void) {
    const rt_head_term terms[] = {{&rt_loss_next_token, 0, 0, 0}, {&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_top5_overlap, 0, 0, 0}};
    rt_error err = {0};
    int32_t active[] = {1, 1, 1};
    double tau[] = {0, 0, 0};
    head_case c = {.N = 40, .D = {8, 8}, .V = 300, .prec = {head_f32, head_f32}, .terms = terms, .n_terms = 3, .rows = 16, .active = active, .temperatures = tau};
    head_case_make(&c);
    rt_graph *g = rt_graph_new("test");
    rt_ref out = head_case_build(&c, g);
    RT_OK_OR_FAIL(rt_graph_plan(g, true, &err));
    double first[3];
    const double *row = rt_graph_value(g, out)->data;
    int64_t width = rt_graph_value(g, out)->dim[1], calls = 0;
    for (int run = 0; run < 4; run++) {
        active[0] = active[2] = run % 2 == 0;
        tau[1] = run == 1 ? 4 : 0;
        if (run == 1) calls = rt_mem_stats_get().calls;
        RT_OK_OR_FAIL(rt_graph_forward(g, &err));
        for (int i = 0; i < 3 && run == 0; i++) first[i] = row[i * width];
        for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(row[i * width + width - 1] > 0, active[i]);
        for (int i = 0; i < 3; i++) CU_ASSERT(i == 1 ? (row[width] == first[1]) == (run != 1) : row[i * width] == (active[i] ? first[i] : 0));
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().calls, calls);
    rt_graph_free(g);
    head_case_free(&c);
}

/* Terms that want the same sums share them: the values are those of each term alone, whichever term's gradient makes a sum along the
 * way, and with temperatures that become equal, or no longer are, at run time. */
static void bits_of_equal_terms(void) {
    static const rt_head_term terms[] = {
        {&rt_loss_forward_kl, 2, 0, 0},  {&rt_loss_forward_kl, 2, 0, 0},   {&rt_loss_jsd, 1, 0.3, 0},       {&rt_loss_jsd, 1, 0.7, 0},  {&rt_loss_jsd, 1, 0.3, 0},
        {&rt_loss_jsd, 1, 0, 0},         {&rt_loss_jsd, 1, 1, 0},          {&rt_loss_kl_t1, 0, 0, 0},       {&rt_loss_forward_kl, 1, 0, 0}, {&rt_loss_reverse_kl, 1, 0, 0},
        {&rt_loss_next_token, 1, 0, 0.1}, {&rt_loss_next_token, 2, 0, 0.2}, {&rt_loss_acceptance, 0, 0, 0}, {&rt_loss_tv, 1, 0, 0}};
    enum { TERMS = COUNT(terms) };
    rt_error err = {0};
    double tau[TERMS] = {0}, one;
    head_case all = head_case_big(64);
    all.terms = terms, all.n_terms = TERMS, all.temperatures = tau;
    head_case_make(&all);
    for (int run = 0; run < 6; run++) {
        all.evaluate = run % 2;
        for (int i = 0; i < TERMS; i++) all.gains[i] = (i + run / 2) % 3;
        tau[1] = run < 2 ? 0 : 1, tau[4] = run < 4 ? 0 : 2, tau[9] = run < 4 ? 0 : 2;
        RT_OK_OR_FAIL(head_case_run(&all, &err));
        for (int i = 0; i < TERMS; i++) {
            head_case alone = head_case_big(64);
            alone.terms = &terms[i], alone.n_terms = 1, alone.temperatures = &one, one = tau[i];
            alone.evaluate = (run + i) % 2;
            head_case_make(&alone);
            RT_OK_OR_FAIL(head_case_run(&alone, &err));
            RT_CHECK(same_row(&all, i, &alone, 0), "run %d, term %d: %s", run, i, terms[i].loss->name);
            head_case_free(&alone);
        }
    }
    head_case_free(&all);
}

RT_SUITE(head_terms) {
    RT_TEST(bits_of_masks);
    RT_TEST(bits_of_equal_terms);
    RT_TEST(bits_of_temperatures);
    RT_TEST(refusals_at_run);
    RT_TEST(runs_of_one_plan);
}
