/* gemm_onednn.c - f32 products through oneDNN: the one file that sees its header.
 *
 * dnnl_sgemm is a plain C call in versions 2 and 3; the primitives, whose API changed, are not needed for it. It cuts
 * work by the number of threads, hence rt_solo. A failure it could report (bad arguments) would be our bug.
 *
 * Only its AVX-512 kernels give a row the same bits whatever rows are beside it. Those for AVX2 do not (2.6.3, set to them: 2605
 * rows of the suite row_invariance differ), so processors without AVX-512 get our own products: decisions.md, 2. */
#ifdef RT_ONEDNN
#include "kernels/gemm.h"
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
    if (!known) known = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core ? 1 : 2;
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
#else
typedef int rt_no_onednn; /* gemm.c has the f32 products */
#endif
