/* phases.c - see phases.h. */
#include <retort/train/phases.h>
#include <stddef.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double rt_phase_begin(const rt_phases *p) { return p ? now() : 0; }
void rt_phase_end(rt_phases *p, rt_phase phase, double since) {
    if (!p) return;
    p->seconds[phase] += now() - since;
    p->calls[phase]++;
}
