/* test_chains.c - chains of rows are a matter of speed: models whose rows run in chains, columns handed from one operation to the next
 * and half values kept in f32 between them, have the bits of models whose operations run one by one. Wide enough for several blocks of columns,
 * long enough for several tiles, and with every relation of widths that places values of a chain over one another. */
#include "harness.h"
#include "small_model.h"
#include <retort/infer/forward.h>
#include <retort/model/model.h>
#include <retort/text/batch.h>
#include <string.h>

enum { ROWS = 144 };

/* The hidden rows after the whole model; rt_free. */
static void *hidden_of(const rt_weights *w, const rt_precision *p, bool chains, size_t *bytes) {
    rt_error err = {0};
    rt_batch b = {0};
    rt_model model = {0};
    rt_graph *g = rt_graph_new("t");
    void *copy = NULL;
    RT_OK_OR_FAIL(rt_batch_create(&b, 2, ROWS / 2, &err));
    for (int64_t i = 0; i < b.rows; i++)
        b.ids[i] = (int32_t)(i * 31 % SMALL_V), b.position[i] = (int32_t)(i % b.T), b.start[i] = (int32_t)(i / b.T * b.T), b.valid[i] = 1;
    rt_model_inputs in = rt_batch_inputs(g, b.rows);
    if (!chains) rt_graph_no_chains(g);
    RT_OK_OR_FAIL(rt_model_build(g, w, NULL, false, p, &(rt_model_options){.length = b.T}, in, &model, &err));
    rt_graph_output(g, model.hidden);
    rt_status s = rt_graph_plan(g, false, &err);
    if (s == RT_OK) {
        rt_batch_bind(g, in, &b);
        s = rt_graph_forward(g, &err);
    }
    if (s == RT_OK) {
        const rt_tensor *h = rt_graph_value(g, model.hidden);
        *bytes = rt_tensor_bytes(h);
        copy = rt_alloc(*bytes);
        memcpy(copy, h->data, *bytes);
    } else RT_FAILF("%s", err.text);
    rt_graph_free(g);
    rt_model_free(&model);
    rt_batch_free(&b);
    return copy;
}

static void compare(const char *arch, int64_t hidden, int64_t ffn, int64_t head_dim, rt_dtype t) {
    rt_weights w;
    size_t n = 0, m = 0;
    rt_precision p = rt_precision_teacher(t, true);
    rt_model_config c = small_config(0);
    c.arch = rt_arch_find(arch);
    c.hidden_size = hidden, c.ffn_size = ffn, c.head_dim = head_dim;
    small_model(&w, &c, &p, 0.05);
    void *a = hidden_of(&w, &p, true, &n), *b = hidden_of(&w, &p, false, &m);
    RT_CHECK(a && b && n == m && memcmp(a, b, n) == 0, "%s of width %ld, ffn %ld, heads of %ld, %s: other bits in chains", arch, (long)hidden, (long)ffn,
             (long)head_dim, rt_dtype_name(t));
    rt_free(a), rt_free(b);
    rt_weights_free(&w);
}
static void the_bits_of_operations_one_by_one(void) {
    static const int64_t shapes[][3] = {{32, 48, 8}, {512, 96, 24}, {512, 300, 64}, {64, 700, 16}, {1024, 1024, 128}, {700, 1400, 200}};
    static const rt_dtype types[] = {RT_F32, RT_F16, RT_BF16};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 3; t++) {
            compare("llama", shapes[i][0], shapes[i][1], shapes[i][2], types[t]);
            compare(t % 2 ? "qwen3" : "qwen2", shapes[i][0], shapes[i][1], shapes[i][2], types[t]);
        }
}

RT_SUITE(chains) { RT_TEST(the_bits_of_operations_one_by_one); }
