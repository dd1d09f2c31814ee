/* gemm_onednn.c - products through oneDNN, f32 and native halves: the one file that sees its header.
 *
 * dnnl_sgemm is a plain C call in versions 2 and 3; the primitives, whose API changed, are not needed for it. It cuts
 * work by the number of threads, hence rt_solo. A failure it could report (bad arguments) would be our bug.
 *
 * Only its AVX-512 kernels give a row the same bits whatever rows are beside it. Those for AVX2 do not (2.6.3, set to them: 2605
 * rows of the suite row_invariance differ), so processors without AVX-512 get our own products: decisions.md, 2. */
#ifdef RT_ONEDNN
#include "kernels/gemm.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <retort/base/threads.h>
#include <signal.h>
#include <stdio.h>

#if DNNL_VERSION_MAJOR < 2
#error "oneDNN 2 or newer is needed"
#endif

/* No environment variable changes a number: the library's own limit on instructions is set before it reads one. */
#if DNNL_VERSION_MAJOR >= 3
#define EVERY_ISA dnnl_cpu_isa_default
#else
#define EVERY_ISA dnnl_cpu_isa_all
#endif
__attribute__((constructor)) static void ignore_environment(void) { (void)dnnl_set_max_cpu_isa(EVERY_ISA); }

static bool invariant_rows(void) {
    static atomic_int known; /* 0: not asked yet; the answer is the same whoever asks */
    bool library = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
    if (!known) known = library && rt_isa_of_processor() == RT_ISA_HIGHEST ? 1 : 2;
    return known == 1;
}

/* Its generated code has data where the stack pointer points, and there the kernel writes a handler's frame: a Ctrl-C during a
 * product destroys numbers or the heap (test_gemm.c, signals_do_not_disturb). So signals wait until the tile is done. */
static sigset_t hold_signals(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    return before;
}

static void scale_only(int64_t m, int64_t n, float beta, float *c, int64_t ldc) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
}

void rt_gemm_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (!invariant_rows()) {
        rt_gemm_own_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    if (m == 0 || n == 0) return;
    if (k == 0) {
        scale_only(m, n, beta, c, ldc);
        return;
    }
    sigset_t mask = hold_signals();
    int before = rt_solo_begin();
    dnnl_status_t status = dnnl_sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    rt_solo_end(before);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    assert(status == dnnl_success);
    (void)status;
}

const char *rt_gemm_f32_library(void) {
    static char text[64]; /* the same text whoever writes it */
    if (!invariant_rows()) return "retort";
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

/* ------------------------------------------------------------------------------- native half products (half.h)
 *
 * The matmul primitive, made once for its sizes. Made and run as if there were one thread, since its blocks are chosen by the
 * number of threads too; with scratch of the caller's, without which two threads could not run one primitive. */

static bool instructions_include(dnnl_cpu_isa_t isa) {
    return invariant_rows() && ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) == (unsigned)isa;
}

const char *rt_half_library_instructions(rt_dtype half) {
    if (half == RT_BF16 && instructions_include(dnnl_cpu_isa_avx512_core_amx)) return "amx_bf16";
    if (half == RT_BF16 && instructions_include(dnnl_cpu_isa_avx512_core_bf16)) return "avx512_bf16";
#if DNNL_VERSION_MAJOR >= 3
    if (half == RT_F16 && instructions_include(dnnl_cpu_isa_avx512_core_amx_fp16)) return "amx_fp16";
#endif
    return NULL; /* AVX512-FP16 alone: the library widens to f32, which our own panels do once and not in every product */
}

