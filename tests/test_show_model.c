/* test_show_model.c - `retort show model`: what it says, that its memory is that of the real plans, and that it reads no weight. */
#include "harness.h"
#include "program.h"
#include "small_model.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/losses/losses.h>
#include <retort/train/evaluate.h>
#include <retort/train/footprint.h>
#include <retort/train/student.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *in(const char *dir, const char *name) {
    static char paths[4][1024];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, 1024, "%s/%s", dir, name);
    return p;
}
static const char *folder(const rt_model_config *c, rt_dtype t) {
    static char paths[4][600];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    rt_weights w = {0};
    rt_precision p = rt_precision_student(t);
    snprintf(path, 600, "%s", rt_test_dir());
    small_model(&w, c, &p, 0.1);
    small_folder(path, &w);
    rt_weights_free(&w);
    return path;
}

/* ---------------------------------------------------------------- sketch = plan */

static bool same_stats(rt_graph_stats a, rt_graph_stats b) {
    return a.nodes == b.nodes && a.steps == b.steps && a.arena_bytes == b.arena_bytes && a.cache_bytes == b.cache_bytes && a.worker_scratch_bytes == b.worker_scratch_bytes;
}
static void a_described_model_is_the_opened_one(void) {
    static const int64_t experts[] = {0, 4};
    for (int i = 0; i < 4; i++) {
        rt_error err = {0};
        rt_frozen f, d;
        int64_t copied = -1;
        rt_model_config c = small_config(experts[i % 2]);
        const char *path = folder(&c, i < 2 ? RT_F16 : RT_F32);
        RT_OK_OR_FAIL(rt_frozen_open(&f, path, RT_ACTIVATIONS_STORED, &err));
        RT_OK_OR_FAIL(rt_frozen_describe(&d, path, RT_ACTIVATIONS_STORED, &copied, &err));
        rt_bank_stats bank = f.weights.bank ? rt_bank_stats_get(f.weights.bank) : (rt_bank_stats){0};
        int64_t packs = i < 2 ? 0 : bank.units * bank.unit_bytes; /* halves are used where they lie */
        RT_CHECK(copied == packs && f.weights.block_bytes == 0, "%lld bytes would be packed, expected %lld", (long long)copied, (long long)packs);
        CU_ASSERT_TRUE(rt_precision_equal(&f.precision, &d.precision) && f.weights.count == d.weights.count);
        for (int64_t k = 0; k < f.weights.count; k++)
            CU_ASSERT_TRUE(f.weights.slots[k].t.dtype == d.weights.slots[k].t.dtype && rt_tensor_same_shape(&f.weights.slots[k].t, &d.weights.slots[k].t) && !d.weights.slots[k].t.data);
        rt_forward real, sketch;
        rt_forward_options o = {.name = "m", .windows = 1, .T = 64};
        RT_OK_OR_FAIL(rt_forward_open(&real, &f.weights, &f.precision, &o, &err));
        o.sketch = true;
        int64_t before = rt_mem_stats_get().live_bytes;
        RT_OK_OR_FAIL(rt_forward_open(&sketch, &d.weights, &d.precision, &o, &err));
        rt_graph_stats s = rt_graph_stats_get(sketch.g);
        CU_ASSERT_TRUE(same_stats(rt_graph_stats_get(real.g), s) && s.arena_bytes > 0 && s.cache_bytes > 0);
        RT_CHECK(rt_mem_stats_get().live_bytes - before < 300000, "a sketch took %lld bytes", (long long)(rt_mem_stats_get().live_bytes - before));
        CU_ASSERT_EQUAL(rt_graph_forward(sketch.g, &err), RT_E_ARG);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "a sketch cannot run"));
        rt_forward_close(&real), rt_forward_close(&sketch);
        rt_frozen_close(&f), rt_frozen_close(&d);
    }
}
/* The very student and the very graphs, against what was said of them. */
static void the_training_memory_is_that_of_the_plans(void) {
    for (int i = 0; i < 6; i++) {
        rt_error err = {0};
        rt_student s;
        rt_step_graph g;
        rt_train_memory m;
        rt_model_config c = small_config(i % 2 ? 4 : 0);
        rt_precision p = rt_precision_student(i < 2 ? RT_F32 : i < 4 ? RT_BF16 : RT_F16);
        rt_head_term terms[RT_METRIC_TERMS + 1] = {{.loss = &rt_loss_next_token}};
        rt_step_options graph = {.name = "student", .windows = 2, .T = 32, .vocab = c.vocab_size, .trace = c.experts > 0, .terms = terms,
                                 .n_terms = 1 + rt_metric_terms(false, 1, 0.5, terms + 1)};
        RT_OK_OR_FAIL(rt_footprint_train(&c, &p, 32, 2, &m, &err));
        RT_OK_OR_FAIL(rt_student_open(&s, &c, &p, &err));
        CU_ASSERT_EQUAL(m.weights, (int64_t)s.weights.block_bytes);
        CU_ASSERT_EQUAL(m.moments, (int64_t)(s.m.block_bytes + s.v.block_bytes));
        CU_ASSERT_TRUE((m.masters > 0) == (i >= 2));
        for (int recompute = 0; recompute < 2; recompute++) {
            rt_step_graph eval;
            graph.space = rt_workspace_new();
            graph.recompute = recompute, graph.train = graph.plan_gradients = true;
            RT_OK_OR_FAIL(rt_step_graph_open(&g, &s.weights, &s.grads, &p, &graph, &err));
            graph.train = graph.plan_gradients = false;
            RT_OK_OR_FAIL(rt_step_graph_open(&eval, &s.weights, NULL, &p, &graph, &err));
            CU_ASSERT_EQUAL(recompute ? m.recomputed : m.activations, rt_workspace_bytes(graph.space) + rt_graph_stats_get(g.g).own_bytes);
            CU_ASSERT_EQUAL(m.evaluation, rt_graph_stats_get(eval.g).own_bytes);
            CU_ASSERT_EQUAL(m.head_rows, g.head_rows);
            rt_step_graph_close(&g), rt_step_graph_close(&eval);
            rt_workspace_free(graph.space);
        }
        CU_ASSERT_TRUE(m.recomputed < m.activations && m.evaluation > 0 && m.evaluation < m.activations);
        rt_student_close(&s);
    }
}

