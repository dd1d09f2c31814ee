/* start.c - the weights a run begins with, and words about where they come from. */
#include "kernels/convert.h"
#include <retort/train/start.h>
#include <math.h>
#include <string.h>

/* --------------------------------------------------------- a checkpoint's */

typedef struct widened {
    const rt_hf *files;
    float *buffer; /* the largest half weight */
    rt_tensor out;
    int64_t refused; /* a weight that is none of f32, f16, bf16; -1 */
} widened;

static const rt_tensor *widen(void *context, int64_t i) {
    widened *w = context;
    const rt_tensor *t = rt_hf_weight(w->files, i);
    if (t->dtype == RT_F32) return t;
    if (t->dtype == RT_F64) return w->refused = i, NULL;
    w->out = rt_tensor_make(RT_F32, t->ndim, t->dim, w->buffer);
    rt_rows_load_f32(t->dtype, t->data, w->buffer, rt_tensor_count(t));
    return &w->out;
}

static rt_status checkpoint_weights(rt_weights *masters, const rt_hf *source, rt_error *err) {
    const rt_model_config *c = rt_hf_config(source);
    widened w = {.files = source, .refused = -1};
    int64_t most = 1;
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        int64_t n = rt_tensor_count(rt_hf_weight(source, i));
        if (n > most && rt_dtype_is_half(rt_hf_weight(source, i)->dtype)) most = n;
    }
    if (!(w.buffer = rt_alloc((size_t)most * sizeof *w.buffer))) return rt_fail(err, RT_E_NOMEM, "out of memory: weights of %s", rt_hf_path(source));
    rt_status s = rt_weights_copy(masters, widen, &w, err);
    rt_free(w.buffer);
    if (w.refused < 0) return s;
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: %s is f64, expected f32, f16 or bf16", rt_hf_path(source), rt_weight_at(c, w.refused).name);
}

/* ------------------------------------------------------------------ start */

static bool all_finite(const rt_tensor *t) {
    float x[1024];
    bool all = true;
    for (int64_t i = 0, n = rt_tensor_count(t); i < n; i += 1024) {
        int64_t piece = n - i < 1024 ? n - i : 1024;
        rt_rows_load_f32(t->dtype, (const char *)t->data + (size_t)i * rt_dtype_size(t->dtype), x, piece);
        for (int64_t k = 0; k < piece; k++) all &= (bool)isfinite(x[k]);
    }
    return all;
}

static rt_status check_finite(const rt_student *s, const rt_hf *source, rt_error *err) {
    for (int64_t i = 0; i < s->weights.count; i++) {
        const rt_slot *w = &s->weights.slots[i];
        if (!all_finite(&s->master.slots[i].t)) return rt_fail(err, RT_E_NUMERIC, "%s: weight %s holds a number that is not finite", rt_hf_path(source), w->name);
        if (!all_finite(&w->t))
            return rt_fail(err, RT_E_NUMERIC, "%s: weight %s holds a number beyond the range of %s", rt_hf_path(source), w->name, rt_dtype_name(w->t.dtype));
    }
    return RT_OK;
}

rt_status rt_start_weights(rt_student *s, const rt_job *job, const rt_hf *source, rt_error *err) {
    rt_upcycle u = rt_job_upcycle(job);
    if (!source) return rt_student_start(s, (uint64_t)job->run.seed), RT_OK;
    if (job->student.init == RT_INIT_UPCYCLE) RT_TRY(rt_upcycle_weights(&s->master, source, &u, err));
    else RT_TRY(checkpoint_weights(&s->master, source, err));
    rt_optim_refresh(s->optim);
    return check_finite(s, source, err);
}

/* ------------------------------------------------------------------- words */

static const char *const inits[] = {"random", "checkpoint", "upcycle"};

