/* projector_private.h - the inside of a projector, shared by its files: weights (projector.c), closed-form start
 * (projector_fit.c), state (projector_state.c), plans (projection.c). */
#ifndef RT_TRAIN_PROJECTOR_PRIVATE_H
#define RT_TRAIN_PROJECTOR_PRIVATE_H
#include <retort/train/projector.h>

enum { RT_PROJECTOR_W, RT_PROJECTOR_B, RT_PROJECTOR_PARTS };

/* W or b. The f32 arrays are NULL without an optimizer. */
typedef struct rt_projector_part {
    const char *name;
    rt_tensor value;              /* in the projector's dtype */
    rt_tensor grad, master, m, v; /* f32 */
} rt_projector_part;

struct rt_projector {
    int kind;
    rt_dtype dtype; /* of W, b and the cast E_s; RT_NONE with shared */
    int64_t vocab;
    rt_tensor teacher_matrix, student_matrix; /* borrowed views: E_t [V',D_t], E_s [V',D_s] as they are stored */
    rt_prec teacher_prec;                     /* the contract of teacher hidden x E_t */
    rt_graph *cast;                           /* E_s in the projector's dtype; NULL where nothing is to be converted */
    rt_tensor matrix;                         /* what a head multiplies with: E_t, E_s, or the cast E_s */
    rt_projector_part part[RT_PROJECTOR_PARTS];
    bool trained, sketch;
    rt_optim *optim; /* NULL in a sketch */
    void *block;     /* all arrays of the parts */
    size_t bytes;    /* of the block, also where a sketch has none */
    rt_workspace *space;
};
#endif
