/* json_difference.h - two JSON values, key by key. */
#ifndef RETORT_BASE_JSON_DIFFERENCE_H
#define RETORT_BASE_JSON_DIFFERENCE_H
#include <retort/base/json.h>

/* The places where they differ, in the order of a, then what only b has: [{"key": "rope_scaling.factor", "a": 8, "b": 4}, ...];
 * "a" or "b" is left out where there is nothing. Objects are compared member by member, everything else as a whole. Owned;
 * either value may be NULL (nothing). NULL: out of memory. */
json_t *rt_json_differences(const json_t *a, const json_t *b);
#endif
