/* harness.h - CUnit with what it lacks: suites found by file name, loud skips, fixtures, random fills.
 *
 *   RT_SUITE(tensor) { RT_TEST(halves_round_to_even); RT_TEST(shapes); }
 *
 * A test is `static void name(void)` and uses CUnit's assertions. Run: retort_tests [--suite S] [--case SUBSTRING] [--list]. */
#ifndef RETORT_TESTS_HARNESS_H
#define RETORT_TESTS_HARNESS_H
#include <retort/base/status.h>
#include <retort/tensor/tensor.h>
#include <CUnit/CUnit.h>

typedef void (*rt_suite_adder)(const char *name, void (*fn)(void));
#define RT_SUITE(name)                                                                                                 \
    void rt_suite_##name(rt_suite_adder rt_add_);                                                                      \
    void rt_suite_##name(rt_suite_adder rt_add_)
#define RT_TEST(fn) rt_add_(#fn, fn)


/* Fails the test with the error's text when `expression` is not RT_OK (uses a local `rt_error err`). */
#define RT_OK_OR_FAIL(expression)                                                                                      \
    do {                                                                                                               \
        rt_status s_ = (expression);                                                                                   \
        if (s_ != RT_OK) rt_test_failed(__FILE__, __LINE__, #expression, rt_status_name(s_), err.text);               \
    } while (0)
/* Formatted failure with the reason; counts as a CUnit failure. */
#define RT_FAILF(...) rt_test_failf(__FILE__, __LINE__, __VA_ARGS__)
#define RT_CHECK(condition, ...)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) rt_test_failf(__FILE__, __LINE__, __VA_ARGS__);                                              \
        else CU_PASS(#condition);                                                                                      \
    } while (0)
void rt_test_failed(const char *file, int line, const char *what, const char *status, const char *text);
void rt_test_failf(const char *file, int line, const char *format, ...) RT_PRINTF(3, 4);

/* The path of a fixture, or NULL after a loud skip ("SKIPPED test: fixture X is absent"). Static buffer, 4 in rotation.
 * Looked for in $RETORT_FIXTURES, then ../shared/fixtures beside the source tree. */
const char *rt_fixture(const char *relative_path);
void rt_test_skip(const char *format, ...) RT_PRINTF(1, 2);
/* The running case matches --case (or no --case was given): for table-driven tests. */
bool rt_case_selected(const char *name);
/* A fresh empty directory under the build tree's scratch; removed at the end of the run. 4 in rotation. */
const char *rt_test_dir(void);
/* Fill with N(0, scale) of a stream, in the tensor's dtype (rounded). */
void rt_fill_normal(rt_tensor *t, double scale, uint64_t stream);
double rt_get(const rt_tensor *t, int64_t i); /* any dtype */
void rt_put(rt_tensor *t, int64_t i, double x);
#endif
