/* test_synth.c - the synthetic stories: the generator's probability against the parser's, and the files. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/text/synth.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "text/synth_grammar.h"

/* Decision 16: the generator sums the choices it made; the parser knows only the text. */
static void parser_and_generator_agree(void) {
    double total = 0, bytes = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        rt_buf b = {0};
        rt_error err = {0};
        double parsed, made = rt_synth_story(i % 7, "agree", i, &b);
        RT_OK_OR_FAIL(rt_synth_parse(b.data, b.size, &parsed, &err));
        RT_CHECK(fabs(parsed - made) <= 1e-9, "story %d: generator %.12f, parser %.12f bits", (int)i, made, parsed);
        total += made, bytes += (double)b.size;
        rt_buf_free(&b);
    }
    RT_CHECK(total / bytes > 0.5 && total / bytes < 0.9, "%.4f bits per byte", total / bytes);
}

/* Every slot's options are distinct texts that cannot be confused, and the weights are usable. */
static void options_of_a_slot_differ(void) {
    synth_world w = {.cast = 4,
                     .name = {0, 5, 9, 63},
                     .mood = {1, -1, 2, 3},
                     .object = {1, 2, 3, 60},
                     .owner = {0, 0, 2, 3},
                     .place = {1, 2, 3, 4}};
    double weights[SYNTH_OPTIONS];
    char a[SYNTH_OPTION_TEXT], b[SYNTH_OPTION_TEXT];
    for (int kind = SYNTH_INTRO; kind < SYNTH_KINDS; kind++) {
        synth_slots s = {0};
        for (const char *t = synth_templates[kind]; (t = strchr(t, '{')); t += 3) {
            int n = synth_slot_weights(&w, &s, t[1], weights), last = -1;
            CU_ASSERT_TRUE(n >= 1 && n <= SYNTH_OPTIONS);
            for (int i = 0; i < n; i++) {
                if (weights[i] < 0 || !isfinite(weights[i]))
                    RT_FAILF("kind %d slot %c: weight %g", kind, t[1], weights[i]);
                if (weights[i] <= 0) continue;
                last = i;
                synth_slot_text(&w, &s, t[1], i, a);
                for (int j = 0; j < i; j++) {
                    synth_slot_text(&w, &s, t[1], j, b);
                    if (weights[j] > 0 && strcmp(a, b) == 0) RT_FAILF("kind %d slot %c: '%s' twice", kind, t[1], a);
                }
            }
            RT_CHECK(last >= 0, "kind %d slot %c: nothing possible", kind, t[1]);
            synth_slot_set(&s, t[1], last);
        }
    }
}

static const char prefix[] =
    "Tom has a red ball in the garden. Anna has a blue cup in the park. Ben has a green hat in the farm. "
    "Tom feels sad. Anna feels sad. Ben feels sad. ";

static rt_status bits_after_prefix(const char *sentence, double *bits, rt_error *err) {
    rt_buf b = {0};
    rt_buf_printf(&b, "%s%s", prefix, sentence);
    rt_status s = rt_synth_parse(b.data, b.size, bits, err);
    rt_buf_free(&b);
    return s;
}

/* An answer that memory or arithmetic gives costs nothing, so questions alike cost alike; a wrong answer is no
 * sentence. */
static void answers_are_determined(void) {
    static const char *const names[] = {"Anna", "Tom", "Ben"};
    char text[128];
    double bits, first = 0;
    for (int i = 0; i < 103; i++) {
        rt_error err = {0};
        int a = i / 10, c = i % 10;
        if (i < 100)
            snprintf(text, sizeof text, "%d plus %d is %d.", a, c, a + c);
        else
            snprintf(text, sizeof text, "How does %s feel? %s feels sad.", names[i - 100], names[i - 100]);
        RT_OK_OR_FAIL(bits_after_prefix(text, &bits, &err));
        if (i == 0 || i == 100) first = bits;
        CU_ASSERT_DOUBLE_EQUAL(bits, first, 1e-9);
        if (i < 100)
            snprintf(text, sizeof text, "%d plus %d is %d.", a, c, a + c + 1);
        else
            snprintf(text, sizeof text, "How does %s feel? %s feels tired.", names[i - 100], names[i - 100]);
        CU_ASSERT_EQUAL(bits_after_prefix(text, &bits, NULL), RT_E_INPUT);
    }
}

/* By hand: after the six sentences above with FEEL before, "0 plus 0 is 0." and the end cost the kind's share, two
 * digits of ten, and the end's share; the sentence "Tom draws 2 stars: **." differs by its own kind, the opener, a
 * person of three, a count of 8. */
static void a_cost_worked_out_by_hand(void) {
    rt_error err = {0};
    double plus = 0, stars = 0, weights[SYNTH_KINDS], total = 0, end[2];
    synth_world w = {.cast = 3, .mood = {1, 1, 1}, .sentences = 6, .previous = SYNTH_FEEL};
    RT_OK_OR_FAIL(bits_after_prefix("0 plus 0 is 0.", &plus, &err));
    RT_OK_OR_FAIL(bits_after_prefix("Tom draws 2 stars: **.", &stars, &err));
    synth_kind_weights(&w, weights);
    double kinds = log2(weights[SYNTH_PLUS] / weights[SYNTH_STARS]);
    for (int i = 0; i < 2; i++) {
        w.sentences = 7, w.previous = i ? SYNTH_STARS : SYNTH_PLUS;
        synth_kind_weights(&w, weights);
        total = 0;
        for (int k = 0; k < SYNTH_KINDS; k++) total += weights[k];
        end[i] = log2(total / weights[SYNTH_END]);
    }
    CU_ASSERT_DOUBLE_EQUAL(stars - plus, kinds + end[1] - end[0] + log2(16.0 / 8) + log2(3) + log2(8) - 2 * log2(10),
                           1e-9);
}

