/* options_private.h - what options.c, options_value.c and cli.c share. */
#ifndef RETORT_BASE_OPTIONS_PRIVATE_H
#define RETORT_BASE_OPTIONS_PRIVATE_H
#include <retort/base/options.h>

static inline void *rt_option_field(const rt_option *o, void *object) { return (char *)object + o->offset; }
static inline bool rt_option_is_scalar(const rt_option *o) { return o->type <= RT_OPTION_ENUM; }

/* Reads a scalar's text (or one item of a list, adding it) into the field. `where` goes in front of the message. */
rt_status rt_option_parse(const rt_option *o, const char *text, void *field, const char *where, rt_status refusal,
                          rt_arena *arena, rt_error *err) RT_NODISCARD;
/* Makes room for one more item at the end of a list and returns it, zeroed; NULL when out of memory. */
void *rt_option_grow(void **items, int64_t *count, size_t size, rt_arena *arena);
#endif
