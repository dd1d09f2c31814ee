/* log.h - what a run says: console lines through a sink set by the program, and the run log, a file of JSON lines.
 *
 * The library never prints: without a sink, lines are dropped. stdout is data and is never used here. */
#ifndef RETORT_BASE_LOG_H
#define RETORT_BASE_LOG_H
#include <retort/base/json.h>

typedef enum rt_log_level {
    RT_LOG_PROGRESS, /* may be overwritten by the next line; an empty one takes it away */
    RT_LOG_INFO,
    RT_LOG_WARNING,
} rt_log_level;
typedef void (*rt_log_sink)(void *context, rt_log_level level, const char *line); /* no final newline */
/* One sink for the process, set before threads start; NULL drops all lines. */
void rt_log_set_sink(rt_log_sink sink, void *context);
void rt_log(rt_log_level level, const char *format, ...) RT_PRINTF(2, 3);

/* The run log: one record, one line, one write, so that a reader (or a crash) sees whole lines. */
typedef struct rt_runlog rt_runlog;
/* keep: how many bytes of an existing file to keep: 0 starts afresh, -1 keeps all whole lines (a torn last line, left
 * by a crash, is cut off), n cuts at n, the place a checkpoint had noted. */
rt_status rt_runlog_open(const char *path, int64_t keep, rt_runlog **out, rt_error *err) RT_NODISCARD;
/* Takes over `record` (an object; NULL, from a failed constructor, is out of memory), also when it fails. */
rt_status rt_runlog_append(rt_runlog *log, json_t *record, rt_error *err) RT_NODISCARD;
int64_t rt_runlog_size(const rt_runlog *log);                            /* bytes so far */
rt_status rt_runlog_sync(rt_runlog *log, rt_error *err) RT_NODISCARD; /* onto the disk, as a checkpoint wants it */
void rt_runlog_close(rt_runlog *log);                                    /* NULL is fine */
#endif
