/* expert_weights.c - see expert_weights.h. */
#include "ops/expert_weights.h"
#include "kernels/convert.h"

rt_expert_matrix rt_expert_matrix_of(const rt_tensor *w, const rt_pieces *p, int64_t e) {
    rt_expert_matrix m = {w->dtype, w->dim[1], w->dim[2], {{NULL, NULL}, false}};
    if (p) m.at = rt_bank_piece(p->bank, p->first + e, p->part);
    else m.at.block[0] = (const char *)w->data + (size_t)(e * m.rows * m.columns) * rt_dtype_size(w->dtype);
    return m;
}

void rt_expert_panel(const rt_expert_matrix *w, int64_t row, int64_t column, int64_t rows, int64_t columns, float *panel) {
    size_t size = rt_dtype_size(w->dtype);
    int64_t half = w->at.block[1] ? w->rows / 2 : w->rows;
    if (w->at.transposed) {
        rt_panel_from_natural(w->dtype, (const char *)w->at.block[0] + (size_t)(column * w->rows + row) * size, w->rows, columns, rows, panel, columns);
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t below = row + r >= half, i = row + r - below * half;
        rt_rows_load_f32(w->dtype, (const char *)w->at.block[below] + (size_t)(i * w->columns + column) * size, panel + r * columns, columns);
    }
}
