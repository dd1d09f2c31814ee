/* precision.h - the precision policy of a model: for each role, the dtype weights are stored in and the dtype activations are
 * stored in. Data, resolved once; printed by `retort show precision`, logged, stored in every checkpoint.
 *
 * Accumulators and gradients are f32 (f64 where everything is f64). Logits of router and vocabulary stay f32. Where two
 * roles disagree the model inserts an operation named cast, visible on the tape; nothing else converts (architecture.md, 4). */
#ifndef RETORT_MODEL_PRECISION_H
#define RETORT_MODEL_PRECISION_H
#include <retort/base/mem.h>
#include <retort/tensor/dtype.h>

/*      role        what it covers */
#define RT_ROLE_LIST(X)                                                                                                \
    X(embedding, "token table and its output")                                                                         \
    X(residual, "the residual stream; outputs of attention output and of the feed-forward part")                       \
    X(norm, "norm weights and outputs")                                                                                \
    X(attention, "q, k, v, o weights; their outputs, rope, attention")                                                 \
    X(router, "router weights and input; logits are f32")                                                              \
    X(expert, "feed-forward weights (dense or experts) and hidden activations")                                        \
    X(head, "output matrix and its input; logits are f32")
typedef enum rt_role {
#define X(name, doc) rt_role_##name,
    RT_ROLE_LIST(X)
#undef X
        RT_ROLE_COUNT
} rt_role;
const char *rt_role_name(rt_role r);
const char *rt_role_doc(rt_role r);
bool rt_role_find(const char *name, rt_role *r);
const char *const *rt_role_names(void); /* NULL-terminated */

typedef struct rt_precision {
    rt_dtype weight[RT_ROLE_COUNT], act[RT_ROLE_COUNT];
} rt_precision;

/* One dtype for everything; the router of a student stays f32 (decisions.md, 8). f64 makes a reference model. */
rt_precision rt_precision_student(rt_dtype t);
/* Teachers and plain directories: weights in the file's dtype t; native: activations in t too; else f32 over half weights. */
rt_precision rt_precision_teacher(rt_dtype t, bool native);
bool rt_precision_equal(const rt_precision *a, const rt_precision *b);
/* The contract of a product of a role: in, weight -> out. */
rt_prec rt_role_prec(const rt_precision *p, rt_role r, rt_dtype in, rt_dtype out);
/* "embedding f16/f16 residual f16/f16 ..." and back (weight/activation): what checkpoints store. */
void rt_precision_text(const rt_precision *p, rt_buf *out);
rt_status rt_precision_parse(const char *text, rt_precision *p, rt_error *err) RT_NODISCARD;
/* One line a role: name, weight dtype, activation dtype, accumulator, what it covers. */
void rt_precision_table(const rt_precision *p, rt_buf *out);
#endif
