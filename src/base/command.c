/* command.c - what commands write to stdout, checked. */
#include <retort/base/command.h>
#include <errno.h>
#include <string.h>

static rt_status failed(rt_context *c, rt_error *err) {
    c->out_errno = errno ? errno : EIO;
    return rt_fail(err, RT_E_IO, "standard output: %s", strerror(c->out_errno));
}

/* What is printed must not stand behind a progress line. */
static void clear_progress(const rt_context *c) {
    if (c->terminal) rt_log(RT_LOG_PROGRESS, "%s", "");
}

rt_status rt_out(rt_context *c, const void *bytes, size_t n, rt_error *err) {
    clear_progress(c);
    errno = 0;
    return n == 0 || fwrite(bytes, 1, n, c->out) == n ? RT_OK : failed(c, err);
}

rt_status rt_out_sink(void *context, const char *text, size_t bytes, rt_error *err) {
    return rt_out(context, text, bytes, err);
}

rt_status rt_out_printf(rt_context *c, rt_error *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    clear_progress(c);
    errno = 0;
    int n = vfprintf(c->out, format, args);
    va_end(args);
    return n >= 0 ? RT_OK : failed(c, err);
}

rt_status rt_out_buf(rt_context *c, rt_buf *text, rt_error *err) {
    rt_status s = text->failed ? rt_fail(err, RT_E_NOMEM, "out of memory for the output")
                               : rt_out(c, text->data, text->size, err);
    rt_buf_free(text);
    return s;
}

rt_status rt_out_json(rt_context *c, json_t *value, rt_error *err) {
    rt_buf text = {0};
    if (!value) return rt_fail(err, RT_E_NOMEM, "out of memory for the output");
    rt_json_dump(value, 2, &text);
    rt_buf_putc(&text, '\n');
    json_decref(value);
    return rt_out_buf(c, &text, err);
}
