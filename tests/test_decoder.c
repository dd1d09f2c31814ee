/* test_decoder.c - going on over a cache against the forward pass over the whole sequence: exactly, and within a bound. Every
 * family of the fixtures, in every precision they come in; small random models where sequences must be long. */
#include "fixture_models.h"
#include "harness.h"
#include "small_model.h"
#include <retort/base/file.h>
#include <retort/base/threads.h>
#include <retort/ops/ops.h>
#include <retort/infer/decoder.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------- tables */

/* Logits of all n ids in one forward pass: [n, V]; data owned. */
static rt_tensor table_of(const rt_weights *w, const rt_precision *p, const int32_t *ids, int64_t n) {
    rt_error err = {0};
    rt_logits l;
    const rt_tensor *z = NULL;
    rt_tensor copy = {0};
    RT_OK_OR_FAIL(rt_logits_open(&l, w, p, n, &err));
    if (err.status == RT_OK) RT_OK_OR_FAIL(rt_logits_run(&l, ids, n, &z, &err));
    if (z) copy = *z, copy.data = memcpy(rt_alloc(rt_tensor_bytes(z)), z->data, rt_tensor_bytes(z));
    rt_logits_close(&l);
    return copy;
}
/* The largest difference of row `a` of x and row `b` of y, over the largest absolute logit of y. */
static double distance(const rt_tensor *x, int64_t a, const rt_tensor *y, int64_t b) {
    double off = 0, size = 0;
    for (int64_t v = 0; v < y->dim[1]; v++) {
        off = fmax(off, fabs(rt_get(x, a * x->dim[1] + v) - rt_get(y, b * y->dim[1] + v)));
        size = fmax(size, fabs(rt_get(y, b * y->dim[1] + v)));
    }
    return off / size;
}
static bool same_row(const rt_tensor *x, int64_t a, const rt_tensor *y, int64_t b) {
    size_t row = (size_t)y->dim[1] * rt_dtype_size(y->dtype);
    return memcmp((char *)x->data + (size_t)a * row, (char *)y->data + (size_t)b * row, row) == 0;
}

/* The ids fed as a prompt in chunks, then one by one; the worst distance of any row, and how many rows have other bits. */
typedef struct outcome {
    double worst;
    int other_bits;
} outcome;
static outcome feed(const rt_weights *w, const rt_precision *p, rt_decoder_options o, const int32_t *ids, int64_t n, int64_t prompt, const rt_tensor *table) {
    rt_error err = {0};
    rt_decoder *d = NULL;
    outcome r = {0, 0};
    int32_t sequence = (int32_t)o.sequences - 1;
    o.positions = n;
    RT_OK_OR_FAIL(rt_decoder_open(&d, w, p, &o, &err));
    for (int64_t at = prompt; at <= n && err.status == RT_OK && table->data; at++) {
        const rt_tensor *z = NULL;
        if (at == prompt) RT_OK_OR_FAIL(rt_decoder_prefill(d, sequence, ids, prompt, &z, &err));
        else RT_OK_OR_FAIL(rt_decoder_step(d, &sequence, ids + at - 1, 1, &z, &err));
        if (!z) break;
        r.worst = fmax(r.worst, distance(z, 0, table, at - 1));
        r.other_bits += !same_row(z, 0, table, at - 1);
    }
    rt_decoder_close(d);
    return r;
}

/* ----------------------------------------------------------------- fixtures */

