/* openblas.c - OpenBLAS itself, which stands under LAPACK: what `retort doctor` says of it, and its threads. The one file that
 * sees <cblas.h>, which drags in <complex.h>, whose macro `I` breaks code. */
#include "kernels/gemm.h"
#include <cblas.h>

const char *rt_openblas_core(void) { return openblas_get_corename(); }
const char *rt_openblas_config(void) { return openblas_get_config(); }
void rt_openblas_solo(void) { openblas_set_num_threads(1); }
