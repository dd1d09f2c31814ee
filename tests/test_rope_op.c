/* Rope as an operation: what the case table cannot say. */
#include "harness.h"
#include "weighted_sum.h"
#include <retort/base/mem.h>
#include <retort/ops/ops.h>
#include <math.h>
#include <string.h>

enum { ROWS = 5, HEADS = 2, DIM = 8, COLUMNS = 3 * DIM, POSITIONS = 40 };
static float x[ROWS * COLUMNS], dx[ROWS * COLUMNS], w[ROWS * COLUMNS], cosine[POSITIONS * DIM / 2], sine[POSITIONS * DIM / 2];
static int32_t position[ROWS];
static const double gain = 1;

static void fill(void) {
    for (int i = 0; i < ROWS * COLUMNS; i++) x[i] = sinf((float)i), w[i] = cosf((float)i), dx[i] = 0;
    for (int p = 0; p < POSITIONS; p++)
        for (int i = 0; i < DIM / 2; i++) {
            double angle = p * pow(10000, -2.0 * i / DIM);
            cosine[p * DIM / 2 + i] = (float)cos(angle), sine[p * DIM / 2 + i] = (float)sin(angle);
        }
    for (int r = 0; r < ROWS; r++) position[r] = r;
}
static rt_graph *plan(int64_t heads, int64_t dim, rt_ref *y, rt_error *err, rt_status *status) {
    rt_tensor tx = rt_tensor_2d(RT_F32, x, ROWS, COLUMNS), td = rt_tensor_2d(RT_F32, dx, ROWS, COLUMNS), tw = rt_tensor_2d(RT_F32, w, ROWS, COLUMNS);
    rt_tensor tp = rt_tensor_1d(RT_I32, position, ROWS), tc = rt_tensor_2d(RT_F32, cosine, POSITIONS, DIM / 2), ts = rt_tensor_2d(RT_F32, sine, POSITIONS, DIM / 2);
    rt_graph *g = rt_graph_new("t");
    *y = rt_rope(g, rt_graph_param(g, "x", &tx, &td), rt_graph_input(g, "position", &tp), rt_graph_input(g, "cos", &tc), rt_graph_input(g, "sin", &ts), heads,
                 dim, rt_prec_uniform(RT_F32), "rope");
    rt_graph_output(g, *y);
    rt_graph_loss(g, rt_weighted_sum(g, *y, rt_graph_input(g, "w", &tw)), &gain);
    *status = rt_graph_plan(g, true, err);
    return g;
}

/* q at p . k at p' depends on p - p' alone (RoFormer, eq. 16): moving all positions by 17 keeps the product. */
static double product(rt_graph *g, rt_ref y, int32_t shift, rt_error *err) {
    for (int r = 0; r < ROWS; r++) position[r] = 3 * r + shift;
    RT_CHECK(rt_graph_forward(g, err) == RT_OK, "%s", err->text);
    const float *q = (const float *)rt_graph_value(g, y)->data + COLUMNS, *k = q + 2 * COLUMNS + DIM;
    double s = 0;
    for (int i = 0; i < DIM; i++) s += (double)q[i] * (double)k[i];
    return s;
}
static void products_depend_on_the_distance(void) {
    rt_ref y;
    rt_error err = {0};
    rt_status s;
    fill();
    rt_graph *g = plan(HEADS, DIM, &y, &err, &s);
    RT_OK_OR_FAIL(s);
    double a = product(g, y, 0, &err), b = product(g, y, 17, &err);
    RT_CHECK(fabs(a - b) < 1e-6, "%.9g and %.9g", a, b);
    rt_graph_free(g);
}

static void position_0_copies_and_backward_adds(void) {
    rt_ref y;
    rt_error err = {0};
    rt_status s;
    fill();
    memset(position, 0, sizeof position);
    rt_graph *g = plan(HEADS, DIM, &y, &err, &s);
    RT_OK_OR_FAIL(s);
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    CU_ASSERT(memcmp(rt_graph_value(g, y)->data, x, sizeof x) == 0);
    for (int i = 0; i < 2; i++) RT_OK_OR_FAIL(rt_graph_backward(g, &err));
    for (int i = 0; i < ROWS * COLUMNS; i++) RT_CHECK(dx[i] == 2 * w[i], "gradient %d is %g, twice %g expected", i, (double)dx[i], (double)w[i]);
    rt_graph_free(g);
}

static void positions_beyond_the_tables_are_refused(void) {
    rt_ref y;
    rt_error err = {0};
    rt_status s;
    fill();
    rt_graph *g = plan(HEADS, DIM, &y, &err, &s);
    RT_OK_OR_FAIL(s);
    for (int i = 0; i < 2; i++) {
        position[3] = i ? POSITIONS : -1;
        rt_error_clear(&err);
        s = rt_graph_forward(g, &err);
        RT_CHECK(s == RT_E_ARG && strstr(err.text, i ? "t.rope (rope): position 40 of row 3" : "t.rope (rope): position -1 of row 3"), "%s", err.text);
    }
    position[3] = POSITIONS - 1;
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    rt_graph_free(g);
}

static void bad_heads_are_refused(void) {
    static const int64_t bad[][2] = {{4, 8}, {0, 8}, {-1, 8}, {1, 7}, {1, 0}, {1, -2}, {INT64_MAX, 8}, {1, INT64_MAX - 1}, {1, 10}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rt_ref y;
        rt_error err = {0};
        rt_status s;
        rt_graph_free(plan(bad[i][0], bad[i][1], &y, &err, &s));
        RT_CHECK(s == RT_E_SHAPE, "%lld heads of %lld: %s", (long long)bad[i][0], (long long)bad[i][1], err.text);
    }
}

RT_SUITE(rope_op) {
    RT_TEST(products_depend_on_the_distance);
    RT_TEST(position_0_copies_and_backward_adds);
    RT_TEST(positions_beyond_the_tables_are_refused);
    RT_TEST(bad_heads_are_refused);
}
