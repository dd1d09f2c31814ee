/* forward.c - a model planned forward-only. */
#include <retort/infer/forward.h>

rt_model_inputs rt_batch_inputs(rt_graph *g, int64_t rows) {
    rt_tensor t = rt_tensor_1d(RT_I32, NULL, rows);
    return (rt_model_inputs){rt_graph_input(g, "ids", &t), rt_graph_input(g, "position", &t), rt_graph_input(g, "start", &t),
                             rt_graph_input(g, "valid", &t)};
}
void rt_batch_bind(rt_graph *g, rt_model_inputs in, const rt_batch *b) {
    rt_graph_bind(g, in.ids, b->ids);
    rt_graph_bind(g, in.position, b->position);
    rt_graph_bind(g, in.start, b->start);
    rt_graph_bind(g, in.valid, b->valid);
}

static rt_status build(rt_forward *f, const rt_weights *w, const rt_precision *p, const rt_forward_options *o, rt_error *err) {
    f->rows = o->windows * o->T;
    if (!(f->g = rt_graph_new(o->name))) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", o->name);
    rt_graph_cache_budget(f->g, o->cache_budget);
    if (o->cache_panels) rt_graph_cache_panels(f->g);
    rt_graph_workspace(f->g, o->space);
    if (o->sketch) rt_graph_sketch(f->g);
    f->in = rt_batch_inputs(f->g, f->rows);
    RT_TRY(rt_model_build(f->g, w, NULL, o->variable, p, &(rt_model_options){.length = o->T}, f->in, &f->model, err));
    rt_graph_output(f->g, f->model.hidden);
    return rt_graph_plan(f->g, false, err);
}

rt_status rt_forward_open(rt_forward *f, const rt_weights *w, const rt_precision *p, const rt_forward_options *o, rt_error *err) {
    *f = (rt_forward){0};
    rt_status s = build(f, w, p, o, err);
    if (s != RT_OK) rt_forward_close(f);
    return s;
}

void rt_forward_close(rt_forward *f) {
    rt_graph_free(f->g);
    rt_model_free(&f->model);
    *f = (rt_forward){0};
}

rt_status rt_forward_run(rt_forward *f, const rt_batch *b, rt_error *err) {
    if (b->rows != f->rows) return rt_fail(err, RT_E_SHAPE, "batch has %lld rows, planned for %lld", (long long)b->rows, (long long)f->rows);
    rt_batch_bind(f->g, f->in, b);
    return rt_graph_forward(f->g, err);
}
const rt_tensor *rt_forward_hidden(const rt_forward *f) { return rt_graph_value(f->g, f->model.hidden); }
