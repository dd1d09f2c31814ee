/* test_projector.c - the logit projector on tiny random models: the closed-form start against its normal equations, who
 * is trained by what, which dtype stands where, and the same bits in every use, on any number of threads, and after a
 * resume. */
#include "harness.h"
#include "kernels/gemm.h"
#include <retort/base/file.h>
#include <retort/base/threads.h>
#include <retort/losses/losses.h>
#include <retort/ops/head.h>
#include <retort/infer/frozen.h>
#include <retort/train/projector.h>
#include "kernels/lapack.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { V = 90, V_TEACHER = 96, V_STUDENT = 92, D_T = 48, D_S = 20, T = 16, WINDOWS = 2, TOKENS = 600 };

/* ---------------------------------------------------------------------- rig */

static rt_model_config config_of(int64_t vocab, int64_t D, bool tie) {
    rt_model_config c = rt_model_config_default(rt_arch_find("llama"));
    c.vocab_size = vocab, c.hidden_size = D, c.layers = 1, c.heads = c.kv_heads = 2, c.head_dim = D / 2,
    c.ffn_size = 24;
    c.max_position = 64, c.tie_embeddings = tie;
    return c;
}

/* A random model of `t`; its embedding is wide enough for hidden states to tell tokens apart. */
static void make_weights(rt_weights *w, int64_t vocab, int64_t D, bool tie, rt_dtype t) {
    rt_error err = {0};
    rt_precision p = rt_precision_student(t);
    rt_model_config c = config_of(vocab, D, tie);
    RT_OK_OR_FAIL(rt_weights_layout(w, &c, &p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(w, &err));
    rt_weights_init(w, 3);
    rt_fill_normal(&w->slots[0].t, 0.5, 1);
    if (!tie) rt_fill_normal(&w->slots[w->count - 1].t, 0.3, 2);
}

/* The teacher's files are always f16. */
static void write_teacher(const char *dir) {
    rt_error err = {0};
    rt_weights w;
    rt_tensor tensors[32];
    make_weights(&w, V_TEACHER, D_T, false, RT_F16);
    for (int64_t i = 0; i < rt_weight_count(&w.config); i++) tensors[i] = rt_weights_get(&w, i, NULL);
    RT_OK_OR_FAIL(rt_hf_write(dir, &w.config, tensors, NULL, &err));
    rt_weights_free(&w);
}

typedef struct rig {
    rt_frozen teacher;
    rt_forward forward;
    rt_weights student;
    rt_token_stream *stream;
    rt_projector *p;
} rig;

/* Text whose next token follows from the last: 7 i + 3 modulo V, with documents of 100 tokens. */
static rt_token_stream *make_stream(void) {
    rt_error err = {0};
    rt_token_stream *s;
    int32_t ids[100];
    uint32_t bytes[100];
    RT_OK_OR_FAIL(rt_token_stream_new(&s, &(rt_vocab){.size = V, .bos = -1, .eos = -1}, &err));
    for (int d = 0; d < TOKENS / 100; d++) {
        for (int i = 0; i < 100; i++) ids[i] = i ? (7 * ids[i - 1] + 3) % V : 11 * d, bytes[i] = 1;
        RT_OK_OR_FAIL(rt_token_stream_add(s, ids, bytes, 100, &err));
    }
    return s;
}

static const rt_optim_config adamw = {.name = "adamw", .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};

static rt_projector_options options_of(const rig *r, int kind) {
    return (rt_projector_options){.kind = kind,
                                  .teacher = &r->teacher.weights,
                                  .teacher_precision = &r->teacher.precision,
                                  .student = kind == RT_PROJECTOR_FACTORED ? &r->student : NULL,
                                  .vocab = V,
                                  .optimizer = &adamw};
}

static void rig_open(rig *r, rt_activations activations, rt_dtype student, int kind) {
    rt_error err = {0};
    const char *dir = rt_test_dir();
    *r = (rig){0};
    write_teacher(dir);
    RT_OK_OR_FAIL(rt_frozen_open(&r->teacher, dir, activations, &err));
    rt_forward_options f = {.name = "teacher", .windows = WINDOWS, .T = T};
    RT_OK_OR_FAIL(rt_forward_open(&r->forward, &r->teacher.weights, &r->teacher.precision, &f, &err));
    make_weights(&r->student, V_STUDENT, D_S, true, student);
    r->stream = make_stream();
    rt_projector_options o = options_of(r, kind);
    RT_OK_OR_FAIL(rt_projector_open(&r->p, &o, &err));
}
static void rig_close(rig *r) {
    rt_projector_close(r->p);
    rt_token_stream_free(r->stream);
    rt_weights_free(&r->student);
    rt_forward_close(&r->forward);
    rt_frozen_close(&r->teacher);
}

static rt_status prefit(const rig *r, rt_projector *p, int64_t steps, bool (*each)(void *, int64_t, double),
                        void *context, rt_error *err) {
    rt_projector_prefit o = {.steps = steps,
                             .lr = 3e-2,
                             .batch = WINDOWS,
                             .accumulate = 2,
                             .T = T,
                             .seed = 5,
                             .each = each,
                             .context = context};
    return rt_projector_run_prefit(p, (rt_forward *)&r->forward, rt_token_stream_all(r->stream), &o, err);
}
static uint64_t hash(const rt_projector *p) {
    return rt_tensor_hash(rt_projector_weight(p)) * 3 ^ rt_tensor_hash(rt_projector_bias(p));
}
/* The teacher's pass over the first windows; the batch is filled for whoever needs targets. */
static void run_teacher(rig *r, rt_batch *b) {
    rt_error err = {0};
    rt_windows w;
    RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(r->stream), T, false, &err));
    RT_OK_OR_FAIL(rt_batch_create(b, WINDOWS, T, &err));
    rt_batch_fill_from(b, &w, 0);
    RT_OK_OR_FAIL(rt_forward_run(&r->forward, b, &err));
}

