/* test_flow.c - steps that flow into each other have the bits of steps one after the other, whichever thread is late: operations of the tests
 * alone, which read rows of neighbours and take their time, and whole models. */
#include "harness.h"
#include "small_model.h"
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <retort/graph/op.h>
#include <retort/infer/forward.h>
#include <retort/model/model.h>
#include <retort/text/batch.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 400, D = 8, LAYERS = 12, WINDOW = 80 };

static atomic_int failing_row = -1; /* the operations below fail there */
static void dawdle(int64_t seed) {
    uint64_t x = rt_rng_u64(rt_rng_make(7, "late", 0), (uint64_t)seed);
    if (x % 4 == 0) usleep((useconds_t)(x / 4 % 900));
}
static rt_status same_shape(rt_graph *g, rt_node *n) {
    const rt_tensor *x = rt_infer_in(g, n, 0);
    return rt_infer_out(g, n, 0, RT_F32, 2, (int64_t[]){x->dim[0], x->dim[1]});
}
static float at(const rt_tensor *t, int64_t row, int64_t column) { return ((const float *)t->data)[row * D + column]; }

/* y[r] = x[r] + panel r/7, by rows; the panel is made before the rows, a column a task. */
static rt_status shift_infer(rt_graph *g, rt_node *n) {
    n->scratch = D * sizeof(float);
    n->prepare_tasks = D;
    return same_shape(g, n);
}
static void shift_panel(const rt_call *c, int64_t task, int worker) {
    (void)worker;
    dawdle(-task - 1000 * c->node->out[0].id);
    ((float *)c->scratch)[task] = (float)(task + 1) / D;
}
static void shift_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    (void)worker;
    dawdle(r0 + 1000 * c->node->out[0].id);
    if (r1 == ROWS && c->node->out[0].id % 3 == 0) usleep(3000); /* time for others to go far ahead */
    for (int64_t r = r0; r < r1; r++) {
        if (r == failing_row) rt_call_fail(c, RT_E_INPUT, "row %lld is bad", (long long)r);
        for (int64_t j = 0; j < D; j++) ((float *)c->out[0].data)[r * D + j] = at(&c->in[0], r, j) + ((const float *)c->scratch)[j] * (float)r / 7;
    }
}
static const rt_op shift = {.name = "shift", .n_in = 1, .n_out = 1, .row_in = RT_IN(0), .infer = shift_infer, .prepare = shift_panel, .forward_rows = shift_rows};

/* y[r] = half the sum of the first and the last row of r's window, and of row r: by windows, in two tasks each. */
static int64_t mix_tasks(const rt_call *c) { return 2 * (c->in[0].dim[0] / WINDOW); }
static rt_task_rows mix_rows(const rt_call *c, int64_t task) {
    (void)c;
    int64_t first = task / 2 * WINDOW, half = first + task % 2 * (WINDOW / 2);
    return (rt_task_rows){{first, first + WINDOW}, {half, half + WINDOW / 2}};
}
static void mix_task(const rt_call *c, int64_t task, int worker) {
    (void)worker;
    rt_task_rows rows = mix_rows(c, task);
    dawdle(task + 1000 * c->node->out[0].id);
    for (int64_t r = rows.writes.from; r < rows.writes.to; r++)
        for (int64_t j = 0; j < D; j++)
            ((float *)c->out[0].data)[r * D + j] = (at(&c->in[0], rows.reads.from, j) + at(&c->in[0], r, j) + at(&c->in[0], rows.reads.to - 1, j)) / 2;
}
static const rt_op mix = {.name = "mix", .n_in = 1, .n_out = 1, .row_in = RT_IN(0), .infer = same_shape, .tasks = mix_tasks, .task_rows = mix_rows, .forward_task = mix_task};

/* y = x + the first row of all of w: whole w is read, so that nothing flows past its maker. */
static void lift_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    (void)worker;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t j = 0; j < D; j++) ((float *)c->out[0].data)[r * D + j] = at(&c->in[0], r, j) + at(&c->in[1], ROWS - 1, j);
}
static const rt_op lift = {.name = "lift", .n_in = 2, .n_out = 1, .row_in = RT_IN(0), .infer = same_shape, .forward_rows = lift_rows};

static rt_ref add(rt_graph *g, const rt_op *op, const char *role, rt_ref x, rt_ref w) {
    rt_prec p = rt_prec_uniform(RT_F32);
    return rt_graph_add(g, op, role, p, NULL, 0, (rt_ref[]){x, w}, op->n_in, NULL);
}
/* Rows and windows in turn, now and then a whole. */
static rt_graph *tower(float *x, bool flows, rt_ref *y) {
    rt_tensor in = rt_tensor_2d(RT_F32, x, ROWS, D);
    rt_graph *g = rt_graph_new("tower");
    if (!flows) rt_graph_no_chains(g);
    *y = rt_graph_input(g, "x", &in);
    for (int i = 0; i < LAYERS; i++) {
        rt_ref s = add(g, &shift, "shift", *y, RT_NULL), m = add(g, &mix, "mix", s, RT_NULL);
        *y = i % 5 == 4 ? add(g, &lift, "lift", s, m) : add(g, &shift, "again", m, RT_NULL);
    }
    rt_graph_output(g, *y);
    return g;
}
static void fill(float *x) {
    for (int64_t i = 0; i < ROWS * D; i++) x[i] = (float)(i % 97) / 8;
}

