/* phases.h - wall time of what a run does outside its tapes, where a profile wants it. */
#ifndef RETORT_TRAIN_PHASES_H
#define RETORT_TRAIN_PHASES_H

typedef enum rt_phase {
    RT_PHASE_LOADER,     /* making the batches of a step */
    RT_PHASE_MEASURES,   /* sums of losses, router health, coherence */
    RT_PHASE_AFTER,      /* averages, router state, the projector's step */
    RT_PHASE_LOG,
    RT_PHASE_EVALUATION,
    RT_PHASE_CHECKPOINT,
    RT_PHASE_COUNT
} rt_phase;
typedef struct rt_phases {
    double seconds[RT_PHASE_COUNT];
    int calls[RT_PHASE_COUNT];
} rt_phases;

/* double at = rt_phase_begin(p);  ...  rt_phase_end(p, RT_PHASE_LOADER, at);   p NULL: nothing is measured */
double rt_phase_begin(const rt_phases *p);
void rt_phase_end(rt_phases *p, rt_phase phase, double since);
#endif