/* ---------------------------------------------------------------- Cholesky */

static void symmetric_systems_are_solved(void) {
    enum { N = 37, K = 3 };
    static double A[N * N], L[N * N], x[K * N], b[K * N];
    rt_error err = {0};
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++) L[i * N + j] = i == j ? 2 + i % 3 : ((i * 7 + j * 5) % 11 - 5) / 8.0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            A[i * N + j] = 0;
            for (int k = 0; k < N; k++) A[i * N + j] += L[i * N + k] * L[j * N + k];
        }
    for (int k = 0; k < K; k++)
        for (int i = 0; i < N; i++) x[k * N + i] = (k * 5 + i * 3) % 7 - 3;
    for (int k = 0; k < K; k++)
        for (int i = 0; i < N; i++) {
            b[k * N + i] = 0;
            for (int j = 0; j < N; j++) b[k * N + i] += A[i * N + j] * x[k * N + j];
        }
    for (int i = 0; i < N; i++)
        for (int j = i + 1; j < N; j++) A[i * N + j] = NAN; /* the upper triangle is not read */
    RT_OK_OR_FAIL(rt_solve_spd_f64(A, N, b, K, &err));
    for (int i = 0; i < K * N; i++) CU_ASSERT_DOUBLE_EQUAL(b[i], x[i], 1e-9);
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++) CU_ASSERT_DOUBLE_EQUAL(A[i * N + j], L[i * N + j], 1e-10);
}

static void systems_that_are_not_definite_are_refused(void) {
    double indefinite[] = {4, 0, 0, 2, 0, 0, 1, 3, -1}, zero[] = {1, 0, 1, 0}, nan[] = {NAN}, b[3] = {1, 1, 1};
    rt_error err = {0};
    CU_ASSERT_EQUAL(rt_solve_spd_f64(indefinite, 3, b, 1, &err), RT_E_NUMERIC);
    RT_CHECK(strstr(err.text, "not positive definite") && strstr(err.text, "block of 2 rows"), "%s", err.text);
    double singular[] = {1, 0, 1, 1};
    CU_ASSERT_EQUAL(rt_solve_spd_f64(singular, 2, b, 1, NULL), RT_E_NUMERIC);
    CU_ASSERT_EQUAL(rt_solve_spd_f64(zero, 2, b, 1, NULL), RT_E_NUMERIC);
    CU_ASSERT_EQUAL(rt_solve_spd_f64(nan, 1, b, 1, NULL), RT_E_NUMERIC);
    CU_ASSERT_EQUAL(rt_solve_spd_f64(b, 0, b, 1, NULL), RT_E_ARG);
}

/* --------------------------------------------------------------- tokenizers */

static void unequal_tokenizers_are_refused(void) {
    rt_error err = {0};
    rt_tokenizer_id a = {"aaaa1111", 32000}, b = {"bbbb2222", 50257}, unknown = {NULL, 32000},
                    longer = {"aaaa1111", 32001};
    static const int kinds[] = {RT_PROJECTOR_SHARED, RT_PROJECTOR_FACTORED};
    for (int k = 0; k < 2; k++) {
        RT_OK_OR_FAIL(rt_projector_check(kinds[k], a, a, &err));
        rt_error refusal = {0};
        CU_ASSERT_EQUAL(rt_projector_check(kinds[k], a, b, &refusal), RT_E_CONFIG);
        RT_CHECK(strstr(refusal.text, "32000 ids, sha256 aaaa1111") &&
                     strstr(refusal.text, "50257 ids, sha256 bbbb2222"),
                 "%s", refusal.text);
        CU_ASSERT_EQUAL(rt_projector_check(kinds[k], a, longer, NULL), RT_E_CONFIG);
        CU_ASSERT_EQUAL(rt_projector_check(kinds[k], unknown, a, NULL), RT_E_CONFIG);
        CU_ASSERT_EQUAL(rt_projector_check(kinds[k], unknown, unknown, NULL), RT_E_CONFIG);
    }
    CU_ASSERT_EQUAL(rt_projector_check(RT_PROJECTOR_NONE, a, b, NULL), RT_OK);
}

