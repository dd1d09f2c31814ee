/* test_experts.c - a frozen model's experts, wherever they lie and however few may be present, give the bits of the same model
 * stacked in memory; what they cost in memory is bounded as asked. */
#include "fixture_models.h"
#include "harness.h"
#include "small_model.h"
#include <retort/base/threads.h>
#include <retort/graph/op.h>
#include <retort/ops/ops.h>
#include <retort/infer/forward.h>
#include <retort/infer/frozen.h>
#include <stdio.h>
#include <string.h>

enum { WINDOWS = 2, LENGTH = 40 };

/* --------------------------------------------------------------------- rig */

/* sum of y squared / 2: dy = y. */
static rt_status square_infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }
static void square(const rt_call *c) { *(double *)c->out[0].data = 0; }
static void square_back(const rt_call *c) {
    for (int64_t i = 0; i < rt_tensor_count(&c->in[0]); i++) rt_put((rt_tensor *)(uintptr_t)&c->din[0], i, rt_get(&c->din[0], i) + rt_get(&c->in[0], i));
}
static const rt_op square_op = {.name = "square", .n_in = 1, .n_out = 1, .diff = RT_IN(0), .saves = RT_IN(0), .infer = square_infer, .forward = square, .backward = square_back};

typedef struct rig {
    rt_graph *g;
    rt_model m;
    rt_weights grads;
    rt_batch b;
} rig;
static rt_status rig_open(rig *r, const rt_weights *w, const rt_precision *p, bool train, rt_error *err) {
    static const double gain = 1;
    *r = (rig){.g = rt_graph_new("t")};
    RT_TRY(rt_batch_create(&r->b, WINDOWS, LENGTH, err));
    for (int64_t i = 0; i < r->b.rows; i++) {
        r->b.position[i] = (int32_t)(i % LENGTH), r->b.start[i] = (int32_t)(i / LENGTH * LENGTH);
        r->b.valid[i] = i % 11 != 3, r->b.ids[i] = (int32_t)(i * i * 7 % 89);
    }
    if (train) RT_TRY(rt_weights_like(&r->grads, w, RT_F32, err));
    if (train) RT_TRY(rt_weights_alloc(&r->grads, err));
    rt_model_inputs in = rt_batch_inputs(r->g, r->b.rows);
    RT_TRY(rt_model_build(r->g, w, train ? &r->grads : NULL, false, p, &(rt_model_options){.length = LENGTH, .trace = true}, in, &r->m, err));
    rt_graph_output(r->g, r->m.hidden);
    if (train) rt_graph_loss(r->g, rt_graph_add(r->g, &square_op, "loss", rt_prec_uniform(RT_F64), NULL, 0, &r->m.hidden, 1, NULL), &gain);
    rt_batch_bind(r->g, in, &r->b);
    return rt_graph_plan(r->g, train, err);
}
static void rig_close(rig *r) {
    rt_graph_free(r->g);
    rt_model_free(&r->m);
    rt_weights_free(&r->grads);
    rt_batch_free(&r->b);
}
static uint64_t rig_bits(rig *r, bool train) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_graph_forward(r->g, &err));
    if (train) RT_OK_OR_FAIL(rt_graph_backward(r->g, &err));
    uint64_t h = rt_tensor_hash(rt_graph_value(r->g, r->m.hidden));
    for (int64_t l = 0; l < r->m.n_layers; l++)
        if (!rt_ref_is_null(r->m.layers[l].trace)) h = h * 31 + rt_tensor_hash(rt_graph_value(r->g, r->m.layers[l].trace));
    for (int64_t i = 0; i < r->grads.count; i++) h = h * 31 + rt_tensor_hash(&r->grads.slots[i].t);
    return h;
}
/* Of a fresh graph; a second pass over what the first left present gives the same. */
static uint64_t bits(const rt_weights *w, const rt_precision *p, bool train) {
    rt_error err = {0};
    rig r;
    RT_OK_OR_FAIL(rig_open(&r, w, p, train, &err));
    uint64_t h = 0;
    if (err.status == RT_OK) {
        h = rig_bits(&r, train);
        for (int64_t i = 0; i < r.grads.count; i++) memset(r.grads.slots[i].t.data, 0, rt_tensor_bytes(&r.grads.slots[i].t));
        CU_ASSERT_EQUAL(rig_bits(&r, train), h);
    }
    rig_close(&r);
    return h;
}

