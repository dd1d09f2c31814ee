/* projection.c - plans of a projector. One function builds them all; uses differ in what hangs behind W h + b:
 *     HIDDEN    nothing
 *     TRAIN     head(next_token) on {W h + b, E_s}: gradients for W and b alone, E_s being a variable and h an input
 *     COMPARE   head(kl_t1) of {W h + b, E_s} beside {h, E_t} */
#include "train/projector_private.h"
#include <retort/losses/losses.h>
#include <retort/ops/head.h>
#include <retort/ops/ops.h>

struct rt_projection {
    rt_projector *p;
    rt_projection_use use;
    rt_graph *g; /* NULL where nothing is computed */
    rt_ref hidden, targets, sums;
    rt_tensor teacher_hidden;
    const rt_tensor *out; /* W h + b, or the teacher's hidden states */
    double gain;
};

static rt_ref project(rt_projection *x) {
    rt_projector_part *w = &x->p->part[RT_PROJECTOR_W], *b = &x->p->part[RT_PROJECTOR_B];
    bool train = x->use == RT_PROJECTION_TRAIN;
    rt_dtype t = x->p->dtype;
    rt_ref weight =
        train ? rt_graph_param(x->g, "weight", &w->value, &w->grad) : rt_graph_variable(x->g, "weight", &w->value);
    rt_ref bias =
        train ? rt_graph_param(x->g, "bias", &b->value, &b->grad) : rt_graph_variable(x->g, "bias", &b->value);
    rt_ref y = rt_linear_cat(x->g, x->hidden, &weight, &bias, 1, (rt_prec){t, t, RT_F32, t, RT_F32}, "linear");
    rt_graph_output(x->g, y);
    return y;
}

static rt_head_side side(rt_projection *x, const char *name, rt_ref hidden, const rt_tensor *matrix, rt_prec prec) {
    return (rt_head_side){.hidden = hidden, .weight = rt_graph_variable(x->g, name, matrix), .prec = prec};
}

static void add_head(rt_projection *x, rt_ref projected, int64_t budget) {
    bool train = x->use == RT_PROJECTION_TRAIN;
    rt_projector *p = x->p;
    rt_tensor targets = rt_tensor_1d(RT_I32, NULL, x->teacher_hidden.dim[0]), gains = rt_tensor_1d(RT_F64, &x->gain, 1);
    rt_head_term term = {.loss = train ? &rt_loss_next_token : &rt_loss_kl_t1};
    rt_head_config c = {.terms = &term, .n_terms = 1, .vocab = p->vocab, .budget = budget};
    c.student = side(x, "matrix", projected, &p->matrix, rt_projector_prec(p));
    if (!train) c.teacher = side(x, "teacher.head", x->hidden, &p->teacher_matrix, p->teacher_prec);
    c.targets = x->targets = rt_graph_input(x->g, "targets", &targets);
    if (train) c.gains = rt_graph_input(x->g, "gains", &gains);
    x->sums = rt_head(x->g, &c, train ? "next_token" : "fit", NULL);
    rt_graph_output(x->g, x->sums);
}

static rt_status build(rt_projection *x, int64_t budget, rt_error *err) {
    bool factored = x->p->kind == RT_PROJECTOR_FACTORED;
    if (!factored && x->use == RT_PROJECTION_HIDDEN) return RT_OK;
    if (!(x->g = rt_graph_new("projector"))) return rt_fail(err, RT_E_NOMEM, "projector: out of memory");
    if (x->p->sketch) rt_graph_sketch(x->g);
    rt_graph_workspace(x->g, x->p->space);
    x->hidden = rt_graph_input(x->g, "teacher.hidden", &x->teacher_hidden);
    rt_ref projected = factored ? project(x) : x->hidden;
    if (x->use != RT_PROJECTION_HIDDEN) add_head(x, projected, budget);
    RT_TRY(rt_graph_plan(x->g, x->use == RT_PROJECTION_TRAIN, err));
    if (factored) x->out = rt_graph_value(x->g, projected);
    return RT_OK;
}

rt_status rt_projection_open(rt_projection **out, rt_projector *p, const rt_tensor *teacher_hidden,
                             rt_projection_use use, int64_t budget, rt_error *err) {
    *out = NULL;
    rt_projection *x = rt_zalloc(sizeof *x);
    if (!x) return rt_fail(err, RT_E_NOMEM, "projector: out of memory");
    *x = (rt_projection){.p = p, .use = use, .teacher_hidden = *teacher_hidden, .out = teacher_hidden};
    if (use == RT_PROJECTION_TRAIN && !p->trained) x->use = RT_PROJECTION_HIDDEN;
    rt_status s = build(x, budget, err);
    if (s != RT_OK)
        rt_projection_close(x);
    else
        *out = x;
    return s;
}

void rt_projection_close(rt_projection *x) {
    if (!x) return;
    rt_graph_free(x->g);
    rt_free(x);
}

rt_status rt_projection_run(rt_projection *x, int32_t *targets, double gain, rt_error *err) {
    if (!x->g) return RT_OK;
    x->gain = gain;
    rt_graph_bind(x->g, x->targets, targets);
    RT_TRY(rt_graph_forward(x->g, err));
    return x->use == RT_PROJECTION_TRAIN ? rt_graph_backward(x->g, err) : RT_OK;
}

rt_graph *rt_projection_graph(const rt_projection *x) { return x->g; }
const rt_tensor *rt_projection_hidden(const rt_projection *x) { return x->out; }

void rt_projection_sum(const rt_projection *x, double *sum, double *count) {
    const rt_tensor *t = rt_ref_is_null(x->sums) ? NULL : rt_graph_value(x->g, x->sums);
    const double *row = t ? t->data : NULL;
    *sum = row ? row[0] : 0;
    *count = row ? rt_vocab_count(row, t->dim[1]) : 0;
}