/* ------------------------------------------------------------- closed form */

/* Largest element of E_s^T (E_s W - E_t) + lambda W, beside the largest of E_s^T E_t: 0 at the minimum. */
static double residual(const rig *r, double lambda) {
    const rt_tensor *W = rt_projector_weight(r->p), *Es = &r->student.slots[0].t,
                    *Et = &r->teacher.weights.slots[r->teacher.weights.count - 1].t;
    double worst = 0, scale = 0;
    for (int j = 0; j < D_T; j++) {
        double error[V];
        for (int v = 0; v < V; v++) {
            error[v] = -rt_get(Et, v * D_T + j);
            for (int i = 0; i < D_S; i++) error[v] += rt_get(Es, v * D_S + i) * rt_get(W, i * D_T + j);
        }
        for (int i = 0; i < D_S; i++) {
            double g = lambda * rt_get(W, i * D_T + j), cross = 0;
            for (int v = 0; v < V; v++)
                g += rt_get(Es, v * D_S + i) * error[v], cross += rt_get(Es, v * D_S + i) * rt_get(Et, v * D_T + j);
            worst = fmax(worst, fabs(g)), scale = fmax(scale, fabs(cross));
        }
    }
    return worst / scale;
}

static void the_start_solves_the_normal_equations(void) {
    rt_error err = {0};
    rig wide, half;
    rig_open(&wide, RT_ACTIVATIONS_F32, RT_F32, RT_PROJECTOR_FACTORED);
    rig_open(&half, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    static const double lambdas[] = {0, 1e-3, 10};
    for (int i = 0; i < 3; i++) {
        RT_OK_OR_FAIL(rt_projector_fit(wide.p, lambdas[i], &err));
        RT_OK_OR_FAIL(rt_projector_fit(half.p, lambdas[i], &err));
        double found = residual(&wide, lambdas[i]);
        RT_CHECK(found < 1e-6, "lambda %g: residual %g", lambdas[i], found);
        const rt_tensor *f32 = rt_projector_weight(wide.p), *f16 = rt_projector_weight(half.p);
        CU_ASSERT_EQUAL(f32->dtype, RT_F32);
        CU_ASSERT_EQUAL(f16->dtype, RT_F16);
        for (int64_t k = 0; k < D_S * D_T; k++)
            if (((rt_f16 *)f16->data)[k].bits != rt_f32_to_f16(((float *)f32->data)[k]).bits)
                CU_FAIL_FATAL("f16 is not the rounded f32");
    }
    for (int64_t i = 0; i < D_S; i++) CU_ASSERT_EQUAL(rt_get(rt_projector_bias(half.p), i), 0);
    rig_close(&wide), rig_close(&half);
}

static void a_start_that_does_not_exist_is_refused(void) {
    rt_error err = {0};
    rig r;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    memset(r.student.slots[0].t.data, 0, rt_tensor_bytes(&r.student.slots[0].t));
    CU_ASSERT_EQUAL(rt_projector_fit(r.p, 0, &err), RT_E_NUMERIC);
    RT_CHECK(strstr(err.text, "lambda 0") && strstr(err.text, "positive definite"), "%s", err.text);
    rt_tensor *E = &r.student.slots[0].t;
    for (int64_t i = 0; i < V * D_S; i++) rt_put(E, i, i % D_S == i / D_S % D_S ? 1e-7 : 0);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_projector_fit(r.p, 0, &err), RT_E_NUMERIC);
    RT_CHECK(strstr(err.text, "beyond f16"), "%s", err.text);
    CU_ASSERT_EQUAL(rt_projector_fit(r.p, -1, NULL), RT_E_ARG);
    rig_close(&r);
}

/* ------------------------------------------------------------------- kinds */