static const rt_tensor *from_files(void *files, int64_t i) { return rt_hf_weight(files, i); }
/* The same model as one that is trained: experts stacked in memory. */
static void stack(rt_weights *w, const rt_frozen *f) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_weights_layout(w, &f->weights.config, &f->precision, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(w, &err));
    RT_OK_OR_FAIL(rt_weights_copy(w, from_files, f->files, &err));
}
static bool open_model(rt_frozen *f, const char *directory, rt_activations activations) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_frozen_open(f, directory, activations, &err));
    return err.status == RT_OK;
}
static const char *folder(const rt_model_config *c, rt_dtype t) {
    rt_precision p = rt_precision_teacher(t, true);
    rt_weights w;
    const char *directory = rt_test_dir();
    small_model(&w, c, &p, 0.2);
    small_folder(directory, &w);
    rt_weights_free(&w);
    return directory;
}

/* -------------------------------------------------------------------- bits */

static rt_bank_stats stats(const rt_frozen *f) { return rt_bank_stats_get(f->weights.bank); }

/* Experts that are met in a pass. */
static int64_t met(const rt_frozen *f) {
    rt_error err = {0};
    rig r;
    int64_t count = 0, E = f->weights.config.experts;
    RT_OK_OR_FAIL(rig_open(&r, &f->weights, &f->precision, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(r.g, &err));
    for (int64_t l = 0; l < r.m.n_layers; l++) {
        if (rt_ref_is_null(r.m.layers[l].ids)) continue;
        const rt_tensor *ids = rt_graph_value(r.g, r.m.layers[l].ids);
        for (int64_t e = 0; e < E; e++) {
            bool found = false;
            for (int64_t i = 0; i < rt_tensor_count(ids); i++) found |= ((const int32_t *)ids->data)[i] == e;
            count += found;
        }
    }
    rig_close(&r);
    return count;
}

static void check_budget(const char *directory, rt_activations activations, int64_t capacity, bool train, uint64_t want) {
    rt_error err = {0};
    rt_frozen f;
    if (!open_model(&f, directory, activations)) return;
    rt_bank_stats before = stats(&f);
    RT_OK_OR_FAIL(rt_weights_expert_budget(&f.weights, capacity * before.unit_bytes, &err));
    for (int threads = 1; threads <= 2; threads++) {
        rt_threads_set(threads);
        RT_CHECK(bits(&f.weights, &f.precision, train) == want, "%lld experts present, %d threads%s: other bits", (long long)capacity, threads, train ? ", trained" : "");
    }
    rt_bank_stats s = stats(&f);
    int64_t most = capacity ? capacity : s.units, used = met(&f);
    CU_ASSERT_EQUAL(s.hits + s.loads, used * (train ? 8 : 4));
    CU_ASSERT_TRUE(s.capacity == most && s.most_present <= most && s.present <= most);
    CU_ASSERT_EQUAL(s.evictions, s.loads - s.present);
    if (most >= used) CU_ASSERT_TRUE(s.evictions == 0 && s.loads == used);
    if (most == 1) CU_ASSERT_TRUE(s.present == 1 && s.loads > used);
    rt_frozen_close(&f);
}
static void check_folder(const char *directory, rt_activations activations, bool extremes, const char *name) {
    rt_frozen f;
    rt_weights w;
    int before = rt_threads();
    unsigned failures = CU_get_number_of_failures();
    if (!open_model(&f, directory, activations)) return;
    int64_t units = stats(&f).units, capacities[] = {0, units - 1, 3, 1};
    stack(&w, &f);
    CU_ASSERT_EQUAL(stats(&f).loads, 0);
    for (int train = 0; train < 2; train++) {
        rt_threads_set(1);
        uint64_t want = bits(&w, &f.precision, train);
        for (int i = 0; i < 4; i += extremes ? 3 : 1) check_budget(directory, activations, capacities[i], train, want);
    }
    rt_threads_set(before);
    rt_weights_free(&w);
    rt_frozen_close(&f);
    if (CU_get_number_of_failures() > failures) printf("  (in %s)\n", name);
}

static void bits_do_not_depend_on_the_budget(void) {
    static const rt_dtype types[] = {RT_F16, RT_BF16, RT_F32};
    rt_model_config c = small_config(18);
    for (int i = 0; i < 3; i++) {
        const char *directory = folder(&c, types[i]);
        check_folder(directory, RT_ACTIVATIONS_NATIVE, false, rt_dtype_name(types[i]));
        if (types[i] != RT_F32) check_folder(directory, RT_ACTIVATIONS_F32, true, "f32 activations");
    }
}
static void fixtures_give_the_same_bits_in_any_budget(void) {
    static const char *const models[] = {"mixtral", "qwen2_moe", "qwen3_moe"}, *const variants[] = {"f32", "f16", "bf16"};
    for (int i = 0; i < 9; i++) {
        fixture f;
        if (!fixture_open(&f, models[i / 3])) return;
        check_folder(fixture_path(&f, variants[i % 3]), RT_ACTIVATIONS_NATIVE, true, models[i / 3]);
        fixture_close(&f);
    }
}
/* Matrices of more than one panel, whose cuts meet neither the border of gate and up nor a multiple of 16. */
static rt_model_config large(void) {
    rt_model_config c = small_config(4);
    c.layers = 1, c.hidden_size = 1000, c.ffn_size = 272;
    return c;
}
static void panels_are_the_same_however_weights_lie(void) {
    rt_model_config c = large();
    for (int i = 0; i < 2; i++) {
        rt_frozen f;
        rt_weights w;
        if (!open_model(&f, folder(&c, i ? RT_BF16 : RT_F16), RT_ACTIVATIONS_F32)) return;
        stack(&w, &f);
        CU_ASSERT_EQUAL(bits(&f.weights, &f.precision, true), bits(&w, &f.precision, true));
        rt_weights_free(&w);
        rt_frozen_close(&f);
    }
}
static void tapes_are_the_same(void) {
    rt_model_config c = small_config(4);
    rt_error err = {0};
    rt_frozen f;
    rt_weights w;
    if (!open_model(&f, folder(&c, RT_F16), RT_ACTIVATIONS_NATIVE)) return;
    stack(&w, &f);
    const rt_weights *both[] = {&f.weights, &w};
    rt_buf text[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        rig r;
        RT_OK_OR_FAIL(rig_open(&r, both[i], &f.precision, false, &err));
        rt_graph_describe(r.g, true, &text[i]);
        rig_close(&r);
    }
    CU_ASSERT_TRUE(text[0].size > 1000 && strcmp(text[0].data, text[1].data) == 0);
    rt_buf_free(&text[0]), rt_buf_free(&text[1]);
    rt_weights_free(&w);
    rt_frozen_close(&f);
}

/* ------------------------------------------------------------------ memory */

static void opening_copies_nothing(void) {
    rt_model_config c = large();
    for (int i = 0; i < 2; i++) {
        const char *directory = folder(&c, i ? RT_F32 : RT_F16);
        rt_frozen f;
        int64_t before = rt_mem_stats_get().live_bytes;
        if (!open_model(&f, directory, RT_ACTIVATIONS_NATIVE)) return;
        int64_t taken = rt_mem_stats_get().live_bytes - before, unit = stats(&f).unit_bytes;
        RT_CHECK(taken < 512 << 10, "%lld bytes at opening of %lld", (long long)taken, (long long)rt_hf_weight_bytes(f.files));
        bits(&f.weights, &f.precision, false);
        taken = rt_mem_stats_get().live_bytes - before - taken - (int64_t)rt_scratch_bytes() * rt_threads();
        RT_CHECK(taken <= (i ? stats(&f).present * unit : 0) + (1 << 16), "%lld bytes are kept of %lld experts", (long long)taken, (long long)stats(&f).present);
        rt_frozen_close(&f);
        CU_ASSERT_TRUE(rt_mem_stats_get().live_bytes <= before + (int64_t)rt_scratch_bytes() * rt_threads());
    }
}

/* Resident bytes of the map that holds `address`; -1 where the system does not say. */
static int64_t resident(const void *address) {
    char line[512];
    unsigned long from, to, at = (unsigned long)(uintptr_t)address;
    long kib = -1;
    bool inside = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = at >= from && at < to;
        if (inside && sscanf(line, "Rss: %ld kB", &kib) == 1) break;
    }
    if (f) fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}
