/* test_file.c - reading, mapping, atomic writing with a full disk at every point, folders, the run log. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/log.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

static const char *in_dir(const char *dir, const char *name) {
    static char buffers[4][600];
    static unsigned turn;
    char *b = buffers[turn++ % 4];
    snprintf(b, 600, "%s/%s", dir, name);
    return b;
}
static bool file_is(const char *path, const char *text) {
    rt_buf b = {0};
    bool same = rt_file_read(path, 1 << 20, &b, NULL) == RT_OK && b.size == strlen(text) && memcmp(b.data, text, b.size) == 0;
    rt_buf_free(&b);
    return same;
}
static bool only_entry(const char *dir, const char *name) { /* nothing temporary was left */
    char command[1400];
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = '%s'", dir, name);
    return system(command) == 0;
}

static void files_are_read_with_a_bound(void) {
    rt_error err = {0};
    const char *dir = rt_test_dir(), *path = in_dir(dir, "a");
    RT_OK_OR_FAIL(rt_file_write_atomic(path, "hello\n", 6, &err));
    CU_ASSERT_TRUE(file_is(path, "hello\n") && only_entry(dir, "a"));
    rt_buf b = {0};
    CU_ASSERT_EQUAL(rt_file_read(path, 5, &b, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "found 6 bytes, expected at most 5"));
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_file_read(dir, 5, &b, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "is a folder"));
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_file_read("/dev/zero", 5, &b, &err), RT_E_INPUT);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_file_read(in_dir(dir, "none"), 5, &b, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "No such file"));
    rt_buf_free(&b);
}

static void maps_and_checksums_agree(void) {
    rt_error err = {0};
    const char *dir = rt_test_dir(), *path = in_dir(dir, "a"), *empty = in_dir(dir, "empty");
    rt_map map;
    uint32_t crc;
    int64_t size;
    RT_OK_OR_FAIL(rt_file_write_atomic(path, "123456789", 9, &err));
    RT_OK_OR_FAIL(rt_file_crc32(path, &crc, &size, &err));
    CU_ASSERT_EQUAL(crc, 0xcbf43926u); /* the check value of CRC-32 */
    CU_ASSERT_EQUAL(size, 9);
    RT_OK_OR_FAIL(rt_file_map(path, &map, &err));
    CU_ASSERT_TRUE(map.size == 9 && memcmp(map.data, "123456789", 9) == 0);
#ifdef __SANITIZE_ADDRESS__
    CU_ASSERT_TRUE(__asan_address_is_poisoned(map.data + 9) && !__asan_address_is_poisoned(map.data + 8));
#endif
    rt_file_unmap(&map);
    RT_OK_OR_FAIL(rt_file_write_atomic(empty, "", 0, &err));
    RT_OK_OR_FAIL(rt_file_map(empty, &map, &err));
    CU_ASSERT_TRUE(map.size == 0 && map.data);
    rt_file_unmap(&map);
    CU_ASSERT_EQUAL(rt_file_map(dir, &map, &err), RT_E_INPUT);
}

/* Create, then replace, with the n-th write, sync or rename failing: the old bytes stay, nothing temporary stays. */
static void a_full_disk_leaves_the_old_file(void) {
    const char *dir = rt_test_dir(), *path = in_dir(dir, "a");
    CU_ASSERT_EQUAL(rt_file_write_atomic(path, "old", 3, NULL), RT_OK);
    for (int n = 1; n <= 3; n++) {
        rt_error err = {0};
        rt_file_fail_at(n);
        CU_ASSERT_EQUAL(rt_file_write_atomic(path, "new", 3, &err), RT_E_IO);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "No space left"));
        CU_ASSERT_TRUE(file_is(path, "old") && only_entry(dir, "a"));
    }
    rt_file_fail_at(4); /* the folder's sync: the new file is already there, whole */
    CU_ASSERT_EQUAL(rt_file_write_atomic(path, "new", 3, NULL), RT_E_IO);
    CU_ASSERT_TRUE(file_is(path, "new") && only_entry(dir, "a"));
    rt_file_fail_at(5);
    CU_ASSERT_EQUAL(rt_file_write_atomic(path, "newer", 5, NULL), RT_OK);
    rt_file_fail_at(0);
}