static void shared_is_the_teacher_itself(void) {
    rt_error err = {0};
    rig r;
    rt_windows w;
    double kl = -1;
    rt_projection *x;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_SHARED);
    RT_OK_OR_FAIL(rt_projection_open(&x, r.p, rt_forward_hidden(&r.forward), RT_PROJECTION_TRAIN, 0, &err));
    CU_ASSERT_PTR_EQUAL(rt_projection_hidden(x)->data, rt_forward_hidden(&r.forward)->data);
    CU_ASSERT_PTR_EQUAL(rt_projector_matrix(r.p)->data, r.teacher.weights.slots[r.teacher.weights.count - 1].t.data);
    CU_ASSERT_TRUE(rt_prec_equal(rt_projector_prec(r.p), (rt_prec){RT_F16, RT_F16, RT_F32, RT_F32, RT_F32}));
    CU_ASSERT_FALSE(rt_projector_trainable(r.p));
    RT_OK_OR_FAIL(rt_projection_run(x, NULL, 1, &err));
    RT_OK_OR_FAIL(rt_projector_fit(r.p, 1, &err));
    RT_OK_OR_FAIL(rt_projector_refresh(r.p, &err));
    RT_OK_OR_FAIL(prefit(&r, r.p, 3, NULL, NULL, &err));
    RT_OK_OR_FAIL(rt_projector_step(r.p, 1, NULL, &err));
    RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(r.stream), T, false, &err));
    RT_OK_OR_FAIL(rt_projector_kl(r.p, &r.forward, &w, 0, 0, &kl, &err));
    CU_ASSERT_EQUAL(kl, 0);
    CU_ASSERT_EQUAL(rt_projector_save("unused", r.p, NULL), RT_E_ARG);
    rt_projection_close(x);
    rig_close(&r);
}

static void borrowed_matrices_keep_dtype_and_address(void) {
    rt_error err = {0};
    static const rt_dtype students[] = {RT_F32, RT_BF16, RT_F16};
    for (int i = 0; i < 3; i++) {
        rig r;
        rig_open(&r, RT_ACTIVATIONS_NATIVE, students[i], RT_PROJECTOR_FACTORED);
        rt_tensor *E = &r.student.slots[0].t, before = *E;
        uint64_t bytes = rt_tensor_hash(E);
        const rt_tensor *cast = rt_projector_matrix(r.p);
        const void *place = cast->data;
        RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
        RT_OK_OR_FAIL(prefit(&r, r.p, 2, NULL, NULL, &err));
        CU_ASSERT_TRUE(E->dtype == students[i] && E->data == before.data && rt_tensor_hash(E) == bytes);
        CU_ASSERT_EQUAL(cast->dtype, RT_F16);
        CU_ASSERT_EQUAL(cast->data == E->data, students[i] == RT_F16);
        rt_put(E, 5, 1.0 + 0x1p-7); /* exact in all three */
        CU_ASSERT_EQUAL(rt_get(cast, 5) == 1.0 + 0x1p-7, students[i] == RT_F16);
        RT_OK_OR_FAIL(rt_projector_refresh(r.p, &err));
        CU_ASSERT_EQUAL(rt_get(cast, 5), 1.0 + 0x1p-7);
        CU_ASSERT_PTR_EQUAL(rt_projector_matrix(r.p)->data, place);
        rig_close(&r);
    }
}

/* ------------------------------------------------------------------- dtypes */

static void another_dtype_than_the_teachers_cannot_be_built(void) {
    static const struct {
        rt_activations activations;
        rt_dtype projector;
        const char *found, *expected;
    } cases[] = {{RT_ACTIVATIONS_NATIVE, RT_F32, "is f16", "says f32"},
                 {RT_ACTIVATIONS_NATIVE, RT_BF16, "is f16", "says bf16"},
                 {RT_ACTIVATIONS_F32, RT_F16, "is f32", "says f16"}};
    static const rt_projection_use uses[] = {RT_PROJECTION_HIDDEN, RT_PROJECTION_TRAIN, RT_PROJECTION_COMPARE};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig r;
        rt_error err = {0};
        rt_projector *p;
        rig_open(&r, cases[i].activations, RT_F32, RT_PROJECTOR_FACTORED);
        rt_projector_options o = options_of(&r, RT_PROJECTOR_FACTORED);
        o.dtype = cases[i].projector;
        RT_OK_OR_FAIL(rt_projector_open(&p, &o, &err));
        for (int u = 0; u < 3; u++) {
            rt_projection *x;
            rt_error refusal = {0};
            CU_ASSERT_EQUAL(rt_projection_open(&x, p, rt_forward_hidden(&r.forward), uses[u], 0, &refusal), RT_E_DTYPE);
            RT_CHECK(strstr(refusal.text, "projector.linear") && strstr(refusal.text, cases[i].found) &&
                         strstr(refusal.text, cases[i].expected),
                     "%s", refusal.text);
            CU_ASSERT_PTR_NULL(x);
        }
        rt_projector_close(p);
        rig_close(&r);
    }
    rig r;
    rt_projector *p;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    rt_projector_options o = options_of(&r, RT_PROJECTOR_FACTORED);
    o.dtype = RT_F64;
    CU_ASSERT_EQUAL(rt_projector_open(&p, &o, NULL), RT_E_UNSUPPORTED);
    o.dtype = RT_NONE, o.vocab = V_STUDENT + 1;
    CU_ASSERT_EQUAL(rt_projector_open(&p, &o, NULL), RT_E_SHAPE);
    rig_close(&r);
}

