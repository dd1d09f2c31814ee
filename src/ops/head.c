/* head - the vocabulary head: builder, checks, and the order of the passes (formulas: retort/ops/head.h, vocab_loss.h).
 *
 * For each chunk of rows:  load -> [tile: logits, maxima, sums of exps] -> join -> [tile: sums] -> [segment: dz, dW, dH] -> values.
 * Sums that a gradient makes along the way, from the same exps, come with dz instead. */
#include "ops/head_run.h"
#include "kernels/contract.h"
#include "kernels/matmul.h"
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------ attributes */

static void add_term(rt_head_attr *a, const rt_head_term *given) {
    rt_head_term *t = &a->term[a->n_terms++];
    *t = *given;
    if (!t->loss) return; /* refused by infer */
    unsigned needs = t->loss->needs;
    if (t->temperature == 0) t->temperature = t->loss->temperature;
    a->top[0] |= (needs & RT_NEEDS_STUDENT_TOP) != 0;
    a->top[1] |= (needs & RT_NEEDS_TEACHER_TOP) != 0;
    if (t->loss->columns + 1 > a->width) a->width = t->loss->columns + 1;
}

static void add_side(rt_head_attr *a, const rt_graph *g, int s, const rt_head_side *side) {
    a->prec[s] = side->prec;
    a->given[s] = !rt_ref_is_null(side->logits);
    a->present[s] = a->given[s] || !rt_ref_is_null(side->hidden);
    if (a->present[s] && !a->given[s]) {
        const rt_tensor *hidden = rt_graph_value(g, side->hidden);
        a->D[s] = hidden->ndim == 2 ? hidden->dim[1] : 0; /* another shape is refused by infer */
    }
    a->half_weight[s] = side->prec.weight != side->prec.acc;
    a->half_hidden[s] = side->prec.in != side->prec.acc;
}

/* The largest multiple of 16 that the budget holds, at most 512: a rule on shapes and terms alone. */
static int64_t rows_within(const rt_head_attr *a) {
    int64_t rows = RT_HEAD_ROWS_MAX;
    while (rows > 0 && rt_head_bytes(a, rows) > a->budget) rows -= RT_ROW_BLOCK;
    return rows;
}

static void resolve(rt_head_attr *a, const rt_graph *g, const rt_head_config *c) {
    *a = (rt_head_attr){.vocab = c->vocab, .budget = c->budget > 0 ? c->budget : RT_HEAD_BUDGET, .terms_given = c->n_terms,
                        .adjustable = !rt_ref_is_null(c->temperatures)};
    add_side(a, g, RT_HEAD_STUDENT, &c->student);
    add_side(a, g, RT_HEAD_TEACHER, &c->teacher);
    for (int i = 0; i < c->n_terms && i < RT_HEAD_TERMS_MAX; i++) add_term(a, &c->terms[i]);
    a->exps_max = rt_head_exps_max(a);
    a->sums_max = rt_head_sums_max(a);
    a->N = rt_ref_is_null(c->targets) ? 0 : rt_graph_value(g, c->targets)->dim[0];
    if (a->vocab > 0 && a->vocab <= INT32_MAX) a->rows = c->rows > 0 ? c->rows : rows_within(a);
}

int64_t rt_head_scratch(const rt_graph *g, const rt_head_config *c, int64_t rows) {
    rt_head_attr a;
    if (rt_graph_status(g) != RT_OK) return 0;
    resolve(&a, g, c);
    return rt_head_bytes(&a, rows);
}

/* ---------------------------------------------------------------------------- checks */

static const char *const side_name[2] = {"student", "teacher"};

