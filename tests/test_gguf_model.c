/* test_gguf_model.c - models in GGUF: names, keys, types, the order of rows, every family there and back, refusals, damage. */
#include "harness.h"
#include "small_model.h"
#include <retort/base/file.h>
#include <retort/io/gguf_model.h>
#include <retort/io/hf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A model of random weights as the list that is written, and a free name. */
typedef struct made {
    rt_weights w;
    rt_tensor tensors[96];
    const rt_tensor *list[96];
    void *buffers[96];
    int64_t n;
    char path[700];
} made;
static rt_model_config config_of(const char *family) {
    rt_model_config c = small_config(rt_arch_find(family)->moe ? 3 : 0);
    rt_model_config d = rt_model_config_default(rt_arch_find(family));
    d.vocab_size = c.vocab_size, d.hidden_size = 32, d.layers = 2, d.heads = 4, d.kv_heads = d.arch->qk_norm == RT_QK_NORM_ALL ? 4 : 2, d.head_dim = 12;
    d.ffn_size = 48, d.experts = c.experts, d.experts_per_token = c.experts_per_token, d.max_position = 160, d.bos_id = 1, d.eos_id = 2;
    d.shared_size = d.arch->shared_expert ? 20 : 0;
    d.norm_topk = d.arch->moe && strcmp(family, "olmoe") != 0 && strcmp(family, "qwen2_moe") != 0;
    return d;
}
static void make(made *m, const rt_model_config *c) {
    rt_precision p = rt_precision_student(RT_F32);
    memset(m, 0, sizeof *m);
    small_model(&m->w, c, &p, 0.2);
    m->n = rt_weight_count(c);
    for (int64_t i = 0; i < m->n; i++) {
        m->buffers[i] = rt_alloc(4 * 128 * 128);
        m->tensors[i] = rt_weights_get(&m->w, i, m->buffers[i]);
        m->list[i] = &m->tensors[i];
    }
    snprintf(m->path, sizeof m->path, "%s/m.gguf", rt_test_dir());
}
static void unmake(made *m) {
    for (int64_t i = 0; i < m->n; i++) rt_free(m->buffers[i]);
    rt_weights_free(&m->w);
}
static rt_status write_as(const made *m, const rt_model_config *c, rt_gguf_type t, rt_error *err) {
    rt_error_clear(err);
    return rt_gguf_model_write(m->path, c, m->list, &(rt_gguf_options){.type = t, .name = "small"}, NULL, err);
}
static int64_t number(const rt_gguf *g, const char *key) {
    int64_t x = -99;
    RT_CHECK(rt_gguf_int(rt_gguf_find(g, key), &x), "%s is missing", key);
    return x;
}
static double real(const rt_gguf *g, const char *key) {
    double x = -99;
    RT_CHECK(rt_gguf_real(rt_gguf_find(g, key), &x), "%s is missing", key);
    return x;
}
static bool is_text(const rt_gguf *g, const char *key, const char *expected) {
    const char *text;
    size_t n;
    return rt_gguf_text(rt_gguf_find(g, key), &text, &n) && n == strlen(expected) && memcmp(text, expected, n) == 0;
}

/* -------------------------------------------------------------- order of rows */

/* Two heads of 4 over one column: 0 1 2 3 | 4 5 6 7 become 0 2 1 3 | 4 6 5 7, since rope pairs row i with row i + 2. */
static void rows_of_q_and_k_are_reordered_by_hand(void) {
    static const float expected[] = {0, 2, 1, 3, 4, 6, 5, 7};
    rt_error err = {0};
    rt_model_config c = config_of("llama");
    made m;
    rt_gguf *g = NULL;
    c.heads = c.kv_heads = 2, c.head_dim = 4;
    make(&m, &c);
    for (int64_t i = 0; i < m.n; i++) { /* the first column counts the rows */
        rt_tensor *t = &m.tensors[i];
        for (int64_t r = 0; t->ndim == 2 && r < t->dim[0]; r++) ((float *)t->data)[r * t->dim[1]] = (float)r;
    }
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_F32, &err));
    RT_OK_OR_FAIL(rt_gguf_open(m.path, &g, &err));
    for (int64_t r = 0; g && r < 8; r++) {
        CU_ASSERT_EQUAL(((const float *)rt_gguf_tensor_find(g, "blk.1.attn_q.weight")->data)[32 * r], expected[r]);
        CU_ASSERT_EQUAL(((const float *)rt_gguf_tensor_find(g, "blk.0.attn_k.weight")->data)[32 * r], expected[r]);
        CU_ASSERT_EQUAL(((const float *)rt_gguf_tensor_find(g, "blk.0.attn_v.weight")->data)[32 * r], (float)r);
    }
    rt_gguf_close(g);
    unmake(&m);
}

