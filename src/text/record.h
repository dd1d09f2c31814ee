/* record.h - the text of one JSONL record. */
#ifndef RETORT_SRC_TEXT_RECORD_H
#define RETORT_SRC_TEXT_RECORD_H
#include <retort/base/mem.h>
#include <retort/base/status.h>
#include <stdint.h>

/* Appends the string member `key` of the JSON object in `line` to `out`. path and number are for the
 * error, which names the nearest key when the member is missing. */
rt_status rt_record_text(const char *line, size_t bytes, const char *key, const char *path, int64_t number, rt_buf *out,
                         rt_error *err) RT_NODISCARD;
#endif