static rt_status check_prec(rt_graph *g, const rt_node *n, const rt_head_attr *a, int s) {
    rt_prec p = a->prec[s];
    char text[48];
    if (p.out != p.acc || (p.acc != RT_F32 && p.acc != RT_F64))
        return rt_infer_fail(g, n, RT_E_PREC, "the %s's contract is '%s', but logits are f32 (f64 with everything f64)", side_name[s],
                             rt_prec_text(p, text));
    if (p.acc != a->prec[0].acc)
        return rt_infer_fail(g, n, RT_E_PREC, "the teacher's logits are %s and the student's %s", rt_dtype_name(p.acc),
                             rt_dtype_name(a->prec[0].acc));
    rt_error err = {0};
    if (!a->given[s] && rt_contract_check(p, &err) != RT_OK) return rt_infer_fail(g, n, err.status, "%s: %s", side_name[s], err.text);
    return RT_OK;
}

static rt_status check_vocab(rt_graph *g, const rt_node *n, const rt_head_attr *a, int64_t found) {
    if (a->vocab >= 1 && a->vocab <= found) return RT_OK;
    return rt_infer_fail(g, n, RT_E_SHAPE, "the vocabulary is %lld ids, the weight or logits have %lld", (long long)a->vocab, (long long)found);
}

static rt_status check_side(rt_graph *g, const rt_node *n, const rt_head_attr *a, int s) {
    int at = s * IN_SIDE;
    bool hidden = rt_infer_has(n, at + IN_HIDDEN), weight = rt_infer_has(n, at + IN_WEIGHT);
    if (!a->present[s] && !weight && s == RT_HEAD_TEACHER) return RT_OK;
    if (a->given[s] ? hidden || weight : !hidden || !weight)
        return rt_infer_fail(g, n, RT_E_ARG, "the %s needs either hidden and weight, or logits", side_name[s]);
    RT_TRY(check_prec(g, n, a, s));
    if (a->given[s]) {
        RT_TRY(rt_infer_dtype(g, n, at + IN_LOGITS, a->prec[s].acc));
        RT_TRY(rt_infer_shape(g, n, at + IN_LOGITS, 2, (int64_t[]){a->N, -1}));
        return check_vocab(g, n, a, rt_infer_in(g, n, at + IN_LOGITS)->dim[1]);
    }
    RT_TRY(rt_infer_dtype(g, n, at + IN_HIDDEN, a->prec[s].in));
    RT_TRY(rt_infer_dtype(g, n, at + IN_WEIGHT, a->prec[s].weight));
    RT_TRY(rt_infer_shape(g, n, at + IN_HIDDEN, 2, (int64_t[]){a->N, -1}));
    RT_TRY(rt_infer_shape(g, n, at + IN_WEIGHT, 2, (int64_t[]){-1, a->D[s]}));
    return check_vocab(g, n, a, rt_infer_in(g, n, at + IN_WEIGHT)->dim[0]);
}

static rt_status check_term(rt_graph *g, const rt_node *n, const rt_head_attr *a, const rt_head_term *t) {
    if (!t->loss) return rt_infer_fail(g, n, RT_E_ARG, "a term has no loss");
    const char *name = t->loss->name;
    if ((t->loss->needs & RT_NEEDS_TEACHER) && !a->present[RT_HEAD_TEACHER])
        return rt_infer_fail(g, n, RT_E_CONFIG, "'%s' needs a teacher, there is none", name);
    if (!(t->temperature > 0) || !isfinite(t->temperature))
        return rt_infer_fail(g, n, RT_E_CONFIG, "'%s': temperature %g, expected a positive number", name, t->temperature);
    if ((t->loss->needs & RT_FIXED_TEMPERATURE) && t->temperature != t->loss->temperature)
        return rt_infer_fail(g, n, RT_E_CONFIG, "'%s' is defined at temperature %g, not %g", name, t->loss->temperature, t->temperature);
    if (!(t->beta >= 0 && t->beta <= 1)) return rt_infer_fail(g, n, RT_E_CONFIG, "'%s': beta %g, expected 0..1", name, t->beta);
    if (!(t->label_smoothing >= 0 && t->label_smoothing < 1))
        return rt_infer_fail(g, n, RT_E_CONFIG, "'%s': label_smoothing %g, expected 0 <= s < 1", name, t->label_smoothing);
    return RT_OK;
}

