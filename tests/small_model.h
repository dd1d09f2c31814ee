/* small_model.h - models of a few thousand random weights, in memory or as folders; no fixture needed. */
#ifndef RT_TESTS_SMALL_MODEL_H
#define RT_TESTS_SMALL_MODEL_H
#include <retort/model/weights.h>

enum { SMALL_V = 97, SMALL_POSITIONS = 160 };
/* 2 layers of width 32; experts 0: a llama, else a mixtral with top-2. */
rt_model_config small_config(int64_t experts);
/* Weights N(0, scale), norms about 1, in the policy's dtypes; rt_weights_free. */
void small_model(rt_weights *w, const rt_model_config *c, const rt_precision *p, double scale);
/* The same as a folder (config.json, model.safetensors). */
void small_folder(const char *directory, const rt_weights *w);
#endif