/* ---------------------------------------------------------------- there and back */

static void check_family(const char *family, const char *architecture) {
    rt_error err = {0};
    rt_model_config c = config_of(family), held;
    made m;
    rt_gguf_model *back = NULL;
    make(&m, &c);
    RT_OK_OR_FAIL(rt_gguf_config(&c, NULL, &held, &err));
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_F32, &err));
    RT_OK_OR_FAIL(rt_gguf_model_open(m.path, &back, &err));
    if (back) {
        RT_CHECK(is_text(rt_gguf_model_file(back), "general.architecture", architecture), "%s", family);
        RT_CHECK(rt_model_config_equal(&held, rt_gguf_model_config(back)), "%s: another configuration", family);
        for (int64_t i = 0; i < m.n; i++) {
            const rt_tensor *t = rt_gguf_model_weight(back, i);
            RT_CHECK(rt_tensor_hash(t) == rt_tensor_hash(m.list[i]), "%s: %s differs", family, rt_weight_at(&c, i).name);
        }
    }
    rt_gguf_model_close(back);
    unmake(&m);
}
static void every_family_comes_back_bit_for_bit(void) {
    check_family("llama", "llama"), check_family("mistral", "llama"), check_family("mixtral", "llama");
    check_family("qwen2", "qwen2"), check_family("qwen3", "qwen3"), check_family("qwen2_moe", "qwen2moe");
    check_family("qwen3_moe", "qwen3moe"), check_family("qwen3_omni_moe", "qwen3moe"), check_family("olmoe", "olmoe");
}

static void types_follow_the_weights(void) {
    rt_error err = {0};
    rt_model_config c = config_of("qwen2_moe");
    made m;
    rt_gguf *g = NULL;
    c.ffn_size = 40; /* rows of down are no multiple of 32 */
    make(&m, &c);
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_Q8_0, &err));
    RT_OK_OR_FAIL(rt_gguf_open(m.path, &g, &err));
    static const struct {
        const char *name;
        rt_gguf_type type;
        int64_t dim[3];
    } expected[] = {{"token_embd.weight", RT_GGUF_TYPE_Q8_0, {SMALL_V, 32}},           {"output.weight", RT_GGUF_TYPE_Q8_0, {SMALL_V, 32}},
                    {"blk.1.attn_norm.weight", RT_GGUF_TYPE_F32, {32}},                {"blk.0.attn_q.bias", RT_GGUF_TYPE_F32, {48}},
                    {"blk.0.ffn_gate_inp.weight", RT_GGUF_TYPE_F32, {3, 32}},          {"blk.0.ffn_gate_exps.weight", RT_GGUF_TYPE_Q8_0, {3, 40, 32}},
                    {"blk.1.ffn_up_exps.weight", RT_GGUF_TYPE_Q8_0, {3, 40, 32}},      {"blk.1.ffn_down_exps.weight", RT_GGUF_TYPE_F16, {3, 32, 40}},
                    {"blk.0.ffn_gate_inp_shexp.weight", RT_GGUF_TYPE_Q8_0, {1, 32}},   {"blk.0.ffn_down_shexp.weight", RT_GGUF_TYPE_F16, {32, 20}},
                    {"blk.0.attn_output.weight", RT_GGUF_TYPE_F16, {32, 48}},          {"output_norm.weight", RT_GGUF_TYPE_F32, {32}}};
    for (size_t i = 0; g && i < sizeof expected / sizeof *expected; i++) {
        const rt_gguf_tensor *t = rt_gguf_tensor_find(g, expected[i].name);
        RT_CHECK(t && t->type == expected[i].type && memcmp(t->dim, expected[i].dim, sizeof expected[i].dim) == 0, "%s", expected[i].name);
    }
    CU_ASSERT_EQUAL(number(g, "general.file_type"), 7);
    rt_gguf_close(g);
    unmake(&m);
}

/* ------------------------------------------------------------------------ keys */

