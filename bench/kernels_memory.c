/* kernels_memory.c - what moves bytes: conversions between storage types, panels, transposes (kernels/convert.h), and AdamW. */
#include "kernels.h"
#include "kernels/convert.h"
#include "kernels/matmul.h"
#include <retort/base/threads.h>
#include <retort/optim/optim.h>

/* ------------------------------------------------------------------------------------------------------ conversions */

enum { BLOCK = 1 << 15, COUNT = KERNELS_POOL_BYTES / 8, PANEL_N = 2816, PANEL_K = 512, PART = 64 };
typedef struct conversion {
    rt_dtype half;
    float *x;
    uint16_t *h;
    float *panel;
} conversion;

static void load(void *context, int64_t task, int worker) {
    const conversion *c = context;
    (void)worker;
    rt_rows_load_f32(c->half, c->h + task * BLOCK, c->panel + task * BLOCK, BLOCK);
}
static void store(void *context, int64_t task, int worker) { /* into the first half of the zeros: `half` must stay as it is */
    const conversion *c = context;
    (void)worker;
    rt_rows_store_f32(c->half, c->x + task * BLOCK, (uint16_t *)c->panel + task * BLOCK, BLOCK);
}
static void natural(void *context, int64_t task, int worker) { /* 64 rows of a weight as in files */
    const conversion *c = context;
    (void)worker;
    rt_panel_from_natural(c->half, c->h + task * PART * PANEL_K, PANEL_K, PART, PANEL_K, c->panel + task * PART, rt_panel_ld(PANEL_N));
}
static void packed(void *context, int64_t task, int worker) { /* 64 rows of a transposed weight */
    const conversion *c = context;
    (void)worker;
    rt_panel_from_packed(c->half, c->h + task * PART * PANEL_N, PART, PANEL_N, c->panel + task * PART * rt_panel_ld(PANEL_N), rt_panel_ld(PANEL_N));
}
static void transpose(void *context, int64_t task, int worker) {
    const conversion *c = context;
    (void)worker;
    rt_transpose_f32(c->x + task * PART * PANEL_K, PANEL_K, PART, PANEL_K, c->panel + task * PART, rt_panel_ld(PANEL_N));
}

static rt_status run_load(void *c, rt_error *err) { return (void)err, rt_parallel(COUNT / BLOCK, load, c), RT_OK; }
static rt_status run_store(void *c, rt_error *err) { return (void)err, rt_parallel(COUNT / BLOCK, store, c), RT_OK; }
static rt_status run_natural(void *c, rt_error *err) { return (void)err, rt_parallel(PANEL_N / PART, natural, c), RT_OK; }
static rt_status run_packed(void *c, rt_error *err) { return (void)err, rt_parallel(PANEL_K / PART, packed, c), RT_OK; }
static rt_status run_transpose(void *c, rt_error *err) { return (void)err, rt_parallel(PANEL_N / PART, transpose, c), RT_OK; }

rt_status kernels_conversions(kernels *k, rt_error *err) {
    const conversion f16 = {RT_F16, k->a, k->half, k->zeros}, bf16 = {RT_BF16, k->a, k->half, k->zeros};
    const double panel = PANEL_N * PANEL_K;
    const struct {
        const char *name;
        rt_status (*run)(void *context, rt_error *err);
        const conversion *c;
        double bytes;
    } all[] = {{"f16 to f32", run_load, &f16, 6.0 * COUNT},          {"bf16 to f32", run_load, &bf16, 6.0 * COUNT},
               {"f32 to f16", run_store, &f16, 6.0 * COUNT},         {"f32 to bf16", run_store, &bf16, 6.0 * COUNT},
               {"panel f16 natural", run_natural, &f16, 6 * panel},  {"panel f16 packed", run_packed, &f16, 6 * panel},
               {"transpose f32", run_transpose, &f16, 8 * panel}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bench_case b = {.bytes = all[i].bytes, .limit = BENCH_COPY, .run = all[i].run};
        snprintf(b.name, sizeof b.name, "convert.%s", all[i].name);
        RT_TRY(kernels_add(k, b, all[i].c, sizeof *all[i].c, err));
    }
    return RT_OK;
}

/* -------------------------------------------------------------------------------------------------------- optimizer */

typedef struct adamw {
    rt_optim_param p;
} adamw;
/* Opening costs nothing beside 8 M parameters, so each call opens. */
static rt_status run_adamw(void *context, rt_error *err) {
    static const rt_optim_config config = {.name = "adamw", .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
    const adamw *a = context;
    rt_optim *o = NULL;
    RT_TRY(rt_optim_create(&config, &a->p, 1, &o, err));
    rt_status s = rt_optim_step(o, 1e-6, 1, NULL, err);
    rt_optim_free(o);
    return s;
}
/* The norm reads the gradient; the step reads weight, gradient and moments and writes all but the gradient: 32 bytes. The second
 * moment must not be negative: it lies in the second half of the zeros, which nothing else writes. */
rt_status kernels_optimizer(kernels *k, rt_error *err) {
    adamw a = {{.name = "w", .count = COUNT, .master = k->d, .grad = k->a, .m = k->c, .v = k->zeros + COUNT, .decay = true}};
    bench_case b = {.name = "optimizer.adamw", .bytes = 32.0 * COUNT, .limit = BENCH_COPY, .run = run_adamw};
    return kernels_add(k, b, &a, sizeof a, err);
}
