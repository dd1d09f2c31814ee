/* expert_weights.h - the matrices of experts as the products of `experts` read them: pieces of one stacked tensor, or of a
 * bank, where they lie as in the model's files. */
#ifndef RETORT_OPS_EXPERT_WEIGHTS_H
#define RETORT_OPS_EXPERT_WEIGHTS_H
#include <retort/tensor/bank.h>

typedef struct rt_expert_matrix {
    rt_dtype dtype;
    int64_t rows, columns;
    rt_piece at; /* halves in any form; other types always one block, not transposed */
} rt_expert_matrix;

/* Piece e of w [E, rows, columns]; where it comes from a bank (pieces not NULL) it must be present. */
rt_expert_matrix rt_expert_matrix_of(const rt_tensor *w, const rt_pieces *pieces, int64_t e);
/* Rows [row, row + rows) and columns [column, column + columns) of a matrix of halves, as f32 [rows, columns]: exact, and so
 * the same bits however the matrix lies. */
void rt_expert_panel(const rt_expert_matrix *w, int64_t row, int64_t column, int64_t rows, int64_t columns, float *panel);
#endif
