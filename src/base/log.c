/* log.c - the console sink and the run log. */
#include <retort/base/file.h>
#include <retort/base/log.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static rt_log_sink sink;
static void *sink_context;
void rt_log_set_sink(rt_log_sink s, void *context) { sink = s, sink_context = context; }

void rt_log(rt_log_level level, const char *format, ...) {
    char line[1024];
    if (!sink) return;
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sink(sink_context, level, line);
}

struct rt_runlog {
    int descriptor;
    int64_t size;
    char *path;
    rt_buf line;
};

static rt_status failed(const rt_runlog *log, const char *what, rt_error *err) {
    return rt_fail(err, RT_E_IO, "%s: cannot %s: %s", log->path, what, strerror(errno));
}

/* The size without a torn last line: looks back from the end for a newline, a page at a time. */
static int64_t whole_lines(int descriptor, int64_t size) {
    char page[4096];
    while (size > 0) {
        int64_t from = size > (int64_t)sizeof page ? size - (int64_t)sizeof page : 0;
        ssize_t n = pread(descriptor, page, (size_t)(size - from), from);
        if (n <= 0) return -1;
        const char *newline = memrchr(page, '\n', (size_t)n);
        if (newline) return from + (newline - page) + 1;
        size = from;
    }
    return 0;
}

static rt_status start(rt_runlog *log, int64_t keep, rt_error *err) {
    struct stat s;
    log->descriptor = open(log->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->descriptor < 0 || fstat(log->descriptor, &s) != 0) return failed(log, "open", err);
    int64_t size = (int64_t)s.st_size;
    if (keep > size)
        return rt_fail(err, RT_E_INPUT, "%s: found %lld bytes, expected at least %lld", log->path, (long long)size,
                       (long long)keep);
    log->size = keep >= 0 ? keep : whole_lines(log->descriptor, size);
    if (log->size < 0) return failed(log, "read", err);
    if (ftruncate(log->descriptor, log->size) != 0) return failed(log, "cut", err);
    return RT_OK;
}

rt_status rt_runlog_open(const char *path, int64_t keep, rt_runlog **out, rt_error *err) {
    *out = NULL;
    rt_runlog *log = rt_zalloc(sizeof *log);
    if (log) log->descriptor = -1, log->path = rt_strdup(path);
    rt_status status = log && log->path ? start(log, keep, err) : rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    if (status != RT_OK) return rt_runlog_close(log), status;
    *out = log;
    return RT_OK;
}

/* A write that ends short is completed; one that fails is taken back, so that the next record starts on its own line. */
static rt_status put(rt_runlog *log, rt_error *err) {
    for (size_t done = 0; done < log->line.size;) {
        ssize_t n = rt_file_told_to_fail() ? -1 : write(log->descriptor, log->line.data + done, log->line.size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            rt_status status = failed(log, "write", err);
            bool taken_back = ftruncate(log->descriptor, log->size) == 0;
            return (void)taken_back, status;
        }
        done += (size_t)n;
    }
    log->size += (int64_t)log->line.size;
    return RT_OK;
}

rt_status rt_runlog_append(rt_runlog *log, json_t *record, rt_error *err) {
    log->line.size = 0;
    log->line.failed = false;
    rt_json_dump(record, 0, &log->line);
    rt_buf_putc(&log->line, '\n');
    json_decref(record);
    if (log->line.failed) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", log->path);
    return put(log, err);
}

int64_t rt_runlog_size(const rt_runlog *log) { return log->size; }
rt_status rt_runlog_sync(rt_runlog *log, rt_error *err) {
    if (rt_file_told_to_fail() || fsync(log->descriptor) != 0) return failed(log, "sync", err);
    return RT_OK;
}
void rt_runlog_close(rt_runlog *log) {
    if (!log) return;
    if (log->descriptor >= 0) close(log->descriptor);
    rt_buf_free(&log->line);
    rt_free(log->path);
    rt_free(log);
}