/* How many weights of the files go from which dtype to which. */
typedef struct conversions {
    int64_t count[RT_DTYPE_COUNT][RT_DTYPE_COUNT];
} conversions;
/* The slot a weight of the files goes to: of a dense feed-forward part perhaps that of the experts; up lies behind gate. */
static int64_t slot_of(const rt_weights *w, rt_weight_kind kind, int layer) {
    int64_t slot = rt_weights_find(w, kind, layer);
    bool down = kind == RT_WEIGHT_FFN_DOWN || kind == RT_WEIGHT_EXPERT_DOWN;
    return slot >= 0 ? slot : rt_weights_find(w, down ? RT_WEIGHT_EXPERT_DOWN : RT_WEIGHT_EXPERT_GATE, layer);
}
static conversions count_conversions(const rt_student *s, const rt_hf *source) {
    conversions c = {0};
    const rt_model_config *config = rt_hf_config(source);
    for (int64_t i = 0; i < rt_weight_count(config); i++) {
        rt_weight_spec w = rt_weight_at(config, i);
        c.count[rt_hf_weight(source, i)->dtype][s->weights.slots[slot_of(&s->weights, w.kind, w.layer)].t.dtype]++;
    }
    return c;
}
static void conversions_text(const conversions *c, rt_buf *out) {
    for (int from = 0; from < RT_DTYPE_COUNT; from++)
        for (int to = 0; to < RT_DTYPE_COUNT; to++)
            if (c->count[from][to])
                rt_buf_printf(out, "%s%lld weights %s%s%s%s", out->size ? ", " : "", (long long)c->count[from][to], rt_dtype_name((rt_dtype)from),
                              from == to ? " as they are" : " -> ", from == to ? "" : rt_dtype_name((rt_dtype)to),
                              from == to ? "" : rt_dtype_size((rt_dtype)to) > rt_dtype_size((rt_dtype)from) ? " (widened)" : " (rounded)");
}

static void upcycled_text(const rt_job *job, rt_buf *out) {
    const rt_job_student *s = &job->student;
    rt_buf_printf(out, "%lld experts, %lld a token, ", (long long)s->experts, (long long)s->experts_per_token);
    if (s->granularity > 1) rt_buf_printf(out, "%lld copies in %lld slices", (long long)(s->experts / s->granularity), (long long)s->granularity);
    else rt_buf_puts(out, "each a copy");
    if (s->upcycle_noise > 0) rt_buf_printf(out, " with noise %g", s->upcycle_noise);
    rt_buf_printf(out, ", router seed %lld; ", (long long)job->run.seed);
}

void rt_start_text(const rt_student *s, const rt_job *job, const rt_hf *source, rt_buf *out) {
    if (!source) {
        rt_buf_printf(out, "random weights, seed %lld", (long long)job->run.seed);
        return;
    }
    conversions c = count_conversions(s, source);
    rt_buf text = {0};
    bool upcycled = job->student.init == RT_INIT_UPCYCLE;
    conversions_text(&c, &text);
    rt_buf_printf(out, "%s %s (a %s): ", upcycled ? "upcycled from" : "weights of", rt_hf_path(source), rt_hf_config(source)->arch->name);
    if (upcycled) upcycled_text(job, out);
    rt_buf_puts(out, text.data ? text.data : "");
    rt_buf_free(&text);
}

static bool add(json_t *o, const char *key, json_t *v) { return json_object_set_new(o, key, v) == 0; }

static bool add_source(json_t *o, const rt_student *s, const rt_hf *source, const char *hash) {
    conversions c = count_conversions(s, source);
    rt_buf text = {0};
    conversions_text(&c, &text);
    bool ok = !text.failed && add(o, "from", json_string(rt_hf_path(source))) && add(o, "arch", json_string(rt_hf_config(source)->arch->name)) &&
              add(o, "source_hash", json_string(hash)) && add(o, "weights", json_string(text.data ? text.data : ""));
    rt_buf_free(&text);
    return ok;
}

rt_status rt_start_json(const rt_student *s, const rt_job *job, const rt_hf *source, json_t **out, rt_error *err) {
    rt_hf_hash hash = {""};
    if (source) RT_TRY(rt_hf_content_hash(source, &hash, err));
    json_t *o = *out = json_object();
    bool ok = o && add(o, "init", json_string(inits[job->student.init])) && add(o, "seed", json_integer(job->run.seed));
    if (ok && source) ok = add_source(o, s, source, hash.hex);
    if (ok && job->student.init == RT_INIT_UPCYCLE)
        ok = add(o, "copies", json_integer(job->student.experts / job->student.granularity)) && add(o, "granularity", json_integer(job->student.granularity)) &&
             add(o, "noise", rt_json_number(job->student.upcycle_noise));
    if (ok) return RT_OK;
    json_decref(o);
    *out = NULL;
    return rt_fail(err, RT_E_NOMEM, "out of memory: record of the start");
}
