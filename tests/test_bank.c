/* test_bank.c - the list of what is present: order of leaving, counts, waves, memory that is handed on. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/tensor/bank.h>
#include <string.h>

enum { UNITS = 7, BYTES = 64, TASKS = 4 };
typedef struct origin {
    int loads[UNITS], loaded[UNITS], evicted[UNITS];
    bool closed;
} origin;

/* A quarter of a unit's memory. */
static void load(void *context, int64_t unit, int64_t task, void *memory) {
    if (memory) memset((char *)memory + task * BYTES / TASKS, (int)(unit * TASKS + task), BYTES / TASKS);
    if (task == 0) ((origin *)context)->loads[unit]++;
}
static void loaded(void *context, int64_t unit) { ((origin *)context)->loaded[unit]++; }
static void evicted(void *context, int64_t unit) { ((origin *)context)->evicted[unit]++; }
static rt_piece piece(void *context, int64_t unit, int part, const void *memory) {
    (void)context, (void)unit;
    return (rt_piece){{(const char *)memory + part, NULL}, false};
}
static void closed(void *context) { ((origin *)context)->closed = true; }

static rt_bank *open_bank(origin *o, bool copied) {
    rt_error err = {0};
    rt_bank *b = NULL;
    *o = (origin){0};
    rt_bank_source s = {o, UNITS, BYTES, TASKS, copied, load, loaded, evicted, piece, closed};
    RT_OK_OR_FAIL(rt_bank_open(&b, &s, &err));
    return b;
}
/* Acquires units `wanted`; returns how many were taken. */
static int64_t acquire(rt_bank *b, int64_t first, int32_t *wanted, int64_t n) {
    rt_error err = {0};
    int64_t taken = -1;
    RT_OK_OR_FAIL(rt_bank_acquire(b, first, wanted, n, &taken, &err));
    return taken;
}
static bool oldest_are(const rt_bank *b, const int *units, int n) {
    bool same = rt_bank_oldest(b, n) == -1;
    for (int i = 0; i < n; i++) same &= rt_bank_oldest(b, i) == units[i];
    return same;
}
#define OLDEST(b, ...) oldest_are(b, (int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)))
#define ACQUIRE(b, ...) acquire(b, 0, (int32_t[]){__VA_ARGS__}, (int64_t)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t)))

static void the_least_recently_used_leaves(void) {
    origin o;
    rt_bank *b = open_bank(&o, true);
    rt_bank_limit(b, 3 * BYTES + BYTES - 1);
    CU_ASSERT_EQUAL(rt_bank_stats_get(b).capacity, 3);
    CU_ASSERT_EQUAL(ACQUIRE(b, 0, 1, 2), 3);
    CU_ASSERT_TRUE(OLDEST(b, 0, 1, 2));
    CU_ASSERT_EQUAL(ACQUIRE(b, 0), 1); /* a hit: now the newest */
    CU_ASSERT_TRUE(OLDEST(b, 1, 2, 0));
    CU_ASSERT_EQUAL(ACQUIRE(b, 3), 1); /* 1 leaves */
    CU_ASSERT_TRUE(OLDEST(b, 2, 0, 3));
    CU_ASSERT_EQUAL(ACQUIRE(b, 4, 2), 2); /* 2 is a hit and stays; 0, not 2, makes room for 4 */
    CU_ASSERT_TRUE(OLDEST(b, 3, 2, 4));
    CU_ASSERT_TRUE(o.evicted[0] == 1 && o.evicted[1] == 1 && o.evicted[2] == 0);
    rt_bank_stats s = rt_bank_stats_get(b);
    CU_ASSERT_TRUE(s.hits == 2 && s.loads == 5 && s.evictions == 2 && s.present == 3 && s.most_present == 3);
    rt_bank_limit(b, BYTES); /* two leave at once */
    CU_ASSERT_TRUE(OLDEST(b, 4));
    rt_bank_limit(b, 0);
    CU_ASSERT_EQUAL(rt_bank_stats_get(b).capacity, UNITS);
    rt_bank_close(b);
    CU_ASSERT_TRUE(o.closed);
}