static void pages_leave_with_their_expert(void) {
    enum { SLACK = 512 << 10 }; /* what the system maps around a page that is read */
    rt_model_config c = large();
    rt_error err = {0};
    rt_hf_hash hash;
    rt_frozen f;
    for (int i = 0; i < 2; i++) { /* halves in place; copies, whose pages go at once */
        if (!open_model(&f, folder(&c, i ? RT_F32 : RT_F16), RT_ACTIVATIONS_NATIVE)) return;
        int64_t unit = stats(&f).unit_bytes, all = rt_hf_weight_bytes(f.files), rest = all - 4 * unit;
        const void *map = rt_hf_weight(f.files, 0)->data;
        RT_OK_OR_FAIL(rt_hf_content_hash(f.files, &hash, &err));
        if (resident(map) < 0) rt_test_skip("no /proc/self/smaps");
        else RT_CHECK(resident(map) <= SLACK, "%lld bytes of %lld stay after the hash", (long long)resident(map), (long long)all);
        RT_OK_OR_FAIL(rt_weights_expert_budget(&f.weights, 2 * unit, &err));
        bits(&f.weights, &f.precision, false);
        CU_ASSERT_TRUE(stats(&f).evictions > 0);
        RT_CHECK(resident(map) <= rest + (i ? 0 : 2 * unit) + SLACK, "%lld bytes of %lld are resident", (long long)resident(map), (long long)all);
        rt_frozen_close(&f);
    }
}