/* ----------------------------------------------------------------- training */

typedef struct course {
    double first, last;
    int64_t stop;
} course;
static bool note(void *context, int64_t step, double ce) {
    course *c = context;
    if (step == 0) c->first = ce;
    c->last = ce;
    return step + 1 != c->stop;
}

static void prefit_lowers_cross_entropy_and_touches_nothing_else(void) {
    rt_error err = {0};
    rig r;
    course c = {0};
    rt_hf_hash before, after;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    uint64_t student = rt_tensor_hash(&r.student.slots[0].t);
    RT_OK_OR_FAIL(rt_hf_content_hash(r.teacher.files, &before, &err));
    RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
    RT_OK_OR_FAIL(prefit(&r, r.p, 60, note, &c, &err));
    RT_CHECK(c.last < 0.5 * c.first, "cross-entropy went from %g to %g", c.first, c.last);
    CU_ASSERT_EQUAL(rt_projector_steps(r.p), 60);
    RT_OK_OR_FAIL(rt_hf_content_hash(r.teacher.files, &after, &err));
    CU_ASSERT_STRING_EQUAL(before.hex, after.hex);
    CU_ASSERT_EQUAL(rt_tensor_hash(&r.student.slots[0].t), student);
    c.stop = 2;
    CU_ASSERT_EQUAL(prefit(&r, r.p, 60, note, &c, &err), RT_E_INTERRUPTED);
    CU_ASSERT_EQUAL(rt_projector_steps(r.p), 62);
    rig_close(&r);
}

