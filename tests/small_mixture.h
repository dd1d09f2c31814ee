/* small_mixture.h - small dense models as folders, and the mixtures that are made of them. */
#ifndef RT_TESTS_SMALL_MIXTURE_H
#define RT_TESTS_SMALL_MIXTURE_H
#include "small_model.h"
#include <retort/train/upcycle.h>

/* A folder with a dense model of the family (static, 4 in rotation): matrices N(0, 0.25), norms that differ and, in qwen3,
 * heads of their own width and a tied head. */
const char *small_dense(const char *arch, rt_dtype t);
/* The mixture made of a folder, f32; rt_weights_free. */
void small_mixture(rt_weights *w, const char *folder, const rt_upcycle *u);
/* Numbers of experts, experts a token, granularities, for an inner width of 48. */
enum { SMALL_PLANS = 10 };
extern const rt_upcycle small_plans[SMALL_PLANS];
#endif
