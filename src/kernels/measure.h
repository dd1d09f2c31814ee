/* measure.h - what this machine reaches, for `retort doctor` and the benchmarks. Returns numbers, prints nothing.
 *
 * Rates are medians of 5 after a warm-up. Two product rates, because the first is the usual yardstick and the second is
 * what the library's own products (padded panels) can reach: a role may show more than 100 % of the first. */
#ifndef RETORT_KERNELS_MEASURE_H
#define RETORT_KERNELS_MEASURE_H
#include <retort/base/status.h>
#include <retort/tensor/dtype.h>
#include <stdbool.h>

/* Products 2048x1408x512 and 2048x8192x256 in tiles of 256x512 on all threads, weights [out,in] ('N','T'): GFLOP/s. */
rt_status rt_measure_product_rate(double *gflops, rt_error *err) RT_NODISCARD;
/* The same through panels [in,out] with padded rows ('N','N'). */
rt_status rt_measure_panel_rate(double *gflops, rt_error *err) RT_NODISCARD;
/* The same arithmetic by half instructions (half.h), 2048x2048x512 on packed panels; 0 where there are none. */
rt_status rt_measure_half_rate(rt_dtype half, double *gflops, rt_error *err) RT_NODISCARD;
/* f64 products of 512x512x512 on all threads. */
rt_status rt_measure_f64_rate(double *gflops, rt_error *err) RT_NODISCARD;
/* Independent f32 multiply-adds on one core at the chosen ISA level: GFLOP/s. */
double rt_measure_fma_peak(void);
/* Copying 64 MiB blocks on all threads: bytes read + bytes written, GB/s. */
rt_status rt_measure_copy_rate(double *gbytes, rt_error *err) RT_NODISCARD;
/* From now on the rates are what the threads would reach had they a processor each to themselves: work a second of processor time,
 * times the threads. Beside other programs that is what can be compared. */
void rt_measure_by_processor(bool yes);
/* Exponentials of rows that lie in the first cache, on all threads: 1e9 a second. */
rt_status rt_measure_exp_rate(double *gexps, rt_error *err) RT_NODISCARD;
/* Seconds that a parallel loop without work takes: what every step of a plan takes at least. */
double rt_measure_region(void);
#endif
