/* input.h - bytes of a file, plain or gzip (told apart by the first two bytes, not by the name); "-" is standard input.
 */
#ifndef RETORT_SRC_TEXT_INPUT_H
#define RETORT_SRC_TEXT_INPUT_H
#include <retort/base/status.h>
#include <stdint.h>

typedef struct rt_input rt_input;

rt_status rt_input_open(rt_input **in, const char *path, rt_error *err) RT_NODISCARD;
/* Up to `room` bytes into `bytes`; *count = 0 only at the sound end of the data. A gzip file that ends early or whose
 * check sum is wrong is RT_E_INPUT. */
rt_status rt_input_read(rt_input *in, void *bytes, size_t room, size_t *count, rt_error *err) RT_NODISCARD;
void rt_input_close(rt_input *in); /* NULL is fine */
#endif
