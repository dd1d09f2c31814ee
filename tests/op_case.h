/* op_case.h - one row of the operations' case table. Each row goes through five oracles (test_ops.c):
 * exact (small integers, bit-equal to the f64 reference), reference (every contract), gradient (five-point differences in
 * f64), refusal (every wrong dtype and shape), repeat (same bits twice, 1..3 threads, chained or not, recomputed or not).
 *
 * A file tests/op_cases_<group>.c defines an array and lists it in op_cases.def with RT_CASES(<group>). */
#ifndef RT_TESTS_OP_CASE_H
#define RT_TESTS_OP_CASE_H
#include "harness.h"
#include <retort/graph/op.h>
#include <retort/ops/ops.h>

typedef enum op_role {
    OP_END,
    OP_IN,      /* dtype prec.in */
    OP_OUT,     /* dtype prec.out (residuals) */
    OP_WEIGHT,  /* dtype prec.weight */
    OP_GATE,    /* dtype prec.acc, differentiated (routing weights) */
    OP_ACC,     /* dtype prec.acc, not differentiated (rope tables) */
    OP_INTEGER, /* i32, filled by the case */
} op_role;

typedef struct op_operand {
    op_role role;
    int ndim;
    int64_t dim[4];
    double scale, shift; /* N(shift, scale); scale 0 means 1 */
    void (*fill)(rt_tensor *t); /* instead of random numbers (gets an f64 or i32 tensor) */
    bool fixed;                 /* has no gradient */
} op_operand;

enum { OP_CASE_OUTS = RT_MAX_OUT };
typedef struct op_case {
    const char *name; /* "linear/residual": the part before '/' is the operation */
    op_operand in[RT_MAX_IN];
    /* Builds the node(s); writes the outputs to compare into outs (null-terminated by null references). */
    void (*build)(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs);
    /* The formula, in f64: in[] as f64 (i32 for integers), out[k].data zeroed f64 of the output's shape. */
    void (*reference)(const rt_tensor *in, rt_tensor *out);
    const rt_prec *precs; /* ends with {0}; NULL: op_all_precs */
    double tolerance;     /* of f32 against the reference, relative to the largest element; 0 = 2e-6 */
    bool integers_differ; /* the operation is not exact on small integers: no exact oracle */
    bool no_gradient;
    bool fixed_shapes;    /* wrong shapes cannot be told apart (no shape refusals) */
} op_case;

extern const rt_prec op_all_precs[];    /* weights: f64, f32, mixed and half storage */
extern const rt_prec op_row_precs[];    /* no weights */
extern const rt_prec op_f32_precs[];    /* f64 and f32 only */
#define OP_PREC(in, w, acc, out, grad) {RT_##in, RT_##w, RT_##acc, RT_##out, RT_##grad}

/* Indexing for references: row i, column j of an f64 matrix. */
#define AT(t, i, j) (((double *)(t)->data)[(i) * (t)->dim[1] + (j)])
#endif
