/* projector.c - the weights of a projector: W and b, their masters, gradients and moments, and the cast copy of E_s.
 * W and b exist in one dtype from their creation on; only rt_optim_refresh, and each step through it, rounds
 * into them. */
#include "train/projector_private.h"
#include <retort/ops/ops.h>
#include <string.h>

/* ------------------------------------------------------------------- checks */

static const char *kind_name(int kind) { return kind == RT_PROJECTOR_SHARED ? "shared" : "factored"; }
static const char *hash_text(const rt_tokenizer_id *t) { return t->hash ? t->hash : "unknown"; }

rt_status rt_projector_check(int kind, rt_tokenizer_id teacher, rt_tokenizer_id student, rt_error *err) {
    if (kind == RT_PROJECTOR_NONE) return RT_OK;
    if (teacher.size == student.size && teacher.hash && student.hash && strcmp(teacher.hash, student.hash) == 0)
        return RT_OK;
    return rt_fail(
        err, RT_E_CONFIG,
        "projector.kind %s: the teacher's tokenizer (%lld ids, sha256 %s) is not the student's (%lld ids, sha256 %s); "
        "alignment across tokenizers is not supported: give the student the teacher's tokenizer",
        kind_name(kind), (long long)teacher.size, hash_text(&teacher), (long long)student.size, hash_text(&student));
}

static rt_status check_options(const rt_projector_options *o, rt_error *err) {
    if (o->kind != RT_PROJECTOR_SHARED && o->kind != RT_PROJECTOR_FACTORED)
        return rt_fail(err, RT_E_ARG, "a projector is shared or factored, not kind %d", o->kind);
    if (o->kind == RT_PROJECTOR_FACTORED && !o->student)
        return rt_fail(err, RT_E_ARG, "a factored projector needs the student's weights");
    return RT_OK;
}

/* The output matrix of a model, and that the losses' V rows are in it. */
static rt_status output_matrix(const rt_weights *w, const char *side, int64_t vocab, rt_tensor *out, rt_error *err) {
    int64_t slot = rt_weights_find(w, w->config.tie_embeddings ? RT_WEIGHT_EMBED : RT_WEIGHT_HEAD, -1);
    *out = w->slots[slot].t;
    if (vocab >= 1 && vocab <= out->dim[0]) return RT_OK;
    return rt_fail(err, RT_E_SHAPE, "projector: the vocabulary is %lld ids, the %s's output matrix has %lld rows",
                   (long long)vocab, side, (long long)out->dim[0]);
}

/* ------------------------------------------------------------------- memory */

static size_t padded(const rt_tensor *t) { return (rt_tensor_bytes(t) + 63) / 64 * 64; }

/* All tensors of a part; the f32 ones only when it is trained. */
static int tensors(rt_projector_part *a, bool trained, rt_tensor **out) {
    rt_tensor *all[] = {&a->value, &a->grad, &a->master, &a->m, &a->v};
    memcpy(out, all, sizeof all);
    return trained ? 5 : 1;
}

static rt_status allocate(rt_projector *p, bool trained, rt_error *err) {
    rt_tensor *t[5];
    size_t bytes = 0, at = 0;
    for (int i = 0; i < RT_PROJECTOR_PARTS; i++)
        for (int k = 0, n = tensors(&p->part[i], trained, t); k < n; k++) bytes += padded(t[k]);
    p->bytes = bytes;
    if (p->sketch) return RT_OK;
    if (!(p->block = rt_zalloc(bytes))) return rt_fail(err, RT_E_NOMEM, "projector: out of memory: %zu bytes", bytes);
    for (int i = 0; i < RT_PROJECTOR_PARTS; i++)
        for (int k = 0, n = tensors(&p->part[i], trained, t); k < n; at += padded(t[k++]))
            t[k]->data = (char *)p->block + at;
    return RT_OK;
}

static void shape(rt_projector_part *a, const char *name, rt_dtype t, int ndim, const int64_t *dim) {
    a->name = name;
    a->value = rt_tensor_make(t, ndim, dim, NULL);
    a->grad = a->master = a->m = a->v = rt_tensor_make(RT_F32, ndim, dim, NULL);
}

static rt_optim_param optim_param(const rt_projector_part *a, bool decay) {
    return (rt_optim_param){.name = a->name,
                            .count = rt_tensor_count(&a->value),
                            .master = a->master.data,
                            .grad = a->grad.data,
                            .m = a->m.data,
                            .v = a->v.data,
                            .compute = a->value.data,
                            .compute_dtype = a->value.dtype,
                            .decay = decay};
}

static rt_status make_parts(rt_projector *p, const rt_optim_config *optimizer, rt_error *err) {
    int64_t D_s = p->student_matrix.dim[1], D_t = p->teacher_matrix.dim[1];
    shape(&p->part[RT_PROJECTOR_W], "projector.weight", p->dtype, 2, (int64_t[]){D_s, D_t});
    shape(&p->part[RT_PROJECTOR_B], "projector.bias", p->dtype, 1, (int64_t[]){D_s});
    p->trained = optimizer != NULL;
    RT_TRY(allocate(p, p->trained, err));
    if (!optimizer || p->sketch) return RT_OK;
    rt_optim_param params[] = {optim_param(&p->part[RT_PROJECTOR_W], true),
                               optim_param(&p->part[RT_PROJECTOR_B], false)};
    return rt_optim_create(optimizer, params, RT_PROJECTOR_PARTS, &p->optim, err);
}

