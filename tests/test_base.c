/* test_base.c - status, memory, random numbers, threads. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <math.h>
#include <string.h>

static void errors_keep_the_first_text(void) {
    rt_error err = {0};
    CU_ASSERT_EQUAL(rt_fail(&err, RT_E_SHAPE, "first %d", 1), RT_E_SHAPE);
    CU_ASSERT_EQUAL(rt_fail(&err, RT_E_INPUT, "second"), RT_E_INPUT);
    CU_ASSERT_STRING_EQUAL(err.text, "first 1");
    rt_error_prefix(&err, "where %d", 2);
    CU_ASSERT_STRING_EQUAL(err.text, "where 2: first 1");
    rt_error line = {0};
    CU_ASSERT_EQUAL(rt_fail(&line, RT_E_INPUT, "name '%s'", "a\nb\x1b\xc3\xa9"), RT_E_INPUT);
    CU_ASSERT_STRING_EQUAL(line.text, "name 'a?b?\xc3\xa9'");
    CU_ASSERT_EQUAL(rt_status_exit(RT_E_NUMERIC), 4);
    CU_ASSERT_STRING_EQUAL(rt_status_name(RT_E_PREC), "E_PREC");
}

static void nearest_name(void) {
    const char *names[] = {"temperature", "weight", "warmup", NULL};
    CU_ASSERT_STRING_EQUAL(rt_nearest("temprature", names), "temperature");
    CU_ASSERT_STRING_EQUAL(rt_nearest("wieght", names), "weight");
    CU_ASSERT_PTR_NULL(rt_nearest("zzz", names));
}

static void allocator_counts_and_fails_on_demand(void) {
    rt_mem_stats before = rt_mem_stats_get();
    char *p = rt_alloc(100);
    CU_ASSERT_EQUAL((uintptr_t)p % 64, 0);
    p = rt_realloc(p, 1000);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_bytes - before.live_bytes, 1000);
    rt_free(p);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before.live_blocks);
    rt_mem_fail_at(2);
    p = rt_alloc(1);
    CU_ASSERT_PTR_NOT_NULL(p);
    CU_ASSERT_PTR_NULL(rt_alloc(1));
    rt_free(p);
    rt_buf b = {0};
    rt_mem_fail_at(1);
    rt_buf_puts(&b, "x");
    CU_ASSERT_TRUE(b.failed);
    rt_buf_free(&b);
    CU_ASSERT_EQUAL(rt_array_bytes(SIZE_MAX / 2, 3), SIZE_MAX);
    CU_ASSERT_PTR_NULL(rt_alloc(SIZE_MAX));
}

static void arena_zeroes_and_frees_all(void) {
    rt_mem_stats before = rt_mem_stats_get();
    rt_arena a = {0};
    for (int i = 0; i < 2000; i++) {
        char *p = rt_arena_alloc(&a, (size_t)i);
        for (int j = 0; j < i; j++) if (p[j]) CU_FAIL_FATAL("not zero");
        memset(p, 1, (size_t)i);
    }
    CU_ASSERT_STRING_EQUAL(rt_arena_printf(&a, "%d-%s", 3, "x"), "3-x");
    rt_arena_free(&a);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before.live_blocks);
}

static void philox_known_answers(void) { /* Random123's kat_vectors for philox4x32-10 */
    rt_rng zero = {0, 0}, ones = {UINT64_MAX, UINT64_MAX};
    CU_ASSERT_EQUAL(rt_rng_u64(zero, 0), 0x6627e8d5e169c58dull);
    CU_ASSERT_EQUAL(rt_rng_u64(ones, UINT64_MAX), 0x408f276d41c83b0eull);
}

static void random_numbers_have_their_moments(void) {
    rt_rng r = rt_rng_make(7, "moments", 0);
    double m = 0, v = 0, u = 0;
    int n = 100000;
    for (int i = 0; i < n; i++) {
        double x = rt_rng_normal(r, (uint64_t)i);
        m += x, v += x * x, u += rt_rng_uniform(r, (uint64_t)i);
    }
    CU_ASSERT_DOUBLE_EQUAL(m / n, 0, 0.02);
    CU_ASSERT_DOUBLE_EQUAL(v / n, 1, 0.02);
    CU_ASSERT_DOUBLE_EQUAL(u / n, 0.5, 0.01);
}

static void permutation_is_one(void) {
    for (uint64_t n = 1; n < 200; n += 13) {
        unsigned char seen[200] = {0};
        rt_rng r = rt_rng_make(n, "permute", 1);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = rt_rng_permute(r, i, n);
            if (j >= n || seen[j]++) CU_FAIL_FATAL("not a permutation");
        }
    }
}

static void mark(void *context, int64_t task, int worker) {
    (void)worker;
    ((int *)context)[task]++;
}
static void every_task_runs_once(void) {
    int before = rt_threads();
    for (int threads = 1; threads <= 3; threads++) {
        int seen[101] = {0};
        rt_threads_set(threads);
        rt_parallel(101, mark, seen);
        for (int i = 0; i < 101; i++) if (seen[i] != 1) CU_FAIL_FATAL("task not run once");
    }
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_scratch_reserve(1000, &err));
    CU_ASSERT_TRUE(rt_scratch(0) != rt_scratch(2) && rt_scratch_bytes() >= 1000);
    rt_threads_set(before);
}

RT_SUITE(base) {
    RT_TEST(errors_keep_the_first_text);
    RT_TEST(nearest_name);
    RT_TEST(allocator_counts_and_fails_on_demand);
    RT_TEST(arena_zeroes_and_frees_all);
    RT_TEST(philox_known_answers);
    RT_TEST(random_numbers_have_their_moments);
    RT_TEST(permutation_is_one);
    RT_TEST(every_task_runs_once);
}
