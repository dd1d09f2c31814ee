/* test_bench.c - the benches' harness: medians and their intervals, what --only asks for, records; one small bench as a program. */
#include "bench/figures.h"
#include "harness.h"
#include <math.h>
#include <retort/base/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void medians(void) {
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, one[] = {7};
    CU_ASSERT_EQUAL(bench_median(odd, 3), 2);
    CU_ASSERT_EQUAL(bench_median(even, 4), 2.5);
    bench_stats s = bench_stats_of(one, 1);
    RT_CHECK(s.median == 7 && s.least == 7 && s.greatest == 7 && s.low == 7 && s.high == 7 && s.n == 1, "one sample is its own median and range");
}

/* Sign test: n samples, both ranks counted from 0; tables of the median's confidence interval (e.g. Hollander & Wolfe) have 1-based
 * (1,6), (2,8), (2,9), (6,15), (40,61) for n = 6, 9, 10, 20, 100 at 95 %. */
static void intervals_of_the_median(void) {
    static const int known[][3] = {{1, 0, 0}, {5, 0, 4}, {6, 0, 5}, {9, 1, 7}, {10, 1, 8}, {20, 5, 14}, {100, 39, 60}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        int low, high;
        bench_interval(known[i][0], &low, &high);
        RT_CHECK(low == known[i][1] && high == known[i][2], "n %d: ranks %d to %d, expected %d to %d", known[i][0], low, high, known[i][1], known[i][2]);
    }
    for (int n = 1; n < BENCH_ROUNDS_MAX; n++) {
        int low, high;
        bench_interval(n, &low, &high);
        RT_CHECK(low >= 0 && high < n && low <= high && low + high == n - 1, "n %d: ranks %d to %d", n, low, high);
    }
}

static void only(void) {
    static const struct {
        const char *only, *name;
        bool wanted;
    } all[] = {{NULL, "rows.add", true},   {"kernels", "rows.add", true},       {"kernels.rows", "rows.add", true}, {"kernels.rows.add", "rows.add", true},
               {"kernels.rows.add", "rows", true}, {"kernels.rows.exp", "rows.add", false}, {"r1", "rows.add", false}};
    static bench b;
    b.program = "kernels";
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        b.only = all[i].only;
        RT_CHECK(bench_wanted(&b, all[i].name) == all[i].wanted, "--only %s and %s", all[i].only ? all[i].only : "(none)", all[i].name);
    }
}

/* ------------------------------------------------------------------------------------------------------ as a program */

static bool is_text(const json_t *o, const char *key) {
    const char *text = json_string_value(json_object_get(o, key));
    return text && *text;
}
static void check_record(json_t *o) {
    static const char *const texts[] = {"name", "unit", "cpu", "isa", "version", "revision", NULL};
    static const char *const numbers[] = {"value", "median", "min", "max", "low", "high", "samples", "seconds", "cpu_seconds", "gbytes_per_s", "product_rate", "others", "threads", NULL};
    for (const char *const *k = texts; *k; k++) RT_CHECK(is_text(o, *k), "a record without '%s'", *k);
    for (const char *const *k = numbers; *k; k++) RT_CHECK(json_is_number(json_object_get(o, *k)), "a record without the number '%s'", *k);
    double value = json_number_value(json_object_get(o, "value")), least = json_number_value(json_object_get(o, "min")), most = json_number_value(json_object_get(o, "max"));
    RT_CHECK(value > 0 && least <= value && value <= most && isfinite(most), "value %g between %g and %g", value, least, most);
    RT_CHECK(json_number_value(json_object_get(o, "product_rate")) > 0, "no product rate of the same run");
    RT_CHECK(json_object_size(json_object_get(o, "libraries")) > 0, "no library versions");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(o, "samples")), 2);
}

static void one_figure_as_a_program(void) {
    char command[2048], path[1024], *line;
    snprintf(path, sizeof path, "%s/out.jsonl", rt_test_dir());
    snprintf(command, sizeof command, "%s/bench/bench_kernels --quick --samples 2 --only kernels.rows.add --revision abc --out %s >/dev/null", RT_BINARY_DIR, path);
    CU_ASSERT_EQUAL(system(command), 0);
    rt_buf text = {0};
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 16, &text, &err));
    int lines = 0;
    for (line = text.data ? strtok(text.data, "\n") : NULL; line; line = strtok(NULL, "\n"), lines++) {
        json_t *o = json_loads(line, 0, NULL);
        RT_CHECK(o != NULL, "not JSON: %s", line);
        if (o) check_record(o);
        json_decref(o);
    }
    RT_CHECK(lines == 2, "%d records, expected rows.add in f32 and in f64", lines);
    rt_buf_free(&text);
}
static void a_wrong_option_is_named(void) {
    char command[2048];
    snprintf(command, sizeof command, "%s/bench/bench_kernels --sample 3 2>&1 >/dev/null | grep -q \"unexpected '--sample'\"", RT_BINARY_DIR);
    CU_ASSERT_EQUAL(system(command), 0);
}

RT_SUITE(bench) {
    RT_TEST(medians);
    RT_TEST(intervals_of_the_median);
    RT_TEST(only);
    RT_TEST(one_figure_as_a_program);
    RT_TEST(a_wrong_option_is_named);
}
