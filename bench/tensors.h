/* tensors.h - filled tensors, and a loss that costs next to nothing, for benches of single operations. */
#ifndef BENCH_TENSORS_H
#define BENCH_TENSORS_H
#include <retort/graph/graph.h>

/* Uniform in [-scale, scale], rounded to the dtype; scale 0: zeros. data NULL when out of memory; rt_free(t.data). */
rt_tensor bench_tensor(rt_dtype t, int ndim, const int64_t *dim, double scale);
rt_status bench_filled(const rt_tensor *t, int n, rt_error *err) RT_NODISCARD; /* all have memory */

/* Makes x (f32) an objective whose gradient is 0.01 everywhere; gain must outlive the graph. */
void bench_loss(rt_graph *g, rt_ref x, const double *gain);
#endif
