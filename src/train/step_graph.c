/* step_graph.c - the student's tape, for training and for evaluation. */
#include <retort/train/step_graph.h>
#include <math.h>

static rt_status allocate(rt_step_graph *s, const rt_weights *w, const rt_step_options *o, rt_error *err) {
    s->layers = w->config.layers;
    s->n_terms = o->n_terms;
    s->rows = o->windows * o->T;
    s->g = rt_graph_new(o->name);
    s->balance = rt_zalloc((size_t)s->layers * sizeof *s->balance);
    s->router_z = rt_zalloc((size_t)s->layers * sizeof *s->router_z);
    s->term_gain = rt_zalloc((size_t)o->n_terms * sizeof *s->term_gain);
    s->term_active = rt_zalloc((size_t)o->n_terms * sizeof *s->term_active);
    s->term_temperature = rt_zalloc((size_t)o->n_terms * sizeof *s->term_temperature);
    if (!s->g || !s->balance || !s->router_z || !s->term_gain || !s->term_active || !s->term_temperature)
        return rt_fail(err, RT_E_NOMEM, "%s: out of memory", o->name);
    for (int i = 0; i < o->n_terms; i++) s->term_active[i] = 1;
    return RT_OK;
}

static void router_losses(rt_step_graph *s) {
    for (int64_t l = 0; l < s->layers; l++) {
        const rt_model_layer *m = &s->model.layers[l];
        if (rt_ref_is_null(m->scores)) continue;
        rt_prec p = rt_prec_uniform(rt_graph_value(s->g, m->scores)->dtype);
        p.weight = RT_NONE;
        rt_graph_scope(s->g, "layers.%lld", (long long)l);
        s->balance[l] = rt_balance(s->g, m->scores, m->ids, s->in.valid, p, "balance");
        s->router_z[l] = rt_router_z(s->g, m->scores, s->in.valid, p, "router_z");
        rt_graph_loss(s->g, s->balance[l], &s->balance_gain);
        rt_graph_loss(s->g, s->router_z[l], &s->router_z_gain);
    }
    rt_graph_scope(s->g, "%s", "");
}

static rt_head_side student_side(const rt_step_graph *s, const rt_precision *p) {
    rt_dtype in = rt_graph_value(s->g, s->model.hidden)->dtype, weight = rt_graph_value(s->g, s->model.head)->dtype;
    rt_prec prec = rt_role_prec(p, rt_role_head, in, weight == RT_F64 ? RT_F64 : RT_F32);
    prec.weight = weight;
    return (rt_head_side){.hidden = s->model.hidden, .weight = s->model.head, .prec = prec};
}
static rt_head_side teacher_side(rt_graph *g, const rt_teacher_side *t) {
    if (!t->hidden) return (rt_head_side){.prec = t->prec};
    return (rt_head_side){.hidden = rt_graph_input(g, "teacher.hidden", t->hidden), .weight = rt_graph_variable(g, "teacher.matrix", t->matrix), .prec = t->prec};
}

static void head(rt_step_graph *s, const rt_precision *p, const rt_step_options *o) {
    rt_tensor targets = rt_tensor_1d(RT_I32, NULL, s->rows), gains = rt_tensor_1d(RT_F64, s->term_gain, o->n_terms);
    rt_tensor active = rt_tensor_1d(RT_I32, s->term_active, o->n_terms), temperatures = rt_tensor_1d(RT_F64, s->term_temperature, o->n_terms);
    s->targets = rt_graph_input(s->g, "targets", &targets);
    rt_head_config c = {.student = student_side(s, p), .teacher = teacher_side(s->g, &o->teacher), .targets = s->targets,
                        .gains = rt_graph_input(s->g, "gains", &gains), .active = rt_graph_input(s->g, "active", &active),
                        .temperatures = rt_graph_input(s->g, "temperatures", &temperatures), .terms = o->terms, .n_terms = o->n_terms,
                        .vocab = o->vocab, .budget = o->head_budget, .rows = o->head_rows};
    s->head = rt_head(s->g, &c, "head", &s->head_rows);
    rt_graph_output(s->g, s->head);
}

static rt_status build(rt_step_graph *s, const rt_weights *w, const rt_weights *grads, const rt_precision *p, const rt_step_options *o, rt_error *err) {
    RT_TRY(allocate(s, w, o, err));
    rt_graph_workspace(s->g, o->space);
    if (o->plan_gradients) rt_graph_plan_gradients(s->g);
    if (o->sketch) rt_graph_sketch(s->g);
    s->in = rt_batch_inputs(s->g, s->rows);
    rt_model_options m = {.length = o->T, .recompute = o->recompute, .trace = o->trace, .router = o->router, .states = o->states};
    RT_TRY(rt_model_build(s->g, w, grads, !grads, p, &m, s->in, &s->model, err));
    router_losses(s);
    head(s, p, o);
    return rt_graph_plan(s->g, o->train, err);
}

rt_status rt_step_graph_open(rt_step_graph *s, const rt_weights *w, const rt_weights *grads, const rt_precision *p,
                             const rt_step_options *o, rt_error *err) {
    *s = (rt_step_graph){0};
    rt_status status = build(s, w, grads, p, o, err);
    if (status != RT_OK) rt_step_graph_close(s);
    return status;
}

void rt_step_graph_close(rt_step_graph *s) {
    rt_graph_free(s->g);
    rt_model_free(&s->model);
    rt_free(s->balance), rt_free(s->router_z), rt_free(s->term_gain), rt_free(s->term_active), rt_free(s->term_temperature);
    *s = (rt_step_graph){0};
}

void rt_step_graph_gradients(const rt_step_graph *s, rt_weights *grads) {
    for (int64_t i = 0; i < grads->count; i++) grads->slots[i].t.data = rt_graph_gradient(s->g, s->model.weights[i])->data;
}

static bool finite_sums(const rt_step_graph *s) {
    const rt_tensor *t = rt_graph_value(s->g, s->head);
    for (int64_t i = 0; i < rt_tensor_count(t); i++)
        if (!isfinite(((const double *)t->data)[i])) return false;
    for (int64_t l = 0; l < s->layers; l++)
        if (!rt_ref_is_null(s->router_z[l]) && !isfinite(*(const double *)rt_graph_value(s->g, s->router_z[l])->data)) return false;
    return true;
}

rt_status rt_step_graph_run(rt_step_graph *s, const rt_batch *b, rt_error *err) {
    rt_batch_bind(s->g, s->in, b);
    rt_graph_bind(s->g, s->targets, b->targets);
    RT_TRY(rt_graph_forward(s->g, err));
    if (finite_sums(s)) return RT_OK;
    RT_TRY(rt_graph_find_nonfinite(s->g, err));
    return rt_fail(err, RT_E_NUMERIC, "a loss is not finite");
}