static void gating_is_said_in_full(void) {
    rt_error err = {0};
    rt_model_config c = config_of("qwen3_moe");
    made m;
    rt_gguf *g = NULL;
    c.rope_theta = 5e5, c.norm_eps = 1e-6, c.tie_embeddings = true, c.sliding_window = 100;
    make(&m, &c);
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_BF16, &err));
    RT_OK_OR_FAIL(rt_gguf_open(m.path, &g, &err));
    if (!g) return unmake(&m);
    CU_ASSERT_TRUE(number(g, "qwen3moe.expert_count") == 3 && number(g, "qwen3moe.expert_used_count") == 2);
    CU_ASSERT_TRUE(number(g, "qwen3moe.expert_feed_forward_length") == 48 && number(g, "qwen3moe.expert_gating_func") == 1);
    CU_ASSERT_TRUE(number(g, "qwen3moe.expert_weights_norm") == 1 && rt_gguf_find(g, "qwen3moe.expert_weights_norm")->kind == RT_GGUF_BOOL);
    CU_ASSERT_TRUE(number(g, "qwen3moe.attention.key_length") == 12 && number(g, "qwen3moe.attention.value_length") == 12);
    CU_ASSERT_TRUE(number(g, "qwen3moe.attention.head_count") == 4 && number(g, "qwen3moe.attention.head_count_kv") == 2);
    CU_ASSERT_TRUE(number(g, "qwen3moe.rope.dimension_count") == 12 && real(g, "qwen3moe.rope.freq_base") == 5e5);
    CU_ASSERT_TRUE(number(g, "qwen3moe.context_length") == 100 && number(g, "qwen3moe.block_count") == 2); /* full attention up to the window */
    CU_ASSERT_TRUE(number(g, "qwen3moe.vocab_size") == SMALL_V && number(g, "qwen3moe.embedding_length") == 32);
    CU_ASSERT_TRUE(real(g, "qwen3moe.attention.layer_norm_rms_epsilon") == 1e-6 && number(g, "general.file_type") == 32);
    CU_ASSERT_TRUE(number(g, "general.alignment") == 32 && number(g, "general.quantization_version") == 2 && is_text(g, "general.name", "small"));
    CU_ASSERT_TRUE(!rt_gguf_tensor_find(g, "output.weight") && is_text(g, "tokenizer.ggml.model", "no_vocab"));
    CU_ASSERT_TRUE(number(g, "tokenizer.ggml.bos_token_id") == 1 && !rt_gguf_find(g, "tokenizer.ggml.padding_token_id"));
    rt_gguf_close(g);
    unmake(&m);
}
static void rope_scaling_is_said(void) {
    rt_error err = {0};
    rt_model_config c = config_of("llama");
    made m;
    rt_gguf *g = NULL;
    rt_gguf_model *back = NULL;
    c.head_dim = 16, c.rope = (rt_rope_scaling){RT_ROPE_LINEAR, 4, 0, 0, 0};
    make(&m, &c);
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_F32, &err));
    RT_OK_OR_FAIL(rt_gguf_open(m.path, &g, &err));
    CU_ASSERT_TRUE(is_text(g, "llama.rope.scaling.type", "linear") && real(g, "llama.rope.scaling.factor") == 4 && !rt_gguf_tensor_find(g, "rope_freqs.weight"));
    rt_gguf_close(g);
    c.rope = (rt_rope_scaling){RT_ROPE_LLAMA3, 8, 1, 4, 64};
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_F32, &err));
    RT_OK_OR_FAIL(rt_gguf_model_open(m.path, &back, &err));
    if (!back) return unmake(&m);
    const rt_gguf_tensor *t = rt_gguf_tensor_find(rt_gguf_model_file(back), "rope_freqs.weight");
    CU_ASSERT_TRUE(t && t->ndim == 1 && t->dim[0] == 8 && ((const float *)t->data)[0] == 1 && ((const float *)t->data)[7] == 8); /* short waves stay */
    CU_ASSERT_TRUE(rt_gguf_model_config(back)->rope.kind == RT_ROPE_LLAMA3 && !rt_gguf_find(rt_gguf_model_file(back), "llama.rope.scaling.type"));
    rt_gguf_model_close(back);
    unmake(&m);
}

/* -------------------------------------------------------------------- refusals */

static void refused(const rt_model_config *c, const char *text) {
    rt_error err = {0};
    rt_model_config held;
    RT_CHECK(rt_gguf_config(c, NULL, &held, &err) == RT_E_UNSUPPORTED && strstr(err.text, text), "'%s' is not in '%s'", text, err.text);
}
static void what_readers_compute_otherwise_is_refused(void) {
    rt_model_config c = config_of("mixtral");
    c.norm_topk = false;
    refused(&c, "this mixtral model's chosen probabilities are not made to sum to 1; for GGUF's llama llama.cpp computes only the other");
    c = config_of("olmoe"), c.norm_topk = true;
    refused(&c, "are made to sum to 1; for GGUF's olmoe");
    c = config_of("qwen2"), c.qkv_bias = false;
    refused(&c, "has no weight 'query bias', which GGUF's qwen2 asks for");
    c = config_of("qwen3_moe"), c.dense_ffn_size = 24, c.dense[0] = 1;
    refused(&c, "has the weight 'ffn gate', for which GGUF's qwen3moe has no tensor");
}

