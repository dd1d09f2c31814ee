/* test_row_invariance.c - decisions.md, 2, for every product contract, through the operation: row i has the same bits whatever the
 * number of rows and wherever it stands. And equal weight rows give equal columns: routes of upcycled experts rest on it. */
#include "op_case.h"
#include <retort/base/mem.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 600, K = 64, O = 48 };

typedef struct product {
    rt_prec p;
    rt_tensor x, w, y; /* x, y of ROWS rows; y is what all rows together give */
} product;

static rt_tensor filled(rt_dtype t, int64_t rows, int64_t columns, uint64_t stream) {
    rt_tensor x = rt_tensor_2d(t, NULL, rows, columns);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    rt_fill_normal(&x, 0.5, stream);
    return x;
}
/* Rows of x in the order from, to a buffer of `count` rows. */
static void pick(const rt_tensor *x, int64_t count, int64_t first, int64_t stride, char *to) {
    size_t row = rt_tensor_bytes(x) / ROWS;
    for (int64_t i = 0; i < count; i++) memcpy(to + (size_t)i * row, (const char *)x->data + (size_t)((first + i * stride) % ROWS) * row, row);
}
static void run(const product *q, void *rows, int64_t count, void *out) {
    rt_error err = {0};
    rt_graph *g = rt_graph_new("t");
    rt_tensor x = rt_tensor_2d(q->p.in, rows, count, K);
    rt_ref y = rt_linear(g, rt_graph_input(g, "x", &x), rt_graph_param(g, "w", &q->w, NULL), q->p, "product");
    rt_graph_output(g, y);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    if (err.status == RT_OK) RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    if (err.status == RT_OK) memcpy(out, rt_graph_value(g, y)->data, rt_tensor_bytes(rt_graph_value(g, y)));
    rt_graph_free(g);
}

static int differing(const product *q, int64_t count, int64_t first, int64_t stride, char *rows, char *got) {
    size_t row = rt_tensor_bytes(&q->y) / ROWS;
    int bad = 0;
    pick(&q->x, count, first, stride, rows);
    run(q, rows, count, got);
    for (int64_t i = 0; i < count; i++) bad += memcmp(got + (size_t)i * row, (const char *)q->y.data + (size_t)((first + i * stride) % ROWS) * row, row) != 0;
    return bad;
}

static void check_contract(rt_prec p) {
    char text[48], *rows = rt_alloc(ROWS * K * 8), *got = rt_alloc(ROWS * O * 8);
    product q = {p, filled(p.in, ROWS, K, 1), filled(p.weight, O, K, 2), filled(p.out, ROWS, O, 3)};
    run(&q, q.x.data, ROWS, q.y.data);
    int bad = 0;
    for (int64_t m = 1; m <= ROWS; m++) bad += differing(&q, m, (m * 37) % ROWS, 1, rows, got); /* every count, at many places */
    bad += differing(&q, ROWS, 5, 7, rows, got) + differing(&q, ROWS, 0, ROWS - 1, rows, got);   /* permuted, reversed */
    RT_CHECK(bad == 0, "%s: %d rows have other bits", rt_prec_text(p, text), bad);
    rt_free(rows), rt_free(got), rt_free(q.x.data), rt_free(q.w.data), rt_free(q.y.data);
}

static void rows_do_not_depend_on_their_company(void) {
    for (const rt_prec *p = op_all_precs; p->acc != RT_NONE; p++) check_contract(*p);
}

/* Outputs of a weight whose `outs` rows are all the same: how many differ from the first of their row. */
static int64_t unequal(rt_prec p, int64_t width, int64_t outs) {
    enum { TOKENS = 20 };
    rt_error err = {0};
    rt_graph *g = rt_graph_new("t");
    rt_tensor x = filled(p.in, TOKENS, width, 3), w = filled(p.weight, outs, width, 4);
    size_t row = rt_tensor_bytes(&w) / (size_t)outs;
    int64_t count = 0;
    for (int64_t e = 1; e < outs; e++) memcpy((char *)w.data + (size_t)e * row, w.data, row);
    rt_ref y = rt_linear(g, rt_graph_input(g, "x", &x), rt_graph_param(g, "w", &w, NULL), p, "product");
    rt_graph_output(g, y);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    for (int64_t i = 0; i < TOKENS * outs; i++) count += rt_get(rt_graph_value(g, y), i) != rt_get(rt_graph_value(g, y), i / outs * outs);
    rt_graph_free(g);
    rt_free(x.data), rt_free(w.data);
    return count;
}
static void equal_weights_give_equal_columns(void) {
    static const int64_t widths[] = {32, 100, 256, 896};
    char text[48];
    for (const rt_prec *p = op_all_precs; p->acc != RT_NONE; p++)
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
            for (int64_t outs = 2; outs <= 136; outs += outs < 40 ? 1 : 7) {
                int64_t bad = unequal(*p, widths[i], outs);
                RT_CHECK(bad == 0, "%s, width %lld, %lld outputs: %lld differ", rt_prec_text(*p, text), (long long)widths[i], (long long)outs, (long long)bad);
            }
}

RT_SUITE(row_invariance) {
    RT_TEST(rows_do_not_depend_on_their_company);
    RT_TEST(equal_weights_give_equal_columns);
}
