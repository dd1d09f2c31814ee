/* threads.h - parallel loops over tasks, and scratch memory per worker.
 *
 * Sums are cut by the data alone, never by the number of threads, and a task is run by one thread: so results have the
 * same bits for any thread count. Tasks are handed out in index order (put the largest first). No nesting. */
#ifndef RETORT_BASE_THREADS_H
#define RETORT_BASE_THREADS_H
#include <retort/base/status.h>
#include <stdint.h>

typedef void (*rt_task_fn)(void *context, int64_t task, int worker);

int rt_threads(void);           /* number of workers, >= 1 */
void rt_threads_set(int count); /* 0 = all cores the process may use */
void rt_parallel(int64_t tasks, rt_task_fn fn, void *context);
/* memset by all threads, 2 MiB a task. Memory that is touched for the first time thus comes from the NUMA nodes of all of them, as
 * tasks, which any thread may run, will want it. Not inside a task. */
void rt_parallel_fill(void *memory, int byte, size_t bytes);
/* Around a call of a library that threads by OpenMP, so that it runs on the calling thread alone, in a task or outside:
 *     int before = rt_solo_begin();  dnnl_sgemm(...);  rt_solo_end(before); */
int rt_solo_begin(void);
void rt_solo_end(int before);

/* Scratch: at least `bytes` for every worker from now on (grows, never shrinks; kept until rt_scratch_release).
 * rt_scratch(worker) is 64-byte aligned and uninitialised. */
rt_status rt_scratch_reserve(size_t bytes, rt_error *err) RT_NODISCARD;
void *rt_scratch(int worker);
size_t rt_scratch_bytes(void);
void rt_scratch_release(void);
#endif
