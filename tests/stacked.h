/* stacked.h - the pieces of a bank as the one tensor that a trained model has. */
#ifndef RT_TESTS_STACKED_H
#define RT_TESTS_STACKED_H
#include <retort/tensor/bank.h>

/* [E, rows, columns] in the shape's dtype, element by element from wherever the pieces lie; data to be freed with rt_free. */
rt_tensor stacked_pieces(const rt_tensor *shape, const rt_pieces *pieces);
#endif
