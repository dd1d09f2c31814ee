/* stacked.c - see stacked.h. */
#include "stacked.h"
#include "harness.h"
#include <retort/base/mem.h>
#include <string.h>

static const void *element(const rt_piece *p, int64_t rows, int64_t columns, int64_t r, int64_t c, size_t size) {
    int64_t half = p->block[1] ? rows / 2 : rows, below = r >= half;
    int64_t i = p->transposed ? c * rows + r : (r - below * half) * columns + c;
    return (const char *)p->block[below] + (size_t)i * size;
}

rt_tensor stacked_pieces(const rt_tensor *shape, const rt_pieces *pieces) {
    rt_error err = {0};
    rt_tensor t = *shape;
    int64_t rows = t.dim[1], columns = t.dim[2], taken;
    size_t size = rt_dtype_size(t.dtype);
    char *to = t.data = rt_zalloc(rt_tensor_bytes(&t));
    for (int64_t e = 0; e < t.dim[0]; e++) {
        RT_OK_OR_FAIL(rt_bank_acquire(pieces->bank, pieces->first, (int32_t[]){(int32_t)e}, 1, &taken, &err));
        rt_piece p = rt_bank_piece(pieces->bank, pieces->first + e, pieces->part);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++, to += size) memcpy(to, element(&p, rows, columns, r, c, size), size);
    }
    return t;
}