static const char *const families[] = {"llama", "llama3", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", "olmoe", "qwen2_moe"};
static const char *const dtypes[] = {"f32", "f16", "bf16"};
enum { FAMILIES = 9, DTYPES = 3, T = 64 };

static void each_fixture(void (*fn)(const rt_frozen *m, const int32_t *ids, const char *name)) {
    for (int f = 0; f < FAMILIES; f++) {
        fixture x;
        if (!fixture_open(&x, families[f])) continue;
        for (int t = 0; t < DTYPES; t++)
            for (int native = 0; native < 2; native++) {
                char name[64];
                rt_error err = {0};
                rt_frozen m;
                snprintf(name, sizeof name, "%s/%s, %s activations", families[f], dtypes[t], native ? "native" : "f32");
                if ((native && t == 0) || !rt_dir_exists(fixture_path(&x, dtypes[t]))) continue;
                RT_OK_OR_FAIL(rt_frozen_open(&m, fixture_path(&x, dtypes[t]), native ? RT_ACTIVATIONS_NATIVE : RT_ACTIVATIONS_F32, &err));
                if (err.status == RT_OK) fn(&m, x.ids, name);
                rt_frozen_close(&m);
            }
        fixture_close(&x);
    }
}

static void check_exact(const rt_frozen *m, const int32_t *ids, const char *name) {
    static const int64_t prompts[] = {1, 31, 33, 63}, chunks[] = {1, 7, 32, 0};
    rt_tensor table = table_of(&m->weights, &m->precision, ids, T);
    for (int i = 0; i < 4; i++) {
        rt_decoder_options o = {.sequences = 1, .chunk = chunks[i], .exact = true};
        outcome r = feed(&m->weights, &m->precision, o, ids, T, prompts[i], &table);
        RT_CHECK(r.other_bits == 0, "%s: prompt %d in chunks of %d: %d rows have other bits", name, (int)prompts[i], (int)chunks[i], r.other_bits);
    }
    rt_free(table.data);
}
static void exact_rows_have_the_bits_of_the_whole(void) { each_fixture(check_exact); }

/* With half activations two orders of summation round differently here and there, and every later operation sees it. Each is as
 * far from the pass with f32 activations as rounding activations moves the logits; they are at most twice that apart. */
static void check_few(const rt_frozen *m, const int32_t *ids, const char *name) {
    static const int64_t prompts[] = {1, 16, 40};
    rt_precision wide = rt_precision_teacher(m->precision.weight[rt_role_embedding], false);
    bool native = !rt_precision_equal(&wide, &m->precision);
    rt_tensor table = table_of(&m->weights, &m->precision, ids, T), other = table_of(&m->weights, &wide, ids, T);
    double bound = 1e-5;
    for (int64_t i = 0; native && i < T; i++) bound = fmax(bound, 2 * distance(&table, i, &other, i));
    for (int i = 0; i < 3; i++) {
        outcome r = feed(&m->weights, &m->precision, (rt_decoder_options){.sequences = 1, .chunk = 0}, ids, T, prompts[i], &table);
        RT_CHECK(r.worst <= bound, "%s: prompt %d: off by %g of the largest logit, at most %g", name, (int)prompts[i], r.worst, bound);
        CU_ASSERT_TRUE(r.other_bits > 0 || r.worst == 0);
    }
    rt_free(table.data), rt_free(other.data);
}
static void few_rows_stay_within_the_bound(void) { each_fixture(check_few); }

/* ---------------------------------------------------------- long sequences */

enum { LONG = 1100 };
static void open_long(rt_weights *w, int64_t experts, const rt_precision *p, int32_t *ids) {
    rt_model_config c = small_config(experts);
    c.max_position = LONG;
    small_model(w, &c, p, 0.2);
    for (int i = 0; i < LONG; i++) ids[i] = i * 31 % SMALL_V;
}
/* Prompts that end around a tile of keys (512 rows), in chunks that straddle it. */
static void tiles_of_keys_do_not_show(void) {
    static const int64_t prompts[] = {500, 511, 512, 513, 1024}, chunks[] = {37, 512, 100, 0, 300};
    static int32_t ids[LONG];
    for (int half = 0; half < 2; half++) {
        rt_weights w;
        rt_precision p = half ? rt_precision_teacher(RT_F16, true) : rt_precision_teacher(RT_F32, true);
        open_long(&w, half ? 4 : 0, &p, ids);
        rt_tensor table = table_of(&w, &p, ids, LONG);
        for (int i = 0; i < 5; i++) {
            int64_t n = prompts[i] + 20;
            outcome exact = feed(&w, &p, (rt_decoder_options){.sequences = 1, .chunk = chunks[i], .exact = true}, ids, n, prompts[i], &table);
            RT_CHECK(exact.other_bits == 0, "prompt %d in chunks of %d: %d rows have other bits", (int)prompts[i], (int)chunks[i], exact.other_bits);
            outcome few = feed(&w, &p, (rt_decoder_options){.sequences = 1, .chunk = chunks[i]}, ids, n, prompts[i], &table);
            RT_CHECK(half || few.worst <= 1e-5, "prompt %d: off by %g", (int)prompts[i], few.worst);
        }
        rt_free(table.data);
        rt_weights_free(&w);
    }
}

/* ---------------------------------------------------------------- sequences */

enum { LONGEST = 90, OTHERS = 3 };
static void make_text(int32_t *ids, int64_t n, int which) {
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 13 + which * 29 + i * i % 7) % SMALL_V);
}
/* Three sequences of different lengths go on together, each with the bits it has alone; one of them from a copy, after a cut. */
static void side_by_side(bool exact) {
    rt_error err = {0};
    rt_weights w;
    rt_precision p = rt_precision_teacher(RT_F16, false);
    rt_model_config c = small_config(4);
    static int32_t ids[OTHERS][LONGEST];
    rt_decoder *alone[OTHERS], *all = NULL;
    const int64_t prompt[OTHERS] = {40, 3, 17};
    const rt_tensor *z = NULL, *one = NULL;
    small_model(&w, &c, &p, 0.2);
    RT_OK_OR_FAIL(rt_decoder_open(&all, &w, &p, &(rt_decoder_options){.sequences = OTHERS + 1, .positions = LONGEST, .exact = exact}, &err));
    for (int s = 0; s < OTHERS; s++) {
        make_text(ids[s], LONGEST, s);
        RT_OK_OR_FAIL(rt_decoder_open(&alone[s], &w, &p, &(rt_decoder_options){.sequences = 1, .positions = LONGEST, .exact = exact}, &err));
        RT_OK_OR_FAIL(rt_decoder_prefill(alone[s], 0, ids[s], prompt[s], &one, &err));
        RT_OK_OR_FAIL(rt_decoder_prefill(all, s, ids[s], prompt[s], &z, &err));
        if (err.status == RT_OK) RT_CHECK(same_row(z, 0, one, 0), "prompt %d has other bits", s);
    }
    rt_decoder_copy(all, 2, OTHERS); /* and feed the copy something else, and forget that again */
    RT_OK_OR_FAIL(rt_decoder_step(all, (int32_t[]){OTHERS}, ids[0], 1, &z, &err));
    rt_decoder_cut(all, OTHERS, prompt[2]);
    CU_ASSERT_EQUAL(rt_decoder_length(all, OTHERS), prompt[2]);
    for (int64_t i = 0; i < 20 && err.status == RT_OK; i++) {
        const int32_t who[] = {OTHERS, 0, 1}, which[] = {2, 0, 1};
        int32_t next[OTHERS];
        for (int s = 0; s < OTHERS; s++) next[s] = ids[which[s]][prompt[which[s]] + i];
        RT_OK_OR_FAIL(rt_decoder_step(all, who, next, i < 10 ? 3 : 2, &z, &err)); /* one ends earlier */
        for (int s = 0; s < (i < 10 ? 3 : 2) && z; s++) {
            RT_OK_OR_FAIL(rt_decoder_step(alone[which[s]], (int32_t[]){0}, &next[s], 1, &one, &err));
            RT_CHECK(one && same_row(z, s, one, 0), "row %lld of sequence %d has other bits", (long long)i, (int)who[s]);
        }
    }
    for (int s = 0; s < OTHERS; s++) rt_decoder_close(alone[s]);
    rt_decoder_close(all);
    rt_weights_free(&w);
}
static void sequences_do_not_see_each_other(void) { side_by_side(false); }
static void exact_sequences_do_not_either(void) { side_by_side(true); }