static void other_text_is_refused(void) {
    static const char *const bad[] = {"",
                                      "Tom",
                                      "Tom has a red ball in the garden.",
                                      "Tom has a red ball in the garden. ",
                                      "1 plus 1 is 2.",
                                      "tom has a red ball in the garden."};
    for (int i = 0; i < 6; i++) {
        rt_error err = {0};
        double bits;
        rt_status s = rt_synth_parse(bad[i], strlen(bad[i]), &bits, &err);
        RT_CHECK(s == RT_E_INPUT && strstr(err.text, "byte "), "'%s': %s %s", bad[i], rt_status_name(s), err.text);
    }
    rt_buf b = {0};
    rt_synth_story(1, "x", 1, &b);
    int read = 0;
    for (size_t n = 0; n < b.size; n++) { /* a story cut anywhere but after a sentence */
        double bits;
        read += rt_synth_parse(b.data, n, &bits, NULL) == RT_OK;
    }
    CU_ASSERT_TRUE(read <= 24);
    rt_buf_free(&b);
}

static double bits_of(const rt_json *files, const char *name, int64_t *documents, int64_t *bytes) {
    rt_error err = {0};
    rt_json f;
    double bits = 0;
    RT_OK_OR_FAIL(rt_json_object(files, name, &f, &err));
    RT_OK_OR_FAIL(rt_json_int(&f, "documents", 1, INT64_MAX, documents, &err));
    RT_OK_OR_FAIL(rt_json_int(&f, "bytes", 1, INT64_MAX, bytes, &err));
    RT_OK_OR_FAIL(rt_json_real(&f, "bits", &bits, &err));
    return bits;
}

static void files_have_the_entropy_they_claim(void) {
    static const char *const names[] = {"train.txt", "valid.txt", "test.txt"};
    rt_error err = {0};
    rt_synth_entropy made[3], again[3], measured;
    const char *dir = rt_test_dir(), *dir2 = rt_test_dir();
    char path[1024], path2[1024];
    RT_OK_OR_FAIL(rt_synth_write(dir, 200000, 5, made, &err));
    RT_OK_OR_FAIL(rt_synth_write(dir2, 200000, 5, again, &err));
    json_t *v;
    snprintf(path, sizeof path, "%s/source.json", dir);
    RT_OK_OR_FAIL(rt_json_load(path, 0, &v, &err));
    rt_json root = rt_json_root(v, path), files;
    RT_OK_OR_FAIL(rt_json_object(&root, "files", &files, &err));
    uint32_t crc[3], crc2;
    for (int i = 0; i < 3; i++) {
        int64_t documents, bytes;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        snprintf(path2, sizeof path2, "%s/%s", dir2, names[i]);
        RT_OK_OR_FAIL(rt_synth_measure(path, &measured, &err));
        double told = bits_of(&files, names[i], &documents, &bytes);
        CU_ASSERT_TRUE(told == made[i].bits && documents == made[i].documents && bytes == made[i].bytes);
        CU_ASSERT_TRUE(measured.documents == documents && measured.bytes == bytes);
        CU_ASSERT_DOUBLE_EQUAL(measured.bits, told, 1e-9 * told);
        CU_ASSERT_TRUE(bytes >= (i ? 10000 : 180000) && bytes < (i ? 13000 : 183000));
        RT_OK_OR_FAIL(rt_file_crc32(path, &crc[i], NULL, &err));
        RT_OK_OR_FAIL(rt_file_crc32(path2, &crc2, NULL, &err));
        CU_ASSERT_EQUAL(crc[i], crc2);
    }
    CU_ASSERT_NOT_EQUAL(crc[1], crc[2]);
    json_decref(v);
    CU_ASSERT_EQUAL(rt_synth_write(dir, 10, 5, made, NULL), RT_E_ARG);
}

static void failures_leave_nothing(void) {
    rt_synth_entropy e[3];
    rt_mem_stats before = rt_mem_stats_get();
    for (int64_t nth = 1;; nth++) {
        rt_error err = {0};
        const char *dir = rt_test_dir();
        rt_mem_fail_at(nth);
        rt_status s = rt_synth_write(dir, 10000, 1, e, &err);
        rt_mem_fail_at(0);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before.live_blocks);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s", (long long)nth, err.text);
        if (s == RT_OK) break;
    }
    for (int64_t nth = 1;; nth++) {
        rt_error err = {0};
        char path[1024];
        const char *dir = rt_test_dir();
        rt_file_fail_at(nth);
        rt_status s = rt_synth_write(dir, 10000, 1, e, &err);
        rt_file_fail_at(0);
        RT_CHECK(s == RT_OK || s == RT_E_IO, "write %lld: %s", (long long)nth, err.text);
        snprintf(path, sizeof path, "%s/train.txt", dir);
        if (nth < 4) CU_ASSERT_FALSE(rt_file_exists(path)); /* write, sync, rename of the first file */
        if (s == RT_OK) break;
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before.live_blocks);
}

RT_SUITE(synth) {
    RT_TEST(parser_and_generator_agree);
    RT_TEST(options_of_a_slot_differ);
    RT_TEST(answers_are_determined);
    RT_TEST(a_cost_worked_out_by_hand);
    RT_TEST(other_text_is_refused);
    RT_TEST(files_have_the_entropy_they_claim);
    RT_TEST(failures_leave_nothing);
}
