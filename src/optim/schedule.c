/* schedule.c - see schedule.h for the formulas. */
#include <retort/optim/schedule.h>
#include <math.h>
#include <stddef.h>

const char *const rt_schedule_names[] = {"constant", "linear", "cosine", "wsd", NULL};

static double clamp(double t) { return t < 0 ? 0 : t > 1 ? 1 : t; }

double rt_schedule_factor(const rt_schedule *s, int64_t step) {
    if (step < s->warmup) return (double)(step + 1) / (double)s->warmup;
    int64_t span = s->steps > s->warmup ? s->steps - s->warmup : 1;
    double t = clamp((double)(step - s->warmup) / (double)span);
    switch ((rt_schedule_kind)s->kind) {
    case RT_SCHEDULE_CONSTANT: return 1;
    case RT_SCHEDULE_LINEAR: return 1 - (1 - s->final) * t;
    case RT_SCHEDULE_COSINE: return s->final + (1 - s->final) * (1 + cos(3.14159265358979323846 * t)) / 2;
    case RT_SCHEDULE_WSD: return s->decay > 0 ? 1 - (1 - s->final) * clamp((t - (1 - s->decay)) / s->decay) : 1;
    }
    return 1;
}

double rt_schedule_between(int kind, double start, double end, int64_t step, int64_t steps) {
    rt_schedule s = {.kind = kind, .steps = steps, .decay = 1};
    return end + (start - end) * rt_schedule_factor(&s, step);
}