/* -------------------------------------------------------------- the cast E_s */

static rt_status make_cast(rt_projector *p, rt_error *err) {
    p->matrix = p->student_matrix;
    if (p->matrix.dtype == p->dtype) return RT_OK;
    if (!(p->cast = rt_graph_new("projector"))) return rt_fail(err, RT_E_NOMEM, "projector: out of memory");
    rt_ref out =
        rt_cast(p->cast, rt_graph_variable(p->cast, "student.head", &p->student_matrix), p->dtype, "student_head");
    rt_graph_output(p->cast, out);
    if (p->sketch) rt_graph_sketch(p->cast);
    RT_TRY(rt_graph_plan(p->cast, false, err));
    p->matrix = *rt_graph_value(p->cast, out);
    return RT_OK;
}

rt_status rt_projector_refresh(rt_projector *p, rt_error *err) {
    return p->cast ? rt_graph_forward(p->cast, err) : RT_OK;
}

/* --------------------------------------------------------------- open, close */

static rt_dtype wide(rt_dtype t) { return t == RT_F64 ? RT_F64 : RT_F32; }

static rt_status open_factored(rt_projector *p, const rt_projector_options *o, rt_error *err) {
    p->dtype = o->dtype != RT_NONE ? o->dtype : o->teacher_precision->act[rt_role_head];
    if (p->dtype != RT_F32 && !rt_dtype_is_half(p->dtype))
        return rt_fail(err, RT_E_UNSUPPORTED, "a factored projector in %s: expected f32, f16 or bf16",
                       rt_dtype_name(p->dtype));
    RT_TRY(output_matrix(o->student, "student", o->vocab, &p->student_matrix, err));
    RT_TRY(make_parts(p, o->optimizer, err));
    RT_TRY(make_cast(p, err));
    return p->sketch ? RT_OK : rt_projector_refresh(p, err);
}

static rt_status open_into(rt_projector *p, const rt_projector_options *o, rt_error *err) {
    p->kind = o->kind;
    p->vocab = o->vocab;
    p->sketch = o->sketch;
    p->space = o->space;
    RT_TRY(output_matrix(o->teacher, "teacher", o->vocab, &p->teacher_matrix, err));
    rt_dtype in = o->teacher_precision->act[rt_role_head], weight = p->teacher_matrix.dtype;
    p->teacher_prec = (rt_prec){in, weight, wide(weight), wide(weight), wide(weight)};
    p->matrix = p->teacher_matrix;
    return o->kind == RT_PROJECTOR_FACTORED ? open_factored(p, o, err) : RT_OK;
}

rt_status rt_projector_open(rt_projector **out, const rt_projector_options *o, rt_error *err) {
    *out = NULL;
    RT_TRY(check_options(o, err));
    rt_projector *p = rt_zalloc(sizeof *p);
    if (!p) return rt_fail(err, RT_E_NOMEM, "projector: out of memory");
    rt_status s = open_into(p, o, err);
    if (s != RT_OK)
        rt_projector_close(p);
    else
        *out = p;
    return s;
}

void rt_projector_close(rt_projector *p) {
    if (!p) return;
    rt_optim_free(p->optim);
    rt_graph_free(p->cast);
    rt_free(p->block);
    rt_free(p);
}

/* ----------------------------------------------------------------- steps, reading */

rt_status rt_projector_step(rt_projector *p, double lr, rt_optim_stats *stats, rt_error *err) {
    if (stats) *stats = (rt_optim_stats){.clip = 1};
    if (!p->optim) return RT_OK;
    RT_TRY(rt_optim_step(p->optim, lr, 1, stats, err));
    rt_projector_forget(p);
    return RT_OK;
}
void rt_projector_forget(rt_projector *p) {
    for (int i = 0; p->optim && i < RT_PROJECTOR_PARTS; i++) memset(p->part[i].grad.data, 0, rt_tensor_bytes(&p->part[i].grad));
}

int rt_projector_kind_of(const rt_projector *p) { return p->kind; }
bool rt_projector_trainable(const rt_projector *p) { return p->trained; }
int64_t rt_projector_steps(const rt_projector *p) { return p->optim ? rt_optim_steps(p->optim) : 0; }
const rt_tensor *rt_projector_matrix(const rt_projector *p) { return &p->matrix; }
rt_prec rt_projector_prec(const rt_projector *p) {
    return p->kind == RT_PROJECTOR_SHARED ? p->teacher_prec : (rt_prec){p->dtype, p->dtype, RT_F32, RT_F32, RT_F32};
}
const rt_tensor *rt_projector_weight(const rt_projector *p) { return &p->part[RT_PROJECTOR_W].value; }
int64_t rt_projector_bytes(const rt_projector *p) { return (int64_t)p->bytes + (p->cast ? rt_graph_stats_get(p->cast).arena_bytes : 0); }
const rt_tensor *rt_projector_bias(const rt_projector *p) { return &p->part[RT_PROJECTOR_B].value; }