/* Dense weights: the cache of packed panels keeps to its budget and changes no bit. */
static void packed_weights_keep_to_their_budget(void) {
    rt_model_config c = small_config(4);
    c.hidden_size = 320;
    for (int i = 0; i < 2; i++) {
        rt_frozen f;
        rt_error err = {0};
        if (!open_model(&f, folder(&c, i ? RT_F32 : RT_F16), RT_ACTIVATIONS_NATIVE)) return;
        int64_t budgets[] = {1, 60000, 0}, taken[3], cached[3];
        uint64_t first = 0;
        for (int k = 0; k < 3; k++) {
            rt_batch b;
            rt_forward m;
            RT_OK_OR_FAIL(rt_batch_create(&b, 1, LENGTH, &err));
            for (int32_t n = 0; n < LENGTH; n++) b.ids[n] = n % 7, b.position[n] = n, b.start[n] = 0, b.valid[n] = 1;
            int64_t before = rt_mem_stats_get().live_bytes;
            RT_OK_OR_FAIL(rt_forward_open(&m, &f.weights, &f.precision, &(rt_forward_options){.name = "t", .windows = 1, .T = LENGTH, .cache_budget = budgets[k]}, &err));
            taken[k] = rt_mem_stats_get().live_bytes - before;
            cached[k] = rt_graph_stats_get(m.g).cache_bytes;
            for (int pass = 0; pass < 2; pass++) {
                RT_OK_OR_FAIL(rt_forward_run(&m, &b, &err));
                uint64_t h = rt_tensor_hash(rt_forward_hidden(&m));
                if (k == 0 && pass == 0) first = h;
                RT_CHECK(h == first, "budget %lld, pass %d: other bits", (long long)budgets[k], pass);
            }
            rt_forward_close(&m);
            rt_batch_free(&b);
        }
        CU_ASSERT_TRUE(cached[0] == 0 && cached[1] > 0 && cached[1] <= budgets[1] && cached[2] > budgets[1]);
        CU_ASSERT_TRUE(taken[1] - taken[0] == cached[1] && taken[2] - taken[0] == cached[2]);
        rt_frozen_close(&f);
    }
}

