/* lapack.h - linear systems in f64 by LAPACK: used where a start is solved in closed form, never in a training step.
 *
 * LAPACK is OpenBLAS', whose products differ between processors (doctor names its kernels): the bits of a solution are
 * those of one kind of machine. They do not depend on the number of threads, since it runs on the calling thread alone.
 */
#ifndef RETORT_KERNELS_LAPACK_H
#define RETORT_KERNELS_LAPACK_H
#include <retort/base/status.h>
#include <stdint.h>

/* Solves A x = b for `count` right-hand sides by Cholesky, A = L L^T. A [n,n] symmetric positive definite: its lower
 * triangle is read and overwritten by L. Right-hand sides are the rows of B [count,n], overwritten by their solutions.
 * RT_E_NUMERIC: A is not positive definite (or holds no finite numbers); the text names the first row at which it
 * shows. */
rt_status rt_solve_spd_f64(double *A, int64_t n, double *B, int64_t count, rt_error *err) RT_NODISCARD;
#endif