static void a_writer_adds_up_its_pieces(void) {
    rt_error err = {0};
    const char *dir = rt_test_dir();
    rt_file_writer w;
    RT_OK_OR_FAIL(rt_file_writer_open(in_dir(dir, "a"), &w, &err));
    RT_OK_OR_FAIL(rt_file_writer_add(&w, "12345", 5, &err));
    RT_OK_OR_FAIL(rt_file_writer_add(&w, "6789", 4, &err));
    CU_ASSERT_FALSE(rt_file_exists(in_dir(dir, "a")));
    RT_OK_OR_FAIL(rt_file_writer_commit(&w, &err));
    CU_ASSERT_TRUE(w.crc == 0xcbf43926u && w.size == 9 && file_is(in_dir(dir, "a"), "123456789"));
    RT_OK_OR_FAIL(rt_file_writer_open(in_dir(dir, "b"), &w, &err));
    rt_file_writer_discard(&w);
    rt_file_writer_discard(&w);
    CU_ASSERT_TRUE(only_entry(dir, "a"));
}

static void folders_are_made_and_removed(void) {
    rt_error err = {0};
    const char *dir = rt_test_dir(), *deep = in_dir(dir, "x/y/z"), *file = in_dir(dir, "x/y/f");
    RT_OK_OR_FAIL(rt_dir_make(deep, &err));
    RT_OK_OR_FAIL(rt_dir_make(deep, &err));
    CU_ASSERT_TRUE(rt_dir_exists(deep) && !rt_file_exists(deep));
    RT_OK_OR_FAIL(rt_file_write_atomic(file, "1", 1, &err));
    CU_ASSERT_EQUAL(rt_dir_make(in_dir(dir, "x/y/f/g"), &err), RT_E_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "Not a directory"));
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_file_rename(in_dir(dir, "x"), in_dir(dir, "w"), &err));
    RT_OK_OR_FAIL(rt_tree_remove(in_dir(dir, "w"), &err));
    RT_OK_OR_FAIL(rt_tree_remove(in_dir(dir, "w"), &err));
    CU_ASSERT_FALSE(rt_dir_exists(in_dir(dir, "w")));
}

static void out_of_memory_is_clean(void) {
    const char *dir = rt_test_dir(), *path = in_dir(dir, "a");
    int64_t before = rt_mem_stats_get().live_blocks;
    for (int n = 1, done = 0; !done && n < 100; n++) {
        rt_buf b = {0};
        rt_runlog *log = NULL;
        rt_mem_fail_at(n);
        rt_status s = rt_file_write_atomic(path, "{}", 2, NULL);
        if (s == RT_OK) s = rt_file_read(path, 100, &b, NULL);
        if (s == RT_OK) s = rt_runlog_open(in_dir(dir, "log"), 0, &log, NULL);
        if (s == RT_OK) s = rt_runlog_append(log, json_pack("{s:i}", "step", n), NULL);
        rt_runlog_close(log);
        rt_buf_free(&b);
        done = s == RT_OK;
        rt_mem_fail_at(0);
        if (s != RT_OK && s != RT_E_NOMEM) RT_FAILF("call %d: %s", n, rt_status_name(s));
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
    }
}

static char last_line[1024];
static void remember(void *context, rt_log_level level, const char *line) {
    *(int *)context += (int)level;
    snprintf(last_line, sizeof last_line, "%s", line);
}
static void console_lines_go_to_the_sink(void) {
    int levels = 0;
    rt_log(RT_LOG_WARNING, "dropped");
    rt_log_set_sink(remember, &levels);
    rt_log(RT_LOG_WARNING, "%s %d", "loss", 3);
    CU_ASSERT_STRING_EQUAL(last_line, "loss 3");
    CU_ASSERT_EQUAL(levels, RT_LOG_WARNING);
    rt_log_set_sink(NULL, NULL);
}

