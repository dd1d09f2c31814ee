/* projector_fit.c - the closed-form start of a factored projector.
 *
 * W h must make E_s (W h) = E_t h for every h, so W = argmin ||E_s W - E_t||_F^2 + lambda ||W||_F^2 over the rows < V:
 *     (E_s^T E_s + lambda I) W = E_s^T E_t         ridge regression, Hoerl & Kennard 1970, eq. 2.1
 * Sums over V in f64, block by block in order; the products are cut by the data, so bits do not depend on threads. */
#include "train/projector_private.h"
#include "kernels/convert.h"
#include "kernels/lapack.h"
#include "kernels/matmul.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { ROWS = 512 }; /* of E_s and E_t seen in f64 at a time */

typedef struct ridge {
    int64_t D_s, D_t;
    double *gram;              /* [D_s,D_s] E_s^T E_s + lambda I */
    double *cross;             /* [D_t,D_s] E_t^T E_s, whose rows are right-hand sides; then W^T */
    double *student, *teacher; /* [ROWS,D_s], [ROWS,D_t] */
    void *block;
} ridge;

static size_t ridge_bytes(const rt_projector *p) {
    size_t s = (size_t)p->student_matrix.dim[1], t = (size_t)p->teacher_matrix.dim[1];
    return (s * s + t * s + ROWS * (s + t)) * sizeof(double);
}
int64_t rt_projector_fit_bytes(const rt_projector *p) { return p->kind == RT_PROJECTOR_SHARED ? 0 : (int64_t)ridge_bytes(p); }

static rt_status allocate(ridge *r, const rt_projector *p, rt_error *err) {
    r->D_s = p->student_matrix.dim[1], r->D_t = p->teacher_matrix.dim[1];
    size_t s = (size_t)r->D_s, t = (size_t)r->D_t, bytes = ridge_bytes(p);
    if (!(r->block = rt_zalloc(bytes)))
        return rt_fail(err, RT_E_NOMEM, "projector: out of memory: %zu bytes for its closed-form start", bytes);
    r->gram = r->block;
    r->cross = r->gram + s * s;
    r->student = r->cross + t * s;
    r->teacher = r->student + ROWS * s;
    return RT_OK;
}

static void load(const rt_tensor *E, int64_t row, int64_t n, double *to) {
    int64_t D = E->dim[1];
    rt_rows_load_f64(E->dtype, (const char *)E->data + (size_t)(row * D) * rt_dtype_size(E->dtype), to, n * D);
}

static void normal_equations(ridge *r, const rt_projector *p, double lambda) {
    int64_t s = r->D_s, t = r->D_t;
    for (int64_t row = 0, n; row < p->vocab; row += n) {
        n = p->vocab - row < ROWS ? p->vocab - row : ROWS;
        load(&p->student_matrix, row, n, r->student);
        load(&p->teacher_matrix, row, n, r->teacher);
        rt_product_f64 gram = {n, s, s, r->student, s, r->student, s, r->gram, s, true};
        rt_product_f64 cross = {n, t, s, r->student, s, r->teacher, t, r->cross, s, true};
        rt_weights_product_f64(&gram);
        rt_weights_product_f64(&cross);
    }
    for (int64_t i = 0; i < s; i++) r->gram[i * s + i] += lambda;
}

static double largest(rt_dtype t) { return t == RT_F16 ? 65504 : t == RT_BF16 ? 0x1.fep127 : (double)FLT_MAX; }

/* The solution into the f32 masters, from which W and b are rounded like after any step. */
static rt_status store(rt_projector *p, const ridge *r, rt_error *err) {
    rt_projector_part *w = &p->part[RT_PROJECTOR_W], *b = &p->part[RT_PROJECTOR_B];
    for (int64_t i = 0; i < r->D_s * r->D_t; i++)
        if (!(fabs(r->cross[i]) <= largest(p->dtype)))
            return rt_fail(err, RT_E_NUMERIC,
                           "projector: its closed-form start holds %g, beyond %s: raise projector.lambda", r->cross[i],
                           rt_dtype_name(p->dtype));
    for (int64_t i = 0; i < r->D_s; i++)
        for (int64_t j = 0; j < r->D_t; j++)
            ((float *)w->master.data)[i * r->D_t + j] = (float)r->cross[j * r->D_s + i];
    memset(b->master.data, 0, rt_tensor_bytes(&b->master));
    for (int i = 0; i < RT_PROJECTOR_PARTS; i++) {
        memset(p->part[i].m.data, 0, rt_tensor_bytes(&p->part[i].m));
        memset(p->part[i].v.data, 0, rt_tensor_bytes(&p->part[i].v));
        memset(p->part[i].grad.data, 0, rt_tensor_bytes(&p->part[i].grad));
    }
    rt_optim_set_steps(p->optim, 0);
    rt_optim_refresh(p->optim);
    return RT_OK;
}

static rt_status fit(ridge *r, rt_projector *p, double lambda, rt_error *err) {
    RT_TRY(allocate(r, p, err));
    normal_equations(r, p, lambda);
    if (rt_solve_spd_f64(r->gram, r->D_s, r->cross, r->D_t, err) != RT_OK)
        return rt_error_prefix(err, "projector: the closed-form start with lambda %g", lambda);
    return store(p, r, err);
}

rt_status rt_projector_fit(rt_projector *p, double lambda, rt_error *err) {
    if (p->kind == RT_PROJECTOR_SHARED) return RT_OK;
    if (!p->optim) return rt_fail(err, RT_E_ARG, "projector: opened for evaluation, it cannot be fitted");
    if (!(lambda >= 0) || !isfinite(lambda))
        return rt_fail(err, RT_E_ARG, "projector.lambda: found %g, expected a number >= 0", lambda);
    ridge r = {0};
    rt_status s = fit(&r, p, lambda, err);
    rt_free(r.block);
    return s;
}
