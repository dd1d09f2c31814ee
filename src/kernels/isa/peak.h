/* peak.h - see peak.c. Runs `rounds` bursts, adds into sink [8 * 64], returns the floating-point operations done. */
#ifndef RETORT_KERNELS_ISA_PEAK_H
#define RETORT_KERNELS_ISA_PEAK_H
#include <stdint.h>
typedef double (*rt_peak_kernel)(int64_t rounds, float *sink);
#endif
