/* private.h - the parts of a comparison: tensors (compare.c), sides (side.c), logits (probe.c), pages. */
#ifndef RT_COMPARE_PRIVATE_H
#define RT_COMPARE_PRIVATE_H
#include <retort/compare/compare.h>

rt_status rt_compare_side_open(rt_compare_side *s, const char *given, rt_error *err) RT_NODISCARD;
void rt_compare_side_close(rt_compare_side *s);
/* Fills the probe, or says why not. */
rt_status rt_compare_probe_run(rt_comparison *c, const rt_compare_options *o, rt_error *err) RT_NODISCARD;
#endif