static void threads_change_no_bit(void) {
    rt_weights w;
    rt_precision p = rt_precision_teacher(RT_BF16, true);
    static int32_t ids[LONG];
    static float first[SMALL_V];
    open_long(&w, 4, &p, ids);
    for (int n = 1; n <= 3; n++) {
        rt_error err = {0};
        rt_decoder *d = NULL;
        const rt_tensor *z = NULL;
        rt_threads_set(n);
        RT_OK_OR_FAIL(rt_decoder_open(&d, &w, &p, &(rt_decoder_options){.sequences = 1, .positions = 400}, &err));
        RT_OK_OR_FAIL(rt_decoder_prefill(d, 0, ids, 300, &z, &err));
        for (int i = 300; i < 320; i++) RT_OK_OR_FAIL(rt_decoder_step(d, (int32_t[]){0}, &ids[i], 1, &z, &err));
        if (z && n == 1) memcpy(first, z->data, sizeof first);
        RT_CHECK(z && memcmp(first, z->data, sizeof first) == 0, "%d threads: other bits", n);
        rt_decoder_close(d);
    }
    rt_threads_set(0);
    rt_weights_free(&w);
}

/* -------------------------------------------------------- memory, refusals */

static void a_step_allocates_nothing(void) {
    rt_error err = {0};
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(4);
    rt_decoder *d = NULL;
    const rt_tensor *z;
    small_model(&w, &c, &p, 0.2);
    for (int exact = 0; exact < 2; exact++) {
        RT_OK_OR_FAIL(rt_decoder_open(&d, &w, &p, &(rt_decoder_options){.sequences = 2, .positions = 100, .exact = exact}, &err));
        RT_OK_OR_FAIL(rt_decoder_prefill(d, 1, (int32_t[]){1, 2, 3}, 3, &z, &err));
        int64_t before = rt_mem_stats_get().calls;
        for (int i = 0; i < 30; i++) RT_OK_OR_FAIL(rt_decoder_step(d, (int32_t[]){1}, (int32_t[]){4}, 1, &z, &err));
        RT_OK_OR_FAIL(rt_decoder_prefill(d, 0, (int32_t[]){1, 2, 3, 4, 5}, 5, &z, &err));
        CU_ASSERT_EQUAL(rt_mem_stats_get().calls, before);
        rt_decoder_memory m = rt_decoder_memory_get(d);
        CU_ASSERT_EQUAL(m.keys_values, 2 * 100 * c.layers * 2 * c.kv_heads * c.head_dim * 4);
        RT_CHECK((m.packed > 0) == exact && m.activations > 0, "%lld bytes of packed weights", (long long)m.packed);
        rt_decoder_close(d);
    }
    rt_weights_free(&w);
}

