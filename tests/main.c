/* main.c - runs the suites of suites.def (made by CMake from the file names). */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <CUnit/Basic.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RT_SUITE_ENTRY(name) void rt_suite_##name(rt_suite_adder);
#include "suites.def"
#undef RT_SUITE_ENTRY

static CU_pSuite suite;
static const char *selected_case, *current_suite;
static int skipped, listing;

static void add(const char *name, void (*fn)(void)) {
    if (listing) printf("%s/%s\n", current_suite, name);
    CU_add_test(suite, name, fn);
}

void rt_test_failed(const char *file, int line, const char *what, const char *status, const char *text) {
    rt_test_failf(file, line, "%s: %s: %s", what, status, text);
}
void rt_test_failf(const char *file, int line, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf("\n    FAILED %s:%d: %s", file, line, text);
    CU_assertImplementation(CU_FALSE, (unsigned)line, text, file, "", CU_FALSE);
}
void rt_test_skip(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("\n    SKIPPED ");
    vprintf(format, args);
    va_end(args);
    skipped++;
    CU_PASS("skipped");
}

const char *rt_fixture(const char *path) {
    static char buffers[4][1024];
    static unsigned turn;
    char *b = buffers[turn++ % 4];
    const char *root = getenv("RETORT_FIXTURES");
    snprintf(b, 1024, "%s/%s", root ? root : RT_SOURCE_DIR "/../shared/fixtures", path);
    if (access(b, R_OK) == 0) return b;
    rt_test_skip("fixture %s is absent (set RETORT_FIXTURES)", path);
    return NULL;
}

bool rt_case_selected(const char *name) { return !selected_case || strstr(name, selected_case); }

static char scratch_root[256];
static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f) {
    (void)s, (void)flag, (void)f;
    return remove(path);
}
static void remove_scratch(void) {
    if (*scratch_root) nftw(scratch_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
const char *rt_test_dir(void) {
    static char buffers[4][512];
    static unsigned turn;
    if (!*scratch_root) {
        snprintf(scratch_root, sizeof scratch_root, "%s/test-scratch-%d", RT_BINARY_DIR, (int)getpid());
        mkdir(scratch_root, 0777);
        atexit(remove_scratch);
    }
    char *b = buffers[turn % 4];
    snprintf(b, 512, "%s/%u", scratch_root, turn++);
    mkdir(b, 0777);
    return b;
}

double rt_get(const rt_tensor *t, int64_t i) {
    switch (t->dtype) {
    case RT_F64: return ((const double *)t->data)[i];
    case RT_F32: return (double)((const float *)t->data)[i];
    case RT_F16: return (double)rt_f16_to_f32(((const rt_f16 *)t->data)[i]);
    case RT_BF16: return (double)rt_bf16_to_f32(((const rt_bf16 *)t->data)[i]);
    case RT_I64: return (double)((const int64_t *)t->data)[i];
    case RT_I32: return (double)((const int32_t *)t->data)[i];
    default: return (double)((const uint8_t *)t->data)[i];
    }
}
void rt_put(rt_tensor *t, int64_t i, double x) {
    switch (t->dtype) {
    case RT_F64: ((double *)t->data)[i] = x; break;
    case RT_F32: ((float *)t->data)[i] = (float)x; break;
    case RT_F16: ((rt_f16 *)t->data)[i] = rt_f32_to_f16((float)x); break;
    case RT_BF16: ((rt_bf16 *)t->data)[i] = rt_f32_to_bf16((float)x); break;
    case RT_I64: ((int64_t *)t->data)[i] = (int64_t)x; break;
    case RT_I32: ((int32_t *)t->data)[i] = (int32_t)x; break;
    default: ((uint8_t *)t->data)[i] = (uint8_t)x;
    }
}
void rt_fill_normal(rt_tensor *t, double scale, uint64_t stream) {
    rt_rng r = rt_rng_make(1, "test", stream);
    for (int64_t i = 0; i < rt_tensor_count(t); i++) rt_put(t, i, scale * rt_rng_normal(r, (uint64_t)i));
}

int main(int argc, char **argv) {
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--suite") == 0 && i + 1 < argc) only = argv[++i];
        else if (strcmp(argv[i], "--case") == 0 && i + 1 < argc) selected_case = argv[++i];
        else if (strcmp(argv[i], "--list") == 0) listing = 1;
        else return fprintf(stderr, "usage: retort_tests [--suite NAME] [--case SUBSTRING] [--list]\n"), 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    CU_initialize_registry();
#define RT_SUITE_ENTRY(name)                                                                                           \
    if (!only || strcmp(only, #name) == 0) suite = CU_add_suite(current_suite = #name, NULL, NULL), rt_suite_##name(add);
#include "suites.def"
    if (listing) return 0;
    if (!suite) return fprintf(stderr, "retort_tests: no suite '%s'\n", only), 2;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures(), run = CU_get_number_of_tests_run(), bad = CU_get_number_of_tests_failed();
    CU_cleanup_registry();
    printf("\nretort_tests: %u passed, %u failed, %d skipped\n", run - bad, bad, skipped);
    return failed || run == 0;
}