/* Version 3 made descriptions of memory objects with an owner, and descriptions of operations a part of primitives'. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t owned_desc;
typedef const_dnnl_memory_desc_t seen_desc;
static seen_desc seen(const owned_desc *d) { return *d; }
static dnnl_status_t desc_strided(owned_desc *d, dnnl_data_type_t t, const int64_t *dims, const int64_t *strides) {
    return dnnl_memory_desc_create_with_strides(d, 2, dims, t, strides);
}
static dnnl_status_t desc_any(owned_desc *d, dnnl_data_type_t t, const int64_t *dims) {
    return dnnl_memory_desc_create_with_tag(d, 2, dims, t, dnnl_format_tag_any);
}
static dnnl_status_t desc_copy(owned_desc *d, seen_desc from) { return dnnl_memory_desc_clone(d, from); }
static void desc_free(owned_desc *d) {
    if (*d) (void)dnnl_memory_desc_destroy(*d);
}
static dnnl_status_t matmul_description(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const owned_desc *x, const owned_desc *w, const owned_desc *y,
                                        const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, e, *x, *w, NULL, *y, attr);
}
#else
typedef dnnl_memory_desc_t owned_desc;
typedef const dnnl_memory_desc_t *seen_desc;
static seen_desc seen(const owned_desc *d) { return d; }
static dnnl_status_t desc_strided(owned_desc *d, dnnl_data_type_t t, const int64_t *dims, const int64_t *strides) {
    return dnnl_memory_desc_init_by_strides(d, 2, dims, t, strides);
}
static dnnl_status_t desc_any(owned_desc *d, dnnl_data_type_t t, const int64_t *dims) {
    return dnnl_memory_desc_init_by_tag(d, 2, dims, t, dnnl_format_tag_any);
}
static dnnl_status_t desc_copy(owned_desc *d, seen_desc from) { return *d = *from, dnnl_success; }
static void desc_free(owned_desc *d) { (void)d; }
static dnnl_status_t matmul_description(dnnl_primitive_desc_t *pd, dnnl_engine_t e, const owned_desc *x, const owned_desc *w, const owned_desc *y,
                                        const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t product;
    dnnl_status_t s = dnnl_matmul_desc_init(&product, x, w, NULL, y);
    return s == dnnl_success ? dnnl_primitive_desc_create(pd, &product, attr, e, NULL) : s;
}
#endif

static dnnl_engine_t engine(void) {
    static dnnl_engine_t only;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!only && dnnl_engine_create(&only, dnnl_cpu, 0) != dnnl_success) only = NULL;
    pthread_mutex_unlock(&lock);
    return only;
}
static dnnl_data_type_t type_of(rt_dtype half) { return half == RT_F16 ? dnnl_f16 : dnnl_bf16; }
static seen_desc desc_of(const rt_half_primitive *p, dnnl_query_t what) {
    return dnnl_primitive_desc_query_md((const_dnnl_primitive_desc_t)p->description, what, 0);
}
static size_t size_of(const rt_half_primitive *p, dnnl_query_t what) { return dnnl_memory_desc_get_size(desc_of(p, what)); }

static dnnl_status_t describe(rt_half_primitive *p, dnnl_data_type_t t, int64_t m, int64_t n, int64_t k, int64_t ld, const rt_half_primitive *like) {
    owned_desc x = {0}, w = {0}, y = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = desc_strided(&x, t, (dnnl_dims_t){m, k}, (dnnl_dims_t){k, 1});
    if (s == dnnl_success) s = like ? desc_copy(&w, desc_of(like, dnnl_query_weights_md)) : desc_any(&w, t, (dnnl_dims_t){k, n});
    if (s == dnnl_success) s = desc_strided(&y, dnnl_f32, (dnnl_dims_t){m, n}, (dnnl_dims_t){ld, 1});
    if (s == dnnl_success) s = dnnl_primitive_attr_create(&attr);
    if (s == dnnl_success) s = dnnl_primitive_attr_set_fpmath_mode(attr, dnnl_fpmath_mode_strict);
    if (s == dnnl_success) s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (s == dnnl_success) s = matmul_description((dnnl_primitive_desc_t *)&p->description, engine(), &x, &w, &y, attr);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    desc_free(&x), desc_free(&w), desc_free(&y);
    return s;
}
bool rt_half_primitive_make(rt_half_primitive *p, rt_dtype half, int64_t m, int64_t n, int64_t k, int64_t ld, const rt_half_primitive *like) {
    *p = (rt_half_primitive){0};
    if (!engine()) return false;
    int before = rt_solo_begin();
    dnnl_status_t s = describe(p, type_of(half), m, n, k, ld, like);
    if (s == dnnl_success) s = dnnl_primitive_create((dnnl_primitive_t *)&p->primitive, (const_dnnl_primitive_desc_t)p->description);
    rt_solo_end(before);
    if (s == dnnl_success) {
        p->panel_bytes = size_of(p, dnnl_query_weights_md);
        p->scratch_bytes = size_of(p, dnnl_query_scratchpad_md);
    }
    return s != dnnl_out_of_memory;
}
void rt_half_primitive_free(rt_half_primitive *p) {
    if (p->primitive) (void)dnnl_primitive_destroy(p->primitive);
    if (p->description) (void)dnnl_primitive_desc_destroy(p->description);
    *p = (rt_half_primitive){0};
}

/* Arguments as memory objects; execution copies none of their bytes. */
typedef struct argument {
    int name;
    seen_desc desc;
    const void *at;
} argument;
static dnnl_status_t execute(const_dnnl_primitive_t primitive, int count, const argument *given) {
    enum { MOST = 4 };
    dnnl_exec_arg_t args[MOST] = {{0}};
    dnnl_stream_t stream = NULL;
    dnnl_status_t s = dnnl_stream_create(&stream, engine(), dnnl_stream_default_flags);
    for (int i = 0; s == dnnl_success && i < count; i++) {
        args[i].arg = given[i].name;
        s = dnnl_memory_create(&args[i].memory, given[i].desc, engine(), (void *)(uintptr_t)given[i].at);
    }
    sigset_t mask = hold_signals();
    int before = rt_solo_begin();
    if (s == dnnl_success) s = dnnl_primitive_execute(primitive, stream, count, args);
    if (s == dnnl_success) s = dnnl_stream_wait(stream);
    rt_solo_end(before);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    for (int i = 0; i < count; i++)
        if (args[i].memory) (void)dnnl_memory_destroy(args[i].memory);
    if (stream) (void)dnnl_stream_destroy(stream);
    return s;
}
bool rt_half_primitive_run(const rt_half_primitive *p, const void *x, const void *panel, float *y, void *scratch) {
    argument all[] = {{DNNL_ARG_SRC, desc_of(p, dnnl_query_src_md), x}, {DNNL_ARG_WEIGHTS, desc_of(p, dnnl_query_weights_md), panel},
                      {DNNL_ARG_DST, desc_of(p, dnnl_query_dst_md), y}, {DNNL_ARG_SCRATCHPAD, desc_of(p, dnnl_query_scratchpad_md), scratch}};
    return execute(p->primitive, 4, all) == dnnl_success;
}
/* A reorder from W as it lies, [k,n] with k running fastest. */
bool rt_half_primitive_pack(const rt_half_primitive *p, rt_dtype half, int64_t n, int64_t k, const void *w, void *panel) {
    owned_desc natural = {0};
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t reorder = NULL;
    seen_desc packed = desc_of(p, dnnl_query_weights_md);
    int before = rt_solo_begin();
    dnnl_status_t s = desc_strided(&natural, type_of(half), (dnnl_dims_t){k, n}, (dnnl_dims_t){1, k});
    if (s == dnnl_success) s = dnnl_reorder_primitive_desc_create(&description, seen(&natural), engine(), packed, engine(), NULL);
    if (s == dnnl_success) s = dnnl_primitive_create(&reorder, description);
    rt_solo_end(before);
    if (s == dnnl_success) s = execute(reorder, 2, (argument[]){{DNNL_ARG_FROM, seen(&natural), w}, {DNNL_ARG_TO, packed, panel}});
    if (reorder) (void)dnnl_primitive_destroy(reorder);
    if (description) (void)dnnl_primitive_desc_destroy(description);
    desc_free(&natural);
    return s == dnnl_success;
}
#else
typedef int rt_no_onednn; /* gemm.c has the f32 products */
#endif