static rt_status check_terms(rt_graph *g, const rt_node *n, const rt_head_attr *a) {
    if (a->terms_given < 1 || a->terms_given > RT_HEAD_TERMS_MAX)
        return rt_infer_fail(g, n, RT_E_ARG, "%d terms, expected 1..%d", a->terms_given, RT_HEAD_TERMS_MAX);
    for (int i = 0; i < a->n_terms; i++) RT_TRY(check_term(g, n, a, &a->term[i]));
    RT_TRY(rt_infer_dtype(g, n, IN_TARGETS, RT_I32));
    RT_TRY(rt_infer_shape(g, n, IN_TARGETS, 1, (int64_t[]){-1}));
    for (int k = IN_GAINS; k <= IN_TEMPERATURES; k++) {
        if (!rt_infer_has(n, k)) continue;
        RT_TRY(rt_infer_dtype(g, n, k, k == IN_ACTIVE ? RT_I32 : RT_F64));
        RT_TRY(rt_infer_shape(g, n, k, 1, (int64_t[]){a->n_terms}));
    }
    return RT_OK;
}

static rt_status check_rows(rt_graph *g, const rt_node *n, const rt_head_attr *a) {
    if (a->rows < RT_ROW_BLOCK)
        return rt_infer_fail(g, n, RT_E_CONFIG, "head budget of %lld bytes does not hold %d rows, which need %lld", (long long)a->budget,
                             RT_ROW_BLOCK, (long long)rt_head_bytes(a, RT_ROW_BLOCK));
    if (a->rows % RT_ROW_BLOCK || a->rows > 1 << 20)
        return rt_infer_fail(g, n, RT_E_CONFIG, "%lld rows a chunk, expected a multiple of %d", (long long)a->rows, RT_ROW_BLOCK);
    return RT_OK;
}

static rt_status infer(rt_graph *g, rt_node *n) {
    const rt_head_attr *a = n->attr;
    RT_TRY(check_terms(g, n, a));
    for (int s = 0; s < 2; s++) RT_TRY(check_side(g, n, a, s));
    RT_TRY(check_rows(g, n, a));
    rt_head_place p;
    rt_head_layout(a, a->rows, &p);
    n->scratch = p.bytes;
    n->worker_scratch = p.worker_bytes;
    n->rows = a->N;
    n->kernel = a->prec[0].acc == RT_F64 ? "f64, streamed" : "f32, streamed";
    return rt_infer_out(g, n, 0, RT_F64, 2, (int64_t[]){a->n_terms, a->width});
}

/* ---------------------------------------------------------------------------- passes */

/* Rows that no pass will write: those beyond the vocabulary, or all when there is nothing to differentiate. */
static void clear_rest(const rt_head_run *r) {
    const rt_tensor *d = &r->call->din[IN_WEIGHT];
    if (!(r->call->fresh & RT_IN(IN_WEIGHT))) return;
    int64_t from = r->backward && r->a->N > 0 ? r->a->vocab : 0;
    memset((char *)d->data + (size_t)(from * d->dim[1]) * r->size, 0, (size_t)((d->dim[0] - from) * d->dim[1]) * r->size);
}

static void run_chunk(rt_head_run *r, const rt_head_products *products) {
    rt_head_begin_rows(r);
    products->load(r);
    products->logits(r);
    rt_head_join(r);
    rt_head_sums(r);
    rt_head_finish(r, false);
    if (r->backward) {
        products->backward(r);
        rt_head_finish(r, true);
    }
    rt_head_report_rows(r);
}