/* ---------------------------------------------------------------- refusals */

static void what_cannot_be_is_refused(void) {
    rt_model_config c = small_config(4), dense = small_config(0);
    rt_error err = {0};
    rt_frozen f;
    if (!open_model(&f, folder(&c, RT_F16), RT_ACTIVATIONS_NATIVE)) return;
    CU_ASSERT_EQUAL(stats(&f).unit_bytes, 3 * 32 * 48 * 2);
    CU_ASSERT_EQUAL(rt_weights_expert_budget(&f.weights, 3 * 32 * 48 * 2 - 1, &err), RT_E_CONFIG);
    RT_CHECK(strcmp(err.text, "found an expert budget of 9215 bytes, expected at least 9216, the bytes of one expert") == 0, "%s", err.text);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_weights_expert_budget(&f.weights, 3 * 32 * 48 * 2, &err));
    rt_graph *g = rt_graph_new("t"); /* an operation that reads whole tensors */
    const rt_slot *s = &f.weights.slots[rt_weights_find(&f.weights, RT_WEIGHT_EXPERT_DOWN, 1)];
    rt_ref w = rt_graph_param(g, s->name, &s->t, NULL);
    rt_graph_pieces(g, w, &s->pieces);
    CU_ASSERT_TRUE(rt_ref_is_null(rt_swiglu(g, w, rt_prec_uniform(RT_F16), "here")));
    RT_CHECK(strcmp(rt_graph_error(g), "t.here (swiglu): input 0 ('layers.1.experts.down') comes in pieces, expected one tensor") == 0, "%s", rt_graph_error(g));
    rt_graph_free(g);
    rt_frozen_close(&f);
    if (!open_model(&f, folder(&dense, RT_F16), RT_ACTIVATIONS_NATIVE)) return;
    RT_OK_OR_FAIL(rt_weights_expert_budget(&f.weights, 0, &err));
    CU_ASSERT_EQUAL(rt_weights_expert_budget(&f.weights, 1 << 20, &err), RT_E_CONFIG);
    RT_CHECK(strstr(err.text, "the model has no experts") != NULL, "%s", err.text);
    rt_frozen_close(&f);
}

/* A copy that finds no memory names the operation, and the next pass is whole. */
static void no_memory_for_an_expert_is_named(void) {
    rt_model_config c = small_config(4);
    rt_error err = {0};
    rt_frozen f;
    rig r;
    if (!open_model(&f, folder(&c, RT_F32), RT_ACTIVATIONS_NATIVE)) return;
    RT_OK_OR_FAIL(rig_open(&r, &f.weights, &f.precision, false, &err));
    for (int64_t n = 1; n <= 4; n++) {
        rt_mem_fail_at(n);
        CU_ASSERT_EQUAL(rt_graph_forward(r.g, &err), RT_E_NOMEM);
        rt_mem_fail_at(0);
        RT_CHECK(strncmp(err.text, "t.layers.0.experts (experts): out of memory: 18432 bytes", 56) == 0, "%s", err.text);
        rt_error_clear(&err);
    }
    RT_OK_OR_FAIL(rt_graph_forward(r.g, &err));
    rig_close(&r);
    rt_frozen_close(&f);
}

RT_SUITE(experts) {
    RT_TEST(bits_do_not_depend_on_the_budget);
    RT_TEST(fixtures_give_the_same_bits_in_any_budget);
    RT_TEST(panels_are_the_same_however_weights_lie);
    RT_TEST(tapes_are_the_same);
    RT_TEST(opening_copies_nothing);
    RT_TEST(pages_leave_with_their_expert);
    RT_TEST(packed_weights_keep_to_their_budget);
    RT_TEST(what_cannot_be_is_refused);
    RT_TEST(no_memory_for_an_expert_is_named);
}
