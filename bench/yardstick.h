/* yardstick.h - the product rate by processor time: what a processor second makes of the products of rt_measure_product_rate.
 *
 * On a machine that others use, time on the wall says how much of it one got; processor time hardly changes. */
#ifndef BENCH_YARDSTICK_H
#define BENCH_YARDSTICK_H
#include <retort/base/status.h>

/* GFLOP a processor second (so, of one core). Holds 76 MiB from the first call to the end of the program. */
rt_status bench_product_cpu(double *gflops, rt_error *err) RT_NODISCARD;
#endif