/* A file of another program that asks for more than is computed. */
static rt_status one_tensor(void *context, int64_t i, rt_file_writer *w, rt_error *err) {
    (void)context, (void)i;
    return rt_file_writer_add(w, "\0\0\0\0", 4, err);
}
static void what_is_not_computed_here_is_refused_by_key(void) {
    rt_error err = {0};
    rt_gguf_meta m = {0};
    rt_gguf_model *model = NULL;
    char path[700];
    snprintf(path, sizeof path, "%s/x.gguf", rt_test_dir());
    rt_gguf_put_text(&m, "general.architecture", "llama", 5);
    rt_gguf_put_f32(&m, "llama.logit_scale", 16);
    RT_OK_OR_FAIL(rt_gguf_write(path, &m, &(rt_gguf_entry){"token_embd.weight", RT_GGUF_TYPE_F32, 1, {1}}, 1, one_tensor, NULL, &err));
    RT_CHECK(rt_gguf_model_open(path, &model, &err) == RT_E_UNSUPPORTED && strstr(err.text, "llama.logit_scale is 16, expected 1"), "%s", err.text);
    rt_gguf_meta_free(&m);
    rt_error_clear(&err);
    rt_gguf_put_text(&m, "general.architecture", "gemma2", 6);
    RT_OK_OR_FAIL(rt_gguf_write(path, &m, NULL, 0, NULL, NULL, &err));
    RT_CHECK(rt_gguf_model_open(path, &model, &err) == RT_E_UNSUPPORTED && strstr(err.text, "general.architecture gemma2 is not computed here"), "%s", err.text);
    rt_gguf_meta_free(&m);
}

/* ---------------------------------------------------------------------- damage */

static void open_damaged(const char *path, const char *what, size_t at) {
    rt_error err = {0};
    rt_gguf_model *m = NULL;
    int64_t before = rt_mem_stats_get().live_blocks;
    rt_status s = rt_gguf_model_open(path, &m, &err);
    uint64_t sum = 0;
    for (int64_t i = 0; m && i < rt_weight_count(rt_gguf_model_config(m)); i++) sum += rt_tensor_hash(rt_gguf_model_weight(m, i));
    RT_CHECK(s == RT_OK ? sum != 0 : (s == RT_E_INPUT || s == RT_E_UNSUPPORTED) && !strchr(err.text, '\n'), "%s %zu: %s %s", what, at, rt_status_name(s), err.text);
    rt_gguf_model_close(m);
    RT_CHECK(rt_mem_stats_get().live_blocks == before, "%s %zu: blocks left", what, at);
}
static void a_damaged_model_is_an_error_or_a_model(void) {
    rt_error err = {0};
    rt_model_config c = config_of("mixtral");
    rt_buf whole = {0};
    made m;
    c.layers = 1, c.experts = 2, c.vocab_size = 5, c.hidden_size = 4, c.ffn_size = 4, c.heads = 1, c.kv_heads = 1, c.head_dim = 4;
    make(&m, &c);
    RT_OK_OR_FAIL(write_as(&m, &c, RT_GGUF_TYPE_F16, &err));
    RT_OK_OR_FAIL(rt_file_read(m.path, 1 << 20, &whole, &err));
    int f = open(m.path, O_RDWR);
    for (size_t i = 0; i < whole.size; i++) /* sizes, kinds, names, data: each bit's neighbours and all at once */
        for (int mask = 1; mask < 256; mask = mask * 4 + 3) {
            char b = (char)(whole.data[i] ^ mask);
            CU_ASSERT_EQUAL(pwrite(f, &b, 1, (off_t)i), 1);
            open_damaged(m.path, "byte", i);
            CU_ASSERT_EQUAL(pwrite(f, whole.data + i, 1, (off_t)i), 1);
        }
    for (size_t n = whole.size; n-- > 0;) {
        CU_ASSERT_EQUAL(ftruncate(f, (off_t)n), 0);
        open_damaged(m.path, "length", n);
    }
    close(f);
    rt_buf_free(&whole);
    unmake(&m);
}

RT_SUITE(gguf_model) {
    RT_TEST(rows_of_q_and_k_are_reordered_by_hand);
    RT_TEST(every_family_comes_back_bit_for_bit);
    RT_TEST(types_follow_the_weights);
    RT_TEST(gating_is_said_in_full);
    RT_TEST(rope_scaling_is_said);
    RT_TEST(what_readers_compute_otherwise_is_refused);
    RT_TEST(what_is_not_computed_here_is_refused_by_key);
    RT_TEST(a_damaged_model_is_an_error_or_a_model);
}
