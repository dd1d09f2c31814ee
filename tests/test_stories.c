/* test_stories.c - a trained model on real text: tokenizer, windows, model and head together give the perplexity that two other
 * implementations give. Definitions: fixtures/models/stories260K/expected.json. (Its greedy text: test_generate.c.) */
#include "fixture_models.h"
#include "harness.h"
#include "loss_graph.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/text/tokenizer.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { T = 256, WINDOWS = 8 };
#ifdef __SANITIZE_ADDRESS__
enum { SOME = 3 }; /* batches: enough for the sanitizers */
#else
enum { SOME = 1000 };
#endif

static void check_ids(const rt_ids *ids, const json_t *want) {
    uLong crc = 0;
    CU_ASSERT_EQUAL(ids->size, (int64_t)fixture_number(want, "token_count"));
    for (int64_t i = 0; i < ids->size; i++) crc = crc32(crc, (const Bytef[]){(Bytef)(ids->data[i] & 255), (Bytef)(ids->data[i] >> 8)}, 2);
    CU_ASSERT_EQUAL(crc, (uLong)fixture_number(want, "token_ids_crc32_u16le"));
}

static rt_status tokenize(const char *folder, rt_ids *ids, rt_error *err) {
    const char *path = rt_fixture("text/tinystories_heldin.txt");
    rt_tokenizer *t = NULL;
    rt_buf text = {0};
    if (!path) return RT_E_INPUT;
    RT_TRY(rt_file_read(path, 1 << 20, &text, err));
    rt_status s = rt_tokenizer_load(&t, folder, err);
    if (s == RT_OK) s = rt_tokenizer_encode(t, text.data, text.size, true, ids, err);
    rt_buf_free(&text);
    rt_tokenizer_free(t);
    return s;
}

/* A short last batch repeats the first window without targets. */
static void fill(loss_graph *l, const rt_ids *ids, int64_t first, int64_t windows) {
    int32_t rows[WINDOWS * T];
    for (int64_t i = 0; i < WINDOWS * T; i++) rows[i] = ids->data[(first + (i / T < windows ? i / T : 0)) * T + i % T];
    loss_graph_fill(l, rows);
    for (int64_t i = windows * T; i < WINDOWS * T; i++) l->batch.targets[i] = -1;
}

static void check_perplexity(loss_graph *l, const rt_ids *ids, const json_t *want, const char *label) {
    double sum = 0, scored = 0, count;
    int64_t windows = ids->size / T;
    for (int64_t w = 0, batches = 0; w < windows && batches < SOME; w += WINDOWS, batches++) {
        fill(l, ids, w, windows - w < WINDOWS ? windows - w : WINDOWS);
        if (!loss_graph_forward(l)) return;
        sum += loss_graph_sum(l, &count);
        scored += count;
    }
    fill(l, ids, 0, 1);
    if (!loss_graph_forward(l)) return;
    double first = loss_graph_sum(l, &count) / count, nll = sum / scored;
    RT_CHECK(fabs(first - fixture_number(want, "mean_nll_first_window")) <= 1e-5, "%s: nll of the first window %.7f", label, first);
    if (SOME * WINDOWS < windows) return;
    CU_ASSERT_EQUAL(scored, fixture_number(want, "scored_tokens"));
    RT_CHECK(fabs(exp(nll) - fixture_number(want, "perplexity")) <= 1e-4, "%s: perplexity %.6f, expected %.6f", label, exp(nll), fixture_number(want, "perplexity"));
}

static void perplexity_of(const char *model, const char *variant) {
    char name[128];
    rt_error err = {0};
    rt_ids ids = {0};
    json_t *expected = NULL;
    loss_graph l;
    snprintf(name, sizeof name, "models/%s/expected.json", model);
    const char *file = rt_fixture(name);
    snprintf(name, sizeof name, "models/%s/%s", model, variant);
    const char *folder = file ? rt_fixture(name) : NULL;
    if (!folder) return;
    RT_OK_OR_FAIL(rt_json_load(file, 0, &expected, &err));
    RT_OK_OR_FAIL(tokenize(folder, &ids, &err));
    check_ids(&ids, expected);
    if (err.status == RT_OK && loss_graph_open(&l, folder, RT_ACTIVATIONS_F32, WINDOWS, T, false)) {
        check_perplexity(&l, &ids, json_object_get(json_object_get(expected, "variants"), variant), name);
        loss_graph_close(&l);
    }
    rt_ids_free(&ids);
    json_decref(expected);
}

static void perplexity_f32(void) { perplexity_of("stories260K", "hf-f32"); }
static void perplexity_f16(void) { perplexity_of("stories260K", "hf-f16"); }
static void perplexity_of_the_mixture(void) { perplexity_of("stories260K-moe4x", "hf-f32"); }

RT_SUITE(stories) {
    RT_TEST(perplexity_f32);
    RT_TEST(perplexity_f16);
    RT_TEST(perplexity_of_the_mixture);
}
