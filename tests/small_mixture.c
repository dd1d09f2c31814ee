/* small_mixture.c - see small_mixture.h. */
#include "small_mixture.h"
#include "harness.h"
#include <retort/io/hf.h>
#include <stdio.h>

const rt_upcycle small_plans[SMALL_PLANS] = {{4, 2, 1, 0, 1}, {8, 2, 1, 0, 2}, {8, 3, 1, 0, 3},  {8, 2, 2, 0, 4},   {8, 4, 2, 0, 5},
                                   {6, 4, 2, 0, 6}, {6, 6, 3, 0, 7}, {16, 4, 4, 0, 8}, {16, 12, 4, 0, 9}, {96, 48, 24, 0, 10}};

const char *small_dense(const char *arch, rt_dtype t) {
    static char paths[4][700];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    rt_weights w;
    rt_precision p = rt_precision_student(t);
    rt_model_config c = small_config(0);
    c.arch = rt_arch_find(arch);
    if (c.arch->qk_norm) c.head_dim = 10, c.tie_embeddings = true;
    small_model(&w, &c, &p, 0.25);
    for (int64_t i = 0; i < w.count; i++)
        for (int64_t k = 0; k < rt_tensor_count(&w.slots[i].t) && w.slots[i].role == rt_role_norm; k++) rt_put(&w.slots[i].t, k, 0.5 + (double)(k % 7) / 4);
    snprintf(path, 700, "%s/%s", rt_test_dir(), arch);
    small_folder(path, &w);
    rt_weights_free(&w);
    return path;
}

void small_mixture(rt_weights *w, const char *folder, const rt_upcycle *u) {
    rt_error err = {0};
    rt_hf *dense;
    rt_model_config c;
    rt_precision p = rt_precision_student(RT_F32);
    *w = (rt_weights){0};
    RT_OK_OR_FAIL(rt_hf_open(folder, &dense, &err));
    RT_OK_OR_FAIL(rt_upcycle_config(rt_hf_config(dense), rt_upcycle_arch(rt_hf_config(dense)->arch), u, folder, &c, &err));
    RT_OK_OR_FAIL(rt_weights_layout(w, &c, &p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(w, &err));
    RT_OK_OR_FAIL(rt_upcycle_weights(w, dense, u, &err));
    rt_hf_close(dense);
}