static void the_run_log_holds_whole_lines(void) {
    rt_error err = {0};
    const char *dir = rt_test_dir(), *path = in_dir(dir, "log.jsonl");
    rt_runlog *log;
    RT_OK_OR_FAIL(rt_runlog_open(path, 0, &log, &err));
    RT_OK_OR_FAIL(rt_runlog_append(log, json_pack("{s:s,s:f}", "kind", "step", "loss", 0.1), &err));
    int64_t mark = rt_runlog_size(log);
    RT_OK_OR_FAIL(rt_runlog_append(log, json_pack("{s:i}", "b", 2), &err));
    CU_ASSERT_EQUAL(rt_runlog_append(log, NULL, NULL), RT_E_NOMEM);
    rt_file_fail_at(1);
    CU_ASSERT_EQUAL(rt_runlog_append(log, json_pack("{s:i}", "b", 3), NULL), RT_E_IO);
    RT_OK_OR_FAIL(rt_runlog_sync(log, &err));
    rt_runlog_close(log);
    CU_ASSERT_TRUE(file_is(path, "{\"kind\":\"step\",\"loss\":0.10000000000000001}\n{\"b\":2}\n"));
    CU_ASSERT_EQUAL(truncate(path, mark + 3), 0); /* a torn line */
    RT_OK_OR_FAIL(rt_runlog_open(path, -1, &log, &err));
    CU_ASSERT_EQUAL(rt_runlog_size(log), mark);
    RT_OK_OR_FAIL(rt_runlog_append(log, json_pack("{s:i}", "c", 1), &err));
    rt_runlog_close(log);
    RT_OK_OR_FAIL(rt_runlog_open(path, mark, &log, &err)); /* back to what a checkpoint had noted */
    rt_runlog_close(log);
    CU_ASSERT_TRUE(file_is(path, "{\"kind\":\"step\",\"loss\":0.10000000000000001}\n"));
    CU_ASSERT_EQUAL(rt_runlog_open(path, mark + 1, &log, &err), RT_E_INPUT);
}

/* Pages of a map may go at any time and come back; memory of another kind is not the system's to take. */
static void hints_change_nothing_that_is_read(void) {
    enum { BYTES = 300000 };
    char path[700];
    rt_error err = {0};
    rt_map map;
    char *own = rt_alloc(BYTES);
    for (int i = 0; i < BYTES; i++) own[i] = (char)(i * 7 + i / 251);
    snprintf(path, sizeof path, "%s/pages", rt_test_dir());
    RT_OK_OR_FAIL(rt_file_write_atomic(path, own, BYTES, &err));
    RT_OK_OR_FAIL(rt_file_map(path, &map, &err));
    const size_t ranges[][2] = {{0, BYTES}, {1, 5}, {4096, 4096}, {5000, 100000}, {BYTES - 1, 1}, {BYTES, 0}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        rt_file_want(map.data + ranges[i][0], ranges[i][1]);
        rt_file_drop(map.data + ranges[i][0], ranges[i][1]);
        rt_file_drop(own + ranges[i][0], ranges[i][1]);
        CU_ASSERT_TRUE(memcmp(map.data, own, BYTES) == 0 && own[BYTES / 2] == (char)(BYTES / 2 * 7 + BYTES / 2 / 251));
    }
    rt_file_unmap(&map);
    rt_mem_fail_at(1); /* the note of the map */
    CU_ASSERT_EQUAL(rt_file_map(path, &map, &err), RT_E_NOMEM);
    rt_mem_fail_at(0);
    CU_ASSERT_TRUE(!map.data && map.size == 0);
    rt_free(own);
}

RT_SUITE(file) {
    RT_TEST(hints_change_nothing_that_is_read);
    RT_TEST(files_are_read_with_a_bound);
    RT_TEST(maps_and_checksums_agree);
    RT_TEST(a_full_disk_leaves_the_old_file);
    RT_TEST(a_writer_adds_up_its_pieces);
    RT_TEST(folders_are_made_and_removed);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(console_lines_go_to_the_sink);
    RT_TEST(the_run_log_holds_whole_lines);
}