static void forward(const rt_call *c) {
    const rt_head_attr *a = c->node->attr;
    rt_head_run r = {.call = c, .a = a, .kernels = rt_head_kernels_of(a->prec[0].acc), .base = c->scratch};
    double *out = c->out[0].data;
    for (int64_t i = 0; i < rt_tensor_count(&c->out[0]); i++) out[i] = 0;
    rt_head_layout(a, a->rows, &r.at);
    r.size = a->prec[0].acc == RT_F64 ? 8 : 4;
    r.tiles = (a->vocab + RT_HEAD_TILE - 1) / RT_HEAD_TILE;
    r.segment_tiles = (r.tiles + RT_HEAD_SEGMENTS - 1) / RT_HEAD_SEGMENTS;
    r.segments = (r.tiles + r.segment_tiles - 1) / r.segment_tiles;
    if (!rt_head_plan_make(c, &r.plan)) return;
    for (int i = 0; i < a->n_terms; i++) r.backward |= r.plan.pulls[i];
    clear_rest(&r);
    for (; r.r0 < a->N; r.r0 += r.n) {
        r.n = a->N - r.r0 < a->rows ? a->N - r.r0 : a->rows;
        r.C = rt_round16(r.n);
        run_chunk(&r, a->prec[0].acc == RT_F64 ? &rt_head_products_f64 : &rt_head_products_f32);
    }
}

/* A side whose logits some active term reads; the mask may not be there yet. */
static bool reads(const rt_head_attr *a, const int32_t *active, int side) {
    bool any = false;
    for (int i = 0; i < a->n_terms; i++) any |= (!active || active[i]) && (side == RT_HEAD_STUDENT || (a->term[i].loss->needs & RT_NEEDS_TEACHER));
    return any && a->present[side];
}
/* Logits of both sides; in a training plan the student's two gradients, in the same run. */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    const rt_head_attr *a = n->attr;
    const int32_t *active = rt_infer_has(n, IN_ACTIVE) ? rt_infer_in(g, n, IN_ACTIVE)->data : NULL;
    (void)backward;
    rt_work_values(g, n, RT_IN(IN_TARGETS) | RT_IN(IN_GAINS) | RT_IN(IN_ACTIVE) | RT_IN(IN_TEMPERATURES) | RT_OUT(0), forward);
    for (int s = 0; s < 2; s++) {
        if (!reads(a, active, s)) continue;
        int products = !a->given[s];
        if (s == RT_HEAD_STUDENT) products += rt_work_wants(g, n, IN_HIDDEN) + rt_work_wants(g, n, IN_WEIGHT);
        forward->flops += products * 2 * (double)a->N * (double)a->vocab * (double)a->D[s];
        forward->exps += (double)a->N * (double)a->vocab;
        rt_work_values(g, n, (RT_IN(IN_HIDDEN) | RT_IN(IN_WEIGHT) | RT_IN(IN_LOGITS)) << s * IN_SIDE, forward);
    }
    rt_work_gradients(g, n, n->op->diff, forward);
}

extern const rt_op rt_op_head;
const rt_op rt_op_head = {
    .name = "head",
    .n_in = IN_COUNT,
    .n_out = 1,
    .optional = ~RT_IN(IN_TARGETS),
    .diff = RT_IN(IN_HIDDEN) | RT_IN(IN_WEIGHT) | RT_IN(IN_LOGITS),
    .overwrites = RT_IN(IN_WEIGHT),
    .flags = RT_OP_TERMINAL,
    .infer = infer,
    .forward = forward,
    .work = work,
};

rt_ref rt_head(rt_graph *g, const rt_head_config *c, const char *role, int64_t *rows_used) {
    if (rt_graph_status(g) != RT_OK) return RT_NULL;
    rt_head_attr a;
    resolve(&a, g, c);
    if (rows_used) *rows_used = a.rows;
    rt_ref in[IN_COUNT] = {c->student.hidden, c->student.weight, c->student.logits, c->teacher.hidden,
                           c->teacher.weight, c->teacher.logits, c->targets,        c->gains,        c->active, c->temperatures};
    return rt_graph_add(g, &rt_op_head, role, c->student.prec, &a, sizeof a, in, IN_COUNT, NULL);
}

double rt_vocab_report(const rt_vocab_loss *loss, const double *row, int64_t width) {
    double count = rt_vocab_count(row, width);
    if (!(count > 0)) return 0;
    return loss->report ? loss->report(row, count) : row[0] / count;
}