static void what_does_not_fit_is_refused(void) {
    rt_error err = {0};
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(0);
    rt_decoder *d = NULL;
    const rt_tensor *z;
    small_model(&w, &c, &p, 0.2);
    rt_decoder_options o = {.sequences = 2, .positions = SMALL_POSITIONS + 1};
    CU_ASSERT_EQUAL(rt_decoder_open(&d, &w, &p, &o, &err), RT_E_CONFIG);
    RT_CHECK(d == NULL && strstr(err.text, "161 positions: the model has 160"), "%s", err.text);
    rt_error_clear(&err);
    o.positions = 10;
    RT_OK_OR_FAIL(rt_decoder_open(&d, &w, &p, &o, &err));
    RT_OK_OR_FAIL(rt_decoder_prefill(d, 1, (int32_t[]){1, 2, 3, 4, 5, 6, 7, 8}, 8, &z, &err));
    CU_ASSERT_EQUAL(rt_decoder_prefill(d, 1, (int32_t[]){1, 2, 3}, 3, &z, &err), RT_E_ARG);
    RT_CHECK(strstr(err.text, "3 rows more than the 8 of sequence 1, there are 10 positions"), "%s", err.text);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_decoder_step(d, (int32_t[]){2}, (int32_t[]){1}, 1, &z, &err), RT_E_ARG);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_decoder_step(d, (int32_t[]){1}, (int32_t[]){SMALL_V}, 1, &z, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "model.embed (embed): token id 97") && rt_decoder_length(d, 1) == 8, "%s", err.text);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_decoder_step(d, (int32_t[]){1}, (int32_t[]){1}, 1, &z, &err)); /* and goes on */
    rt_decoder_close(d);
    rt_weights_free(&w);
}

/* A state is written in place, so nothing with one is planned for training. */
static void a_state_is_not_trained(void) {
    rt_error err = {0};
    float memory[2 * 4 * 8] = {0}, qkv[24] = {0};
    int32_t zero = 0;
    rt_graph *g = rt_graph_new("t");
    rt_tensor state = rt_tensor_make(RT_F32, 4, (int64_t[]){1, 2, 4, 8}, memory), x = rt_tensor_2d(RT_F32, qkv, 1, 24), i = rt_tensor_1d(RT_I32, &zero, 1);
    rt_ref in = rt_graph_input(g, "x", &x), s = rt_graph_input(g, "sequence", &i);
    rt_prec p = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    rt_graph_output(g, rt_attention_cached(g, in, s, s, rt_graph_state(g, "past", &state), (rt_heads){1, 1, 8, 0}, p, "attention"));
    CU_ASSERT_EQUAL(rt_graph_plan(g, true, &err), RT_E_ARG);
    rt_graph_free(g), rt_error_clear(&err);
    g = rt_graph_new("t");
    in = rt_graph_input(g, "x", &x), s = rt_graph_input(g, "sequence", &i);
    rt_attention_cached(g, in, s, s, rt_graph_input(g, "past", &state), (rt_heads){1, 1, 8, 0}, p, "attention");
    RT_CHECK(rt_graph_plan(g, false, &err) == RT_E_ARG && strstr(err.text, "must be a state"), "%s", err.text);
    rt_graph_free(g);
}

RT_SUITE(decoder) {
    RT_TEST(exact_rows_have_the_bits_of_the_whole);
    RT_TEST(few_rows_stay_within_the_bound);
    RT_TEST(tiles_of_keys_do_not_show);
    RT_TEST(sequences_do_not_see_each_other);
    RT_TEST(exact_sequences_do_not_either);
    RT_TEST(threads_change_no_bit);
    RT_TEST(a_step_allocates_nothing);
    RT_TEST(what_does_not_fit_is_refused);
    RT_TEST(a_state_is_not_trained);
}