/* The student's side of a distillation step: KL from {W h + b, E_s} to trained student states and a trained E_s. */
static void distil(const rig *r, const rt_tensor *projected, rt_batch *b, float *grad_hidden, float *grad_matrix) {
    rt_error err = {0};
    rt_graph *g = rt_graph_new("student");
    double gain = 0.25;
    rt_head_term term = {.loss = &rt_loss_forward_kl};
    static float states[WINDOWS * T * D_S];
    rt_tensor hidden = rt_tensor_2d(RT_F32, states, WINDOWS * T, D_S), d_hidden = hidden,
              d_matrix = r->student.slots[0].t;
    rt_tensor targets = rt_tensor_1d(RT_I32, b->targets, b->rows), gains = rt_tensor_1d(RT_F64, &gain, 1);
    rt_fill_normal(&hidden, 1, 9);
    d_hidden.data = grad_hidden, d_matrix.data = grad_matrix;
    rt_head_config c = {.terms = &term, .n_terms = 1, .vocab = V};
    c.student = (rt_head_side){rt_graph_param(g, "states", &hidden, &d_hidden),
                               rt_graph_param(g, "head", &r->student.slots[0].t, &d_matrix),
                               RT_NULL,
                               {RT_F32, RT_F32, RT_F32, RT_F32, RT_F32}};
    c.teacher =
        (rt_head_side){rt_graph_input(g, "projected", projected),
                       rt_graph_variable(g, "matrix", rt_projector_matrix(r->p)), RT_NULL, rt_projector_prec(r->p)};
    c.targets = rt_graph_input(g, "targets", &targets);
    c.gains = rt_graph_input(g, "gains", &gains);
    rt_graph_output(g, rt_head(g, &c, "head", NULL));
    RT_OK_OR_FAIL(rt_graph_plan(g, true, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    RT_OK_OR_FAIL(rt_graph_backward(g, &err));
    rt_graph_free(g);
}

static void distillation_does_not_train_it(void) {
    rt_error err = {0};
    rig r;
    rt_batch b;
    rt_projection *x;
    rt_optim_stats stats;
    static float d_hidden[WINDOWS * T * D_S], d_matrix[V_STUDENT * D_S];
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
    RT_OK_OR_FAIL(rt_projection_open(&x, r.p, rt_forward_hidden(&r.forward), RT_PROJECTION_HIDDEN, 0, &err));
    run_teacher(&r, &b);
    RT_OK_OR_FAIL(rt_projection_run(x, b.targets, 1, &err));
    uint64_t before = hash(r.p);
    distil(&r, rt_projection_hidden(x), &b, d_hidden, d_matrix);
    double pull = 0;
    for (int i = 0; i < V_STUDENT * D_S; i++) pull += fabs((double)d_matrix[i]);
    CU_ASSERT_TRUE(pull > 0 && d_hidden[0] != 0);
    for (int i = V * D_S; i < V_STUDENT * D_S; i++) CU_ASSERT_EQUAL(d_matrix[i], 0);
    RT_OK_OR_FAIL(rt_projector_step(r.p, 0.1, &stats, &err));
    CU_ASSERT_EQUAL(stats.grad_norm, 0);
    CU_ASSERT_EQUAL(hash(r.p), before);
    rt_batch_free(&b);
    rt_projection_close(x);
    rig_close(&r);
}

/* The norm of d(gain x sum of cross-entropies)/d(W, b), in f64 from the formulas: dz = gain (softmax(z) - onehot),
 * dW = (dz E_s)^T h, db = column sums of dz E_s. */
static double reference_norm(const rig *r, const rt_batch *b, double gain) {
    const rt_tensor *W = rt_projector_weight(r->p), *E = &r->student.slots[0].t, *H = rt_forward_hidden(&r->forward);
    static double dW[D_S][D_T], db[D_S];
    memset(dW, 0, sizeof dW), memset(db, 0, sizeof db);
    for (int64_t n = 0; n < b->rows; n++) {
        double y[D_S], z[V], dy[D_S] = {0}, sum = 0;
        if (b->targets[n] < 0) continue;
        for (int i = 0; i < D_S; i++) {
            y[i] = rt_get(rt_projector_bias(r->p), i);
            for (int j = 0; j < D_T; j++) y[i] += rt_get(W, i * D_T + j) * rt_get(H, n * D_T + j);
        }
        for (int v = 0; v < V; v++) {
            z[v] = 0;
            for (int i = 0; i < D_S; i++) z[v] += y[i] * rt_get(E, v * D_S + i);
            sum += exp(z[v]);
        }
        for (int v = 0; v < V; v++)
            for (int i = 0; i < D_S; i++)
                dy[i] += gain * (exp(z[v]) / sum - (v == b->targets[n])) * rt_get(E, v * D_S + i);
        for (int i = 0; i < D_S; i++) {
            db[i] += dy[i];
            for (int j = 0; j < D_T; j++) dW[i][j] += dy[i] * rt_get(H, n * D_T + j);
        }
    }
    double squares = 0;
    for (int i = 0; i < D_S; i++) {
        squares += db[i] * db[i];
        for (int j = 0; j < D_T; j++) squares += dW[i][j] * dW[i][j];
    }
    return sqrt(squares);
}

static void gradients_are_those_of_cross_entropy_and_add_up(void) {
    rt_error err = {0};
    rig r;
    rt_batch b;
    rt_projection *x;
    rt_optim_stats once, twice;
    rig_open(&r, RT_ACTIVATIONS_F32, RT_F32, RT_PROJECTOR_FACTORED);
    RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
    RT_OK_OR_FAIL(rt_projection_open(&x, r.p, rt_forward_hidden(&r.forward), RT_PROJECTION_TRAIN, 0, &err));
    run_teacher(&r, &b);
    RT_OK_OR_FAIL(rt_projection_run(x, b.targets, 0.5, &err));
    RT_OK_OR_FAIL(rt_projector_step(r.p, 0, &once, &err));
    RT_OK_OR_FAIL(rt_projection_run(x, b.targets, 0.5, &err));
    RT_OK_OR_FAIL(rt_projection_run(x, b.targets, 0.5, &err));
    RT_OK_OR_FAIL(rt_projector_step(r.p, 0, &twice, &err));
    double expected = reference_norm(&r, &b, 0.5);
    RT_CHECK(fabs(once.grad_norm / expected - 1) < 1e-5, "gradient's norm is %g, expected %g", once.grad_norm,
             expected);
    /* oneDNN adds a finished product, which is exact here; our own products go on summing from what is there */
    double apart = fabs(twice.grad_norm / (2 * once.grad_norm) - 1);
    CU_ASSERT_TRUE(strcmp(rt_gemm_f32_library(), "retort") == 0 ? apart < 1e-6 : apart == 0);
    rt_batch_free(&b);
    rt_projection_close(x);
    rig_close(&r);
}

/* --------------------------------------------------------------------- bits */

static void every_use_gives_the_same_bits(void) {
    rt_error err = {0};
    static const rt_projection_use uses[] = {RT_PROJECTION_HIDDEN, RT_PROJECTION_TRAIN, RT_PROJECTION_COMPARE};
    static const rt_activations kinds[] = {RT_ACTIVATIONS_NATIVE, RT_ACTIVATIONS_F32};
    for (int k = 0; k < 2; k++) {
        rig r;
        rt_batch b;
        uint64_t bits[3];
        rig_open(&r, kinds[k], RT_F32, RT_PROJECTOR_FACTORED);
        RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
        RT_OK_OR_FAIL(prefit(&r, r.p, 2, NULL, NULL, &err));
        run_teacher(&r, &b);
        for (int u = 0; u < 3; u++) {
            rt_projection *x;
            RT_OK_OR_FAIL(rt_projection_open(&x, r.p, rt_forward_hidden(&r.forward), uses[u], 0, &err));
            RT_OK_OR_FAIL(rt_projection_run(x, b.targets, 1, &err));
            CU_ASSERT_EQUAL(rt_projection_hidden(x)->dtype, rt_forward_hidden(&r.forward)->dtype);
            bits[u] = rt_tensor_hash(rt_projection_hidden(x));
            rt_projection_close(x);
        }
        CU_ASSERT_TRUE(bits[0] == bits[1] && bits[0] == bits[2]);
        /* and half the rows give half of them */
        rt_tensor first = *rt_forward_hidden(&r.forward), part;
        rt_projection *whole, *half;
        first.dim[0] = T;
        RT_OK_OR_FAIL(rt_projection_open(&whole, r.p, rt_forward_hidden(&r.forward), RT_PROJECTION_HIDDEN, 0, &err));
        RT_OK_OR_FAIL(rt_projection_open(&half, r.p, &first, RT_PROJECTION_HIDDEN, 0, &err));
        RT_OK_OR_FAIL(rt_projection_run(whole, NULL, 0, &err));
        RT_OK_OR_FAIL(rt_projection_run(half, NULL, 0, &err));
        part = *rt_projection_hidden(half);
        CU_ASSERT_EQUAL(memcmp(part.data, rt_projection_hidden(whole)->data, rt_tensor_bytes(&part)), 0);
        rt_projection_close(whole), rt_projection_close(half);
        rt_batch_free(&b);
        rig_close(&r);
    }
}

static void bits_do_not_depend_on_threads(void) {
    rt_error err = {0};
    uint64_t bits[3];
    double kl[3];
    int before = rt_threads();
    for (int n = 1; n <= 3; n++) {
        rig r;
        rt_windows w;
        rt_threads_set(n);
        rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
        RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
        RT_OK_OR_FAIL(prefit(&r, r.p, 4, NULL, NULL, &err));
        RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(r.stream), T, false, &err));
        RT_OK_OR_FAIL(rt_projector_kl(r.p, &r.forward, &w, 5, 0, &kl[n - 1], &err));
        bits[n - 1] = hash(r.p);
        CU_ASSERT_EQUAL(rt_threads(), n);
        rig_close(&r);
    }
    rt_threads_set(before);
    CU_ASSERT_TRUE(bits[0] == bits[1] && bits[0] == bits[2] && kl[0] == kl[1] && kl[0] == kl[2]);
    CU_ASSERT_TRUE(kl[0] > 0);
}

