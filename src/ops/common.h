/* common.h - what operations share: rows of any storage type seen in the compute type T, and the choice of T.
 *
 * An operation's body is written once for T (float or double, kernels/for_each_type.h). Storage types other than T are
 * converted a tile at a time: exact on the way in, one rounding on the way out. */
#ifndef T
#ifndef RT_OPS_COMMON_H
#define RT_OPS_COMMON_H
#include <retort/base/threads.h>
#include <retort/graph/op.h>
#include "kernels/contract.h"
#include "kernels/convert.h"
#include "kernels/matmul.h"
#include "kernels/rounded.h"
#include "kernels/rows.h"
#include <string.h>

enum { RT_ROWS_MAX = 256, RT_ROWS_HOT = 8 }; /* forward_rows never gets more rows than the first */
/* Row loops go through a tile in steps of RT_ROWS_HOT rows, so that what they convert stays in the first cache. */
#define RT_HOT_ROWS(r, r0, r1) int64_t r = (r0); r < (r1); r += RT_ROWS_HOT
static inline int64_t rt_hot_end(int64_t r, int64_t r1) { return r + RT_ROWS_HOT < r1 ? r + RT_ROWS_HOT : r1; }
/* Calls name_f64 or name_f32 by the contract's accumulator. */
#define RT_BY_TYPE(call, name, ...) ((call)->node->prec.acc == RT_F64 ? name##_f64(__VA_ARGS__) : name##_f32(__VA_ARGS__))

static inline size_t rt_align64(size_t bytes) { return (bytes + 63) / 64 * 64; }
static inline int64_t rt_columns(const rt_tensor *t) { return t->ndim > 1 ? rt_tensor_count(t) / t->dim[0] : 1; }
static inline void *rt_row_ptr(const rt_tensor *t, int64_t row) {
    return (char *)t->data + (size_t)(row * rt_columns(t)) * rt_dtype_size(t->dtype);
}
static inline size_t rt_compute_size(const rt_node *n) { return n->prec.acc == RT_F64 ? 8 : 4; }
/* Bytes of scratch to see a tile of this tensor in the compute type (0 when it is stored in it). */
static inline size_t rt_tile_scratch(const rt_node *n, const rt_tensor *t) {
    return t->dtype == n->prec.acc ? 0 : rt_align64((size_t)(RT_ROWS_MAX * rt_columns(t)) * rt_compute_size(n));
}
/* Takes `bytes` from a worker's scratch. */
static inline void *rt_take(char **scratch, size_t bytes) {
    void *p = *scratch;
    *scratch += rt_align64(bytes);
    return p;
}
#define RT_FEW_KERNEL "few rows, weights as they lie"
/* The contract exists (exactly), and its kernel's name goes into listings. */
rt_status rt_infer_contract(rt_graph *g, rt_node *n);
void rt_call_overflow(const rt_call *c, const rt_tensor *t);
/* din[k] += s (= s when fresh), element by element, in parallel; both in the gradient's type. */
void rt_add_gradient(const rt_call *c, int k, const rt_tensor *s);
static inline bool rt_is_fresh(const rt_call *c, int k) { return (c->fresh & RT_IN(k)) != 0; }

static inline bool rt_round_f32(rt_dtype to, float *x, int64_t n) { return rt_round_rows(to, x, n); }
static inline bool rt_round_f64(rt_dtype to, double *x, int64_t n) { return (void)to, (void)x, (void)n, false; }

#define RT_BODY "ops/common.h"
#include "kernels/for_each_type.h"
#endif
#else
/* Rows r0..r0+n as T: in place when stored so, else converted into scratch taken from *s. */
static inline const T *F(rt_tile_in)(const rt_tensor *t, int64_t r0, int64_t n, char **s) {
    if (t->dtype == RT_T) return rt_row_ptr(t, r0);
    int64_t columns = rt_columns(t);
    T *buffer = rt_take(s, (size_t)(n * columns) * sizeof(T));
    F(rt_rows_load)(t->dtype, rt_row_ptr(t, r0), buffer, n * columns);
    return buffer;
}
/* The one rounding of an output: to its dtype, or in place to prec.out where the value stays in T inside a chain (`from` may be `to`). */
static inline bool F(rt_store)(const rt_call *c, const rt_tensor *t, const T *from, void *to, int64_t n) {
    if (t->dtype != RT_T || t->dtype == c->node->prec.out) return from != to && F(rt_rows_store)(t->dtype, from, to, n);
    if (from != to) memcpy(to, from, (size_t)n * sizeof(T));
    return F(rt_round)(c->node->prec.out, to, n);
}
/* Rounds the columns of all parts in place. */
static inline bool F(rt_columns_round)(const rt_columns_made *made, int64_t parts) {
    bool overflow = false;
    for (int64_t r = made->r0; r < made->r1; r++) overflow |= F(rt_round)(made->dtype, (T *)made->x + (r - made->r0) * made->ld, parts * made->n);
    return overflow;
}
/* Where to put rows r0.. of the output; rt_tile_done rounds them into place if need be. */
static inline T *F(rt_tile_out)(const rt_tensor *t, int64_t r0, int64_t n, char **s) {
    return t->dtype == RT_T ? rt_row_ptr(t, r0) : rt_take(s, (size_t)(n * rt_columns(t)) * sizeof(T));
}
static inline void F(rt_tile_done)(const rt_call *c, const rt_tensor *t, int64_t r0, int64_t n, const T *rows) {
    if (F(rt_store)(c, t, rows, rt_row_ptr(t, r0), n * rt_columns(t))) rt_call_overflow(c, t);
}
#endif
