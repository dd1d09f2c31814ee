/* lapack.c - the one file that sees <lapacke.h> (which brings <complex.h> and its macro `I`).
 *
 * Our rows are LAPACK's columns, so A's lower triangle is its upper one and each right-hand side is a column as it
 * lies: the _work calls then neither transpose nor allocate. Golub & Van Loan, Matrix Computations, 4.2. */
#include "kernels/lapack.h"
#include "kernels/gemm.h"
#include <retort/base/threads.h>
#include <lapacke.h>
#include <math.h>

static rt_status factor(double *A, lapack_int n, rt_error *err) {
    lapack_int info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', n, A, n);
    if (info > 0)
        return rt_fail(err, RT_E_NUMERIC,
                       "a matrix of %lld rows is not positive definite: its leading block of %lld rows is not",
                       (long long)n, (long long)info);
    return info == 0 ? RT_OK : rt_fail(err, RT_E_ARG, "dpotrf refuses argument %lld", -(long long)info);
}

/* A factor may exist and hold NaN or infinity: comparisons with them are false everywhere. */
static rt_status check_diagonal(const double *A, int64_t n, rt_error *err) {
    for (int64_t i = 0; i < n; i++)
        if (!(A[i * n + i] > 0) || !isfinite(A[i * n + i]))
            return rt_fail(err, RT_E_NUMERIC, "a matrix of %lld rows is not positive definite: pivot %lld is %g",
                           (long long)n, (long long)i + 1, A[i * n + i]);
    return RT_OK;
}

static rt_status solve(double *A, lapack_int n, double *B, lapack_int count, rt_error *err) {
    RT_TRY(factor(A, n, err));
    RT_TRY(check_diagonal(A, n, err));
    lapack_int info = LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'U', n, count, A, n, B, n);
    return info == 0 ? RT_OK : rt_fail(err, RT_E_ARG, "dpotrs refuses argument %lld", -(long long)info);
}

rt_status rt_solve_spd_f64(double *A, int64_t n, double *B, int64_t count, rt_error *err) {
    if (n < 1 || count < 0 || n > INT32_MAX || count > INT32_MAX)
        return rt_fail(err, RT_E_ARG, "a system of %lld rows with %lld right-hand sides", (long long)n,
                       (long long)count);
    if (count == 0) return RT_OK;
    int before = rt_solo_begin();
    rt_openblas_solo();
    rt_status s = solve(A, (lapack_int)n, B, (lapack_int)count, err);
    rt_solo_end(before);
    return s;
}