static bool run(float *x, bool flows, float *y) {
    rt_error err = {0};
    rt_ref out;
    rt_graph *g = tower(x, flows, &out);
    rt_status s = rt_graph_plan(g, false, &err);
    if (s == RT_OK) s = rt_graph_forward(g, &err);
    if (s == RT_OK) s = rt_graph_forward(g, &err); /* again: nothing is left of the first run */
    if (s == RT_OK) memcpy(y, rt_graph_value(g, out)->data, ROWS * D * sizeof *y);
    else RT_FAILF("%s", err.text);
    rt_graph_free(g);
    return s == RT_OK;
}
static void nobody_reads_too_early(void) {
    static float x[ROWS * D], want[ROWS * D], got[ROWS * D];
    static const int threads[] = {1, 2, 3, 7};
    int before = rt_threads();
    fill(x);
    if (!run(x, false, want)) return;
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        rt_threads_set(threads[i]);
        memset(got, 0, sizeof got);
        RT_CHECK(run(x, true, got) && memcmp(want, got, sizeof got) == 0, "other numbers on %d threads", threads[i]);
    }
    rt_threads_set(before);
}

static void a_failure_ends_the_run_and_the_next_is_whole(void) {
    static float x[ROWS * D], want[ROWS * D];
    rt_error err = {0};
    rt_ref y;
    int before = rt_threads();
    fill(x);
    rt_threads_set(3);
    rt_graph *g = tower(x, true, &y);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    memcpy(want, rt_graph_value(g, y)->data, sizeof want);
    for (int row = 0; row < ROWS; row += 133) {
        failing_row = row;
        CU_ASSERT_EQUAL(rt_graph_forward(g, &err), RT_E_INPUT);
        char text[80];
        snprintf(text, sizeof text, "tower.shift (shift): row %d is bad", row);
        RT_CHECK(strcmp(err.text, text) == 0, "%s", err.text);
        rt_error_clear(&err);
        failing_row = -1;
        RT_OK_OR_FAIL(rt_graph_forward(g, &err));
        CU_ASSERT_TRUE(memcmp(want, rt_graph_value(g, y)->data, sizeof want) == 0);
    }
    rt_graph_free(g);
    rt_threads_set(before);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) n++;
    return n;
}
/* What reads the whole of the step before waits for it, and so does what follows an operation without tasks. */
static void only_readers_of_rows_flow(void) {
    static float x[ROWS * D];
    rt_error err = {0};
    rt_ref y;
    rt_graph *g = tower(x, true, &y);
    rt_buf text = {0};
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    rt_graph_describe(g, true, &text);
    int lifts = LAYERS / 5, steps = count(text.data, "\nstep ");
    CU_ASSERT_EQUAL(lifts, 2);
    RT_CHECK(count(text.data, "flows on") == steps - 1 - lifts, "%d of %d steps flow", count(text.data, "flows on"), steps);
    rt_buf_free(&text);
    rt_graph_free(g);
}

/* ------------------------------------------------------------------ models */

/* Documents of many lengths, so that attention's tasks are of all sizes and not in the order of the rows. */
static void cut_documents(rt_batch *b) {
    static const int lengths[] = {1, 37, 150, 2, 64, 33, 16, 90};
    int64_t r = 0;
    for (int i = 0; r < b->rows; i++) {
        int64_t first = r, end = r + lengths[i % 8], edge = (first / b->T + 1) * b->T;
        for (; r < b->rows && r < end && r < edge; r++) b->position[r] = (int32_t)(r - first), b->start[r] = (int32_t)first;
    }
}
static rt_status hidden_of(const rt_weights *w, const rt_precision *p, bool flows, uint64_t *hash, rt_error *err) {
    rt_batch b = {0};
    rt_model model = {0};
    RT_TRY(rt_batch_create(&b, 3, 160, err));
    for (int64_t i = 0; i < b.rows; i++) b.ids[i] = (int32_t)(i * 31 % SMALL_V), b.valid[i] = 1;
    cut_documents(&b);
    rt_graph *g = rt_graph_new("t");
    rt_model_inputs in = rt_batch_inputs(g, b.rows);
    if (!flows) rt_graph_no_chains(g);
    rt_status s = rt_model_build(g, w, NULL, false, p, &(rt_model_options){.length = b.T}, in, &model, err);
    rt_graph_output(g, model.hidden);
    if (s == RT_OK) s = rt_graph_plan(g, false, err);
    if (s == RT_OK) rt_batch_bind(g, in, &b), s = rt_graph_forward(g, err);
    if (s == RT_OK) *hash = rt_tensor_hash(rt_graph_value(g, model.hidden));
    rt_graph_free(g);
    rt_model_free(&model);
    rt_batch_free(&b);
    return s;
}
static void models_flow(void) {
    static const char *const archs[] = {"llama", "qwen3", "mixtral"};
    static const rt_dtype types[] = {RT_F32, RT_F16};
    int before = rt_threads();
    for (int a = 0; a < 3; a++)
        for (int t = 0; t < 2; t++) {
            rt_error err = {0};
            rt_weights w;
            rt_precision p = rt_precision_teacher(types[t], true);
            rt_model_config c = small_config(a == 2 ? 4 : 0);
            uint64_t want = 0, got = 0;
            c.arch = rt_arch_find(archs[a]), c.layers = 3;
            small_model(&w, &c, &p, 0.05);
            RT_OK_OR_FAIL(hidden_of(&w, &p, false, &want, &err));
            for (int threads = 1; threads < 6; threads++) {
                rt_threads_set(threads);
                RT_OK_OR_FAIL(hidden_of(&w, &p, true, &got, &err));
                RT_CHECK(want == got, "%s in %s: other bits on %d threads", archs[a], rt_dtype_name(types[t]), threads);
            }
            rt_threads_set(before);
            rt_weights_free(&w);
        }
}

RT_SUITE(flow) {
    RT_TEST(nobody_reads_too_early);
    RT_TEST(a_failure_ends_the_run_and_the_next_is_whole);
    RT_TEST(only_readers_of_rows_flow);
    RT_TEST(models_flow);
}
