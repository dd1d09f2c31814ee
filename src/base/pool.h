/* pool.h - the threads under rt_parallel. */
#ifndef RT_BASE_POOL_H
#define RT_BASE_POOL_H
#include <retort/base/threads.h>

/* Runs tasks 0..tasks-1 on n threads, the caller being worker 0; returns when all are done. Starts threads as needed (fewer
 * when the system grants fewer). Not from two threads at once, not nested. */
void rt_pool_run(int n, int64_t tasks, rt_task_fn fn, void *context);
/* For a task that waits for what other running tasks do. They announce it once it is done; the waiter takes the news, looks, and awaits others:
 *     for (int tries = 0;;) { uint32_t seen = rt_pool_news(); if (it is done) break; rt_pool_await(seen, &tries); }
 * It spins a while, then sleeps until an announcement after `seen`; it may also return without one. */
uint32_t rt_pool_news(void);
void rt_pool_await(uint32_t seen, int *tries);
void rt_pool_announce(void);
void rt_pool_stop(void); /* ends the threads; the next run starts them again */
#endif