/* More than fits: what is present first, both parts in their order, then wave by wave. */
static void waves_take_what_is_present_first(void) {
    origin o;
    rt_bank *b = open_bank(&o, false);
    rt_bank_limit(b, 2 * BYTES);
    ACQUIRE(b, 5, 3);
    int32_t wanted[] = {0, 1, 2, 3, 4}, first[] = {3, 0, 1, 2, 4};
    CU_ASSERT_EQUAL(acquire(b, 1, wanted, 5), 2); /* units 1..5: 3 and 5 are wanted as 2 and 4 */
    CU_ASSERT_TRUE(memcmp(wanted, (int32_t[]){2, 4, 0, 1, 3}, sizeof wanted) == 0);
    CU_ASSERT_TRUE(OLDEST(b, 3, 5));
    CU_ASSERT_EQUAL(acquire(b, 1, wanted + 2, 3), 2);
    CU_ASSERT_TRUE(OLDEST(b, 1, 2));
    CU_ASSERT_EQUAL(acquire(b, 1, wanted + 4, 1), 1);
    CU_ASSERT_TRUE(OLDEST(b, 2, 4));
    CU_ASSERT_EQUAL(acquire(b, 1, first, 5), 2); /* 4 is unit 1 + 3, 2 is unit 1 + 1 */
    CU_ASSERT_TRUE(memcmp(first, (int32_t[]){3, 1, 0, 2, 4}, sizeof first) == 0);
    rt_bank_stats s = rt_bank_stats_get(b);
    CU_ASSERT_TRUE(s.hits == 4 && s.loads == 5 && s.evictions == 3);
    rt_bank_close(b);
}

/* A copy is whole after loading, whoever had its memory before, and memory never exceeds the limit. */
static void copies_are_whole_and_memory_is_handed_on(void) {
    origin o;
    int64_t before = rt_mem_stats_get().live_blocks;
    rt_bank *b = open_bank(&o, true);
    int64_t empty = rt_mem_stats_get().live_blocks;
    rt_bank_limit(b, 2 * BYTES);
    for (int round = 0; round < 3; round++)
        for (int32_t u = 0; u < UNITS; u++) {
            CU_ASSERT_EQUAL(acquire(b, 0, (int32_t[]){u, (u + 1) % UNITS}, 2), 2);
            for (int k = 0; k < 2; k++) {
                int unit = (u + k) % UNITS;
                bool whole = true;
                for (int i = 0; i < BYTES; i++) whole &= *(const char *)rt_bank_piece(b, unit, i).block[0] == unit * TASKS + i * TASKS / BYTES;
                RT_CHECK(whole, "unit %d is not whole", unit);
            }
            CU_ASSERT_TRUE(rt_mem_stats_get().live_blocks - empty <= 2);
        }
    for (int u = 0; u < UNITS; u++) CU_ASSERT_TRUE(o.loads[u] == o.loaded[u] && o.loads[u] >= o.evicted[u] && o.loads[u] <= o.evicted[u] + 1);
    rt_bank_close(b);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
}

static void no_memory_leaves_nothing_half_present(void) {
    origin o;
    rt_error err = {0};
    rt_bank *b = open_bank(&o, true);
    int32_t wanted[] = {0, 1, 2};
    int64_t taken;
    ACQUIRE(b, 6);
    for (int64_t n = 1; n <= 3; n++) {
        rt_mem_fail_at(n);
        CU_ASSERT_EQUAL(rt_bank_acquire(b, 0, wanted, 3, &taken, &err), RT_E_NOMEM);
        rt_mem_fail_at(0);
        rt_error_clear(&err);
        CU_ASSERT_TRUE(OLDEST(b, 6));
        CU_ASSERT_EQUAL(o.loads[0] + o.loads[1] + o.loads[2], 0);
    }
    CU_ASSERT_EQUAL(acquire(b, 0, wanted, 3), 3);
    rt_bank_close(b);
    for (int64_t n = 1; n <= 2; n++) {
        rt_bank_source s = {&o, UNITS, BYTES, TASKS, true, load, loaded, evicted, piece, closed};
        o.closed = false;
        rt_mem_fail_at(n);
        CU_ASSERT_EQUAL(rt_bank_open(&b, &s, &err), RT_E_NOMEM);
        rt_mem_fail_at(0);
        CU_ASSERT_TRUE(o.closed && !b);
    }
}

RT_SUITE(bank) {
    RT_TEST(the_least_recently_used_leaves);
    RT_TEST(waves_take_what_is_present_first);
    RT_TEST(copies_are_whole_and_memory_is_handed_on);
    RT_TEST(no_memory_leaves_nothing_half_present);
}