/* ------------------------------------------------------------------ the program */

static const char *shown(const char *path, rt_run *r, const char *option) {
    *r = RT_PROGRAM(NULL, "show", "model", path, option);
    RT_CHECK(r->code == 0, "%s: exit %d: %s", path, r->code, r->err.data);
    return r->out.data;
}
static void expect(const char *page, const char *text) { RT_CHECK(strstr(page, text), "no '%s' in\n%s", text, page); }

static void layers_that_are_alike_are_one_line(void) {
    rt_model_config c = rt_model_config_default(rt_arch_find("qwen2_moe"));
    rt_run r;
    c.vocab_size = 300, c.hidden_size = 32, c.layers = 5, c.heads = 4, c.kv_heads = 2, c.head_dim = 8, c.ffn_size = 16, c.experts = 2, c.experts_per_token = 1;
    c.shared_size = 24, c.dense_ffn_size = 40, c.dense[0] = 1 << 1 | 1 << 3, c.max_position = 64;
    const char *page = shown(folder(&c, RT_F16), &r, NULL);
    expect(page, "layers 0, 2, 4 x 3\n");
    expect(page, "layers 1, 3 x 2\n");
    expect(page, "  expert gate          [16, 32]          f16       3 x 2");
    expect(page, "dense, width 40, in layers 1, 3\n");
    expect(page, "and one shared expert of width 24\n");
    expect(page, "biases on queries, keys and values\n");
    expect(page, "weights f32, activations f32: router");
    expect(page, "tokenizer\n  none\n");
    rt_run_free(&r);
    page = shown(folder(&c, RT_F16), &r, "--all");
    expect(page, "model.layers.4.mlp.experts.1.down_proj.weight");
    CU_ASSERT_PTR_NULL(strstr(page, "layers 0, 2, 4 x 3"));
    rt_run_free(&r);
}
static void options_are_said_in_words(void) {
    rt_run r;
    rt_model_config c = small_config(0);
    c.rope = (rt_rope_scaling){RT_ROPE_LLAMA3, 8, 1, 4, 16}, c.tie_embeddings = true;
    const char *page = shown(folder(&c, RT_BF16), &r, NULL);
    expect(page, "scaled as Llama 3 does: factor 8, frequencies 1 to 4, from 16");
    expect(page, "the head is the embedding (tied)");
    rt_run_free(&r);
    rt_run bad = RT_PROGRAM(NULL, "show", "model", folder(&c, RT_F16), "--sequence-length", "161");
    CU_ASSERT_TRUE(bad.code == 2 && strstr(bad.err.data, "the model has 160 positions"));
    rt_run_free(&bad);
}
/* No line behind the first, which holds the path, is wider than a terminal. */
static void narrow(const char *page, const char *what) {
    for (const char *line = strchr(page, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
        size_t n = strcspn(line + 1, "\n");
        RT_CHECK(n <= 80, "%s: a line of %zu columns: %.*s", what, n, (int)n, line + 1);
    }
}
static void every_fixture_is_shown(void) {
    static const char *const names[] = {"llama/f32", "llama/f16-sharded", "llama3/f32", "mistral/bf16", "mixtral/f16", "qwen2/f32", "qwen3/f16", "qwen2_moe/f32",
                                        "qwen3_moe/bf16", "olmoe/f16", "stories260K/hf-f16", "stories260K-moe4x/hf-f32"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[128];
        rt_run r;
        rt_error err = {0};
        json_t *o = NULL;
        snprintf(name, sizeof name, "models/%s", names[i]);
        const char *path = rt_fixture(name);
        if (!path) return;
        const char *page = shown(path, &r, NULL);
        narrow(page, name);
        expect(page, "to train it as a student in f32");
        expect(page, "keys and values, 1000 tokens");
        rt_run_free(&r);
        page = shown(path, &r, "--json");
        RT_OK_OR_FAIL(rt_json_parse(page, r.out.size, name, &o, &err));
        const json_t *memory = json_object_get(o, "memory"), *train = json_object_get(memory, "train");
        CU_ASSERT_TRUE(json_integer_value(json_object_get(train, "activations")) >= 4 * json_integer_value(json_object_get(o, "parameters")));
        int64_t told = 0;
        for (size_t g = 0; g < json_array_size(json_object_get(o, "groups")); g++) {
            const json_t *rows = json_object_get(json_array_get(json_object_get(o, "groups"), g), "weights");
            for (size_t k = 0; k < json_array_size(rows); k++) told += json_integer_value(json_object_get(json_array_get(rows, k), "parameters"));
        }
        RT_CHECK(told == json_integer_value(json_object_get(o, "parameters")), "%s: the groups hold %lld parameters", name, (long long)told);
        json_decref(o);
        rt_run_free(&r);
    }
}

/* A model of 2 GB that is one hole: were a page of it read, it would be in the page cache. */
static void no_page_of_the_weights_is_read(void) {
    rt_error err = {0};
    rt_run r;
    rt_model_config c = small_config(0);
    c.vocab_size = 1 << 18, c.hidden_size = 2048, c.head_dim = 512, c.kv_heads = 4;
    char path[600];
    snprintf(path, sizeof path, "%s", rt_test_dir());
    RT_OK_OR_FAIL(rt_hf_config_write(in(path, "config.json"), &c, RT_F16, &err));
    rt_buf header = {0};
    int64_t at = 0, n = rt_weight_count(&c);
    rt_buf_add(&header, "\0\0\0\0\0\0\0", 8);
    for (int64_t i = 0; i < n; i++) {
        rt_weight_spec w = rt_weight_at(&c, i);
        int64_t bytes = 2 * w.dim[0] * (w.ndim == 2 ? w.dim[1] : 1);
        rt_buf_printf(&header, w.ndim == 2 ? "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%lld,%lld]," : "%s\"%s\":{\"dtype\":\"F16\",\"shape\":[%lld],", i ? "," : "{", w.name,
                      (long long)w.dim[0], (long long)w.dim[1]);
        rt_buf_printf(&header, "\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)(at + bytes));
        at += bytes;
    }
    rt_buf_puts(&header, "}");
    while (header.size % 4096) rt_buf_putc(&header, ' ');
    uint64_t length = header.size - 8;
    memcpy(header.data, &length, 8);
    RT_OK_OR_FAIL(rt_file_write_atomic(in(path, "model.safetensors"), header.data, header.size, &err));
    CU_ASSERT_EQUAL(truncate(in(path, "model.safetensors"), (off_t)((int64_t)header.size + at)), 0);
    CU_ASSERT_TRUE(at > (int64_t)2 << 30);
    expect(shown(path, &r, NULL), "llama");
    rt_run_free(&r);
    rt_map m;
    RT_OK_OR_FAIL(rt_file_map(in(path, "model.safetensors"), &m, &err));
    unsigned char *resident = rt_alloc(m.size / 4096 + 1);
    size_t first = header.size / 4096, found = 0;
    if (sysconf(_SC_PAGESIZE) == 4096 && mincore((void *)(uintptr_t)m.data, m.size, resident) == 0)
        for (size_t i = first; i < m.size / 4096; i++) found += resident[i] & 1;
    else rt_test_skip("pages of this system cannot be asked after");
    RT_CHECK(found <= 64, "%zu pages of the weights were read", found); /* the kernel reads some ahead of the header */
    rt_free(resident);
    rt_file_unmap(&m);
    rt_buf_free(&header);
}

RT_SUITE(show_model) {
    RT_TEST(a_described_model_is_the_opened_one);
    RT_TEST(the_training_memory_is_that_of_the_plans);
    RT_TEST(layers_that_are_alike_are_one_line);
    RT_TEST(options_are_said_in_words);
    RT_TEST(every_fixture_is_shown);
    RT_TEST(no_page_of_the_weights_is_read);
}
