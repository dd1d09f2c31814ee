/* pool.h - the threads under rt_parallel. */
#ifndef RT_BASE_POOL_H
#define RT_BASE_POOL_H
#include <retort/base/threads.h>

/* Runs tasks 0..tasks-1 on n threads, the caller being worker 0; returns when all are done. Starts threads as needed (fewer
 * when the system grants fewer). Not from two threads at once, not nested. */
void rt_pool_run(int n, int64_t tasks, rt_task_fn fn, void *context);
/* Between two looks at what another thread will change: pauses, and after many tries gives the processor away. *tries starts at 0. */
void rt_pool_relax(int *tries);
void rt_pool_stop(void); /* ends the threads; the next run starts them again */
#endif