/* -------------------------------------------------------------------- state */

static const char *in(const char *dir, const char *name) {
    static char path[2][1024];
    static unsigned turn;
    char *p = path[turn++ % 2];
    snprintf(p, 1024, "%s/%s", dir, name);
    return p;
}

/* n steps on the first windows of the text: the trainer's use, without a loader. */
static void train(rig *r, rt_projector *p, int n) {
    rt_error err = {0};
    rt_batch b;
    rt_projection *x;
    run_teacher(r, &b);
    RT_OK_OR_FAIL(rt_projection_open(&x, p, rt_forward_hidden(&r->forward), RT_PROJECTION_TRAIN, 0, &err));
    for (int i = 0; i < n; i++) {
        RT_OK_OR_FAIL(rt_projection_run(x, b.targets, 1.0 / (double)b.supervised, &err));
        RT_OK_OR_FAIL(rt_projector_step(p, 1e-2, NULL, &err));
    }
    rt_projection_close(x);
    rt_batch_free(&b);
}

static void a_resumed_projector_has_the_same_bits(void) {
    rt_error err = {0};
    rig r;
    rt_projector *resumed, *frozen;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    const char *file = in(rt_test_dir(), "projector.safetensors");
    RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
    train(&r, r.p, 3);
    RT_OK_OR_FAIL(rt_projector_save(file, r.p, &err));
    rt_projector_options o = options_of(&r, RT_PROJECTOR_FACTORED);
    RT_OK_OR_FAIL(rt_projector_open(&resumed, &o, &err));
    RT_OK_OR_FAIL(rt_projector_load(resumed, file, &err));
    CU_ASSERT_EQUAL(rt_projector_steps(resumed), 3);
    CU_ASSERT_EQUAL(hash(resumed), hash(r.p));
    o.optimizer = NULL;
    RT_OK_OR_FAIL(rt_projector_open(&frozen, &o, &err));
    RT_OK_OR_FAIL(rt_projector_load(frozen, file, &err));
    CU_ASSERT_EQUAL(hash(frozen), hash(r.p));
    CU_ASSERT_FALSE(rt_projector_trainable(frozen));
    CU_ASSERT_EQUAL(rt_projector_fit(frozen, 1, NULL), RT_E_ARG);
    uint64_t saved = hash(r.p);
    train(&r, r.p, 3), train(&r, resumed, 3), train(&r, frozen, 3);
    CU_ASSERT_EQUAL(hash(resumed), hash(r.p));
    CU_ASSERT_EQUAL(hash(frozen), saved);
    CU_ASSERT_NOT_EQUAL(hash(r.p), saved);
    rt_projector_close(resumed), rt_projector_close(frozen);
    rig_close(&r);
}

