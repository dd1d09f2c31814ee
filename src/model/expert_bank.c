/* expert_bank.c - how an expert of a frozen model comes and goes.
 *
 * Halves are used where they lie, in the mapped file: the products convert them a panel at a time. Coming means that the file's
 * pages are read at once, leaving that this process gives them back. Other types go into a product as they are, so they are
 * copied into the one form that products know, gate_up [2F,D] and down [F,D]; the file's pages are then given back. */
#include "model/expert_bank.h"
#include "kernels/convert.h"
#include <retort/base/file.h>
#include <string.h>

enum { DOWN_ROWS = 256 /* rows of down [D,F] that one task transposes */ };
typedef struct experts {
    const void *const *views; /* [unit][RT_EXPERT_PARTS] */
    int64_t F, D;
    rt_dtype dtype;
} experts;

static size_t part_bytes(const experts *x) { return (size_t)(x->F * x->D) * rt_dtype_size(x->dtype); }
static const void *view(const experts *x, int64_t unit, int64_t part) { return x->views[unit * RT_EXPERT_PARTS + part]; }

/* -------------------------------------------------------- halves, in place */

static void fetch(void *context, int64_t unit, int64_t task, void *memory) {
    (void)memory;
    rt_file_want(view(context, unit, task), part_bytes(context));
}
static void let_go(void *context, int64_t unit) {
    for (int p = 0; p < RT_EXPERT_PARTS; p++) rt_file_drop(view(context, unit, p), part_bytes(context));
}
static rt_piece piece_in_place(void *context, int64_t unit, int part, const void *memory) {
    (void)memory;
    if (part == 0) return (rt_piece){{view(context, unit, RT_EXPERT_GATE), view(context, unit, RT_EXPERT_UP)}, false};
    return (rt_piece){{view(context, unit, RT_EXPERT_DOWN), NULL}, true};
}

/* ------------------------------------------------------------------ copies */

static void transpose_rows(const experts *x, const char *from, int64_t d0, int64_t rows, char *to) {
    size_t size = rt_dtype_size(x->dtype);
    const void *source = from + (size_t)(d0 * x->F) * size;
    if (x->dtype == RT_F64) rt_transpose_f64(source, x->F, rows, x->F, (double *)(void *)to + d0, x->D);
    else rt_transpose_f32(source, x->F, rows, x->F, (float *)(void *)to + d0, x->D);
}
static void copy(void *context, int64_t unit, int64_t task, void *memory) {
    const experts *x = context;
    char *to = memory;
    if (task < RT_EXPERT_DOWN) {
        memcpy(to + (size_t)task * part_bytes(x), view(x, unit, task), part_bytes(x));
        return;
    }
    int64_t d0 = (task - RT_EXPERT_DOWN) * DOWN_ROWS, rows = x->D - d0 < DOWN_ROWS ? x->D - d0 : DOWN_ROWS;
    transpose_rows(x, view(x, unit, RT_EXPERT_DOWN), d0, rows, to + RT_EXPERT_DOWN * part_bytes(x));
}
static rt_piece piece_of_copy(void *context, int64_t unit, int part, const void *memory) {
    (void)unit;
    return (rt_piece){{(const char *)memory + (part == 0 ? 0 : RT_EXPERT_DOWN * part_bytes(context)), NULL}, false};
}

/* --------------------------------------------------------------------- all */

static bool is_stacked(const rt_slot *s) { return s->kind == RT_WEIGHT_EXPERT_GATE || s->kind == RT_WEIGHT_EXPERT_DOWN; }
int64_t rt_expert_unit(const rt_weights *w, int layer, int expert) {
    int64_t unit = expert;
    for (int64_t i = 0; i < w->count && w->slots[i].layer < layer; i++) unit += w->slots[i].kind == RT_WEIGHT_EXPERT_GATE ? w->config.experts : 0;
    return unit;
}

static rt_status describe(rt_weights *w, experts *x, int64_t *units, rt_error *err) {
    *units = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const rt_slot *s = &w->slots[i];
        if (!is_stacked(s)) continue;
        if (*units == 0) *x = (experts){(const void *const *)w->views, s->t.dim[1] / 2, s->t.dim[2], s->t.dtype};
        if (s->t.dtype != x->dtype)
            return rt_fail(err, RT_E_UNSUPPORTED, "weight %s is %s where other experts are %s: one dtype a role", s->name, rt_dtype_name(s->t.dtype), rt_dtype_name(x->dtype));
        *units += s->kind == RT_WEIGHT_EXPERT_GATE ? s->t.dim[0] : 0;
    }
    return RT_OK;
}

rt_status rt_expert_bank_open(rt_weights *w, rt_error *err) {
    experts *x = rt_arena_alloc(&w->arena, sizeof *x);
    int64_t units;
    if (!x) return rt_fail(err, RT_E_NOMEM, "out of memory: experts");
    RT_TRY(describe(w, x, &units, err));
    if (units == 0) return RT_OK; /* every layer is dense */
    bool half = rt_dtype_is_half(x->dtype);
    rt_bank_source s = {.context = x, .units = units, .bytes = RT_EXPERT_PARTS * part_bytes(x), .copied = !half,
                        .tasks = half ? RT_EXPERT_PARTS : RT_EXPERT_DOWN + (x->D + DOWN_ROWS - 1) / DOWN_ROWS, .load = half ? fetch : copy,
                        .loaded = half ? NULL : let_go, .evicted = half ? let_go : NULL, .piece = half ? piece_in_place : piece_of_copy};
    RT_TRY(rt_bank_open(&w->bank, &s, err));
    for (int64_t i = 0; i < w->count; i++)
        if (is_stacked(&w->slots[i])) w->slots[i].pieces = (rt_pieces){w->bank, rt_expert_unit(w, w->slots[i].layer, 0), w->slots[i].kind != RT_WEIGHT_EXPERT_GATE};
    return RT_OK;
}
