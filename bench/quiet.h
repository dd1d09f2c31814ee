/* quiet.h - what the operating system tells: a clock, the processors' other users, memory (Linux); and the median. */
#ifndef BENCH_QUIET_H
#define BENCH_QUIET_H

double bench_now(void);                 /* seconds */
double bench_median(double *x, int n);  /* sorts x */
/* Processor seconds of all others since the machine started (steal included), to a hundredth: take it before and after. */
double bench_others(void);
double bench_own(void);                 /* processor seconds of this process */
double bench_peak_mib(void);            /* VmHWM: since the start, or since the last reset */
void bench_peak_reset(void);            /* where the kernel grants it */
#endif