static void files_that_do_not_fit_are_refused(void) {
    rt_error err = {0};
    rig r;
    rt_projector *p;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    const char *dir = rt_test_dir(), *file = in(dir, "projector.safetensors");
    RT_OK_OR_FAIL(rt_projector_fit(r.p, 1e-3, &err));
    RT_OK_OR_FAIL(rt_projector_save(file, r.p, &err));
    rt_projector_options o = options_of(&r, RT_PROJECTOR_FACTORED);
    o.dtype = RT_F32;
    RT_OK_OR_FAIL(rt_projector_open(&p, &o, &err));
    CU_ASSERT_EQUAL(rt_projector_load(p, file, &err), RT_E_DTYPE);
    RT_CHECK(strstr(err.text, "projector.weight is f16 [20,48], the projector's is f32 [20,48]"), "%s", err.text);
    rt_projector_close(p);
    CU_ASSERT_EQUAL(rt_projector_load(r.p, in(dir, "absent"), NULL), RT_E_INPUT);
    rt_named_tensor one = {"projector.weight", *rt_projector_weight(r.p)};
    rt_error refusal = {0};
    RT_OK_OR_FAIL(rt_safetensors_write(
        file, &one, 1, &(rt_safetensors_write_options){.metadata = (const char *const[]){"steps", "3", NULL}},
        &refusal));
    CU_ASSERT_EQUAL(rt_projector_load(r.p, file, &refusal), RT_E_INPUT);
    RT_CHECK(strstr(refusal.text, "projector.weight.master is missing"), "%s", refusal.text);
    RT_OK_OR_FAIL(rt_safetensors_write(file, &one, 1, NULL, &err));
    CU_ASSERT_EQUAL(rt_projector_load(r.p, file, NULL), RT_E_INPUT);
    rig_close(&r);
}

/* ----------------------------------------------------------- out of memory */

static rt_status everything(const rig *r, const char *file) {
    rt_projector_options o = options_of(r, RT_PROJECTOR_FACTORED);
    rt_projector *p;
    rt_windows w;
    double kl;
    RT_TRY(rt_projector_open(&p, &o, NULL));
    rt_status s = rt_projector_fit(p, 1e-3, NULL);
    if (s == RT_OK) s = prefit(r, p, 1, NULL, NULL, NULL);
    if (s == RT_OK) s = rt_windows_make(&w, rt_token_stream_all(r->stream), T, false, NULL);
    if (s == RT_OK) s = rt_projector_kl(p, (rt_forward *)&r->forward, &w, 2, 0, &kl, NULL);
    if (s == RT_OK) s = rt_projector_save(file, p, NULL);
    if (s == RT_OK) s = rt_projector_load(p, file, NULL);
    rt_projector_close(p);
    return s;
}
static void running_out_of_memory_is_clean(void) {
    rig r;
    rig_open(&r, RT_ACTIVATIONS_NATIVE, RT_F32, RT_PROJECTOR_FACTORED);
    const char *file = in(rt_test_dir(), "projector.safetensors");
    CU_ASSERT_EQUAL(everything(&r, file), RT_OK); /* scratch of the workers is there from now on */
    int64_t live = rt_mem_stats_get().live_blocks, n = 1;
    for (rt_status s = RT_E_NOMEM; s != RT_OK && n < 400; n++) {
        rt_mem_fail_at(n);
        s = everything(&r, file);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s", (long long)n, rt_status_name(s));
        RT_CHECK(rt_mem_stats_get().live_blocks == live, "allocation %lld leaks", (long long)n);
    }
    CU_ASSERT_TRUE(n > 20 && n < 400);
    rig_close(&r);
}

RT_SUITE(projector) {
    RT_TEST(symmetric_systems_are_solved);
    RT_TEST(systems_that_are_not_definite_are_refused);
    RT_TEST(unequal_tokenizers_are_refused);
    RT_TEST(the_start_solves_the_normal_equations);
    RT_TEST(a_start_that_does_not_exist_is_refused);
    RT_TEST(shared_is_the_teacher_itself);
    RT_TEST(borrowed_matrices_keep_dtype_and_address);
    RT_TEST(another_dtype_than_the_teachers_cannot_be_built);
    RT_TEST(prefit_lowers_cross_entropy_and_touches_nothing_else);
    RT_TEST(distillation_does_not_train_it);
    RT_TEST(gradients_are_those_of_cross_entropy_and_add_up);
    RT_TEST(every_use_gives_the_same_bits);
    RT_TEST(bits_do_not_depend_on_threads);
    RT_TEST(a_resumed_projector_has_the_same_bits);
    RT_TEST(files_that_do_not_fit_are_refused);
    RT_TEST(running_out_of_memory_is_clean);
}
