/* test_checkpoint.c - checkpoints are whole or not there: damage of every byte, failure of every write, kills at random
 * moments, full disks. Every checkpoint here holds two files that both depend on (step, generation), so that a mixture of
 * two saves would be seen. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/rng.h>
#include <retort/io/checkpoint.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MODEL_BYTES = 5000 };
typedef struct content {
    int64_t step;
    int generation;
    size_t bytes;
} content;

static rt_status write_model(const char *path, void *context, rt_error *err) {
    const content *c = context;
    rt_file_writer w;
    char piece[500];
    memset(piece, (int)(c->step + c->generation) & 0xff, sizeof piece);
    RT_TRY(rt_file_writer_open(path, &w, err));
    rt_status s = RT_OK;
    for (size_t done = 0; done < c->bytes && s == RT_OK; done += sizeof piece) s = rt_file_writer_add(&w, piece, sizeof piece, err);
    if (s == RT_OK) return rt_file_writer_commit(&w, err);
    rt_file_writer_discard(&w);
    return s;
}
static rt_status write_state(const char *path, void *context, rt_error *err) { /* without our writer: nothing synced */
    const content *c = context;
    FILE *f = fopen(path, "w");
    if (!f) return rt_fail(err, RT_E_IO, "%s: cannot create", path);
    int bad = fprintf(f, "%d\n", (int)(c->step + c->generation) & 0xff) < 0;
    return fclose(f) != 0 || bad ? rt_fail(err, RT_E_IO, "%s: cannot write", path) : RT_OK;
}
static rt_status save_sized(const char *root, int64_t step, int generation, size_t bytes, rt_error *err) {
    content c = {step, generation, bytes};
    rt_checkpoint_file files[] = {{"model.bin", write_model, &c}, {"state.json", write_state, &c}};
    json_t *facts = json_pack("{s:{s:f}, s:s}", "configuration", "lr", 0.1, "version", "x \xc3\xa9");
    rt_status s = facts ? rt_checkpoint_save(root, step, files, 2, facts, err) : rt_fail(err, RT_E_NOMEM, "facts");
    json_decref(facts);
    return s;
}
static rt_status save(const char *root, int64_t step, int generation, rt_error *err) {
    return save_sized(root, step, generation, MODEL_BYTES, err);
}
/* The generation that a sound checkpoint holds, the same in both files; -1 if they do not agree. */
static int generation_of(const char *path, int64_t step) {
    char name[700];
    rt_buf b = {0};
    rt_error err = {0};
    int state = -1;
    snprintf(name, sizeof name, "%s/model.bin", path);
    RT_OK_OR_FAIL(rt_file_read(name, 1 << 26, &b, &err));
    snprintf(name, sizeof name, "%s/state.json", path);
    FILE *f = fopen(name, "r");
    if (!f || fscanf(f, "%d", &state) != 1) state = -1;
    if (f) fclose(f);
    for (size_t i = 0; i < b.size; i++) if ((unsigned char)b.data[i] != state) state = -1;
    rt_buf_free(&b);
    return state < 0 ? -1 : (state - (int)step) & 0xff;
}

typedef struct news {
    int count;
    char reason[512];
} news;
static void note_damage(void *context, const char *reason) {
    news *n = context;
    n->count++;
    snprintf(n->reason, sizeof n->reason, "%s", reason);
}
static int64_t newest(const char *root, int *generation, news *n) {
    rt_error err = {0};
    char *path;
    int64_t step;
    rt_checkpoint_listener listener = {note_damage, n};
    RT_OK_OR_FAIL(rt_checkpoint_newest(root, n ? &listener : NULL, &path, &step, &err));
    if (path && generation) *generation = generation_of(path, step);
    rt_free(path);
    return step;
}
static int entries(const char *root) {
    int n = 0;
    DIR *d = opendir(root);
    for (struct dirent *e; d && (e = readdir(d));) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d) closedir(d);
    return n;
}
static void new_root(char root[600]) { snprintf(root, 600, "%s/run/checkpoints", rt_test_dir()); }

/* ------------------------------------------------------------------ the rule */

static void what_is_saved_is_found(void) {
    char root[600];
    rt_error err = {0};
    int g = -1;
    json_t *m;
    int64_t live = rt_mem_stats_get().live_blocks;
    new_root(root);
    CU_ASSERT_EQUAL(newest(root, &g, NULL), -1);
    RT_OK_OR_FAIL(save(root, 500, 1, &err));
    RT_OK_OR_FAIL(save(root, 1000, 2, &err));
    RT_OK_OR_FAIL(save(root, 123456789, 3, &err));
    CU_ASSERT_EQUAL(newest(root, &g, NULL), 123456789);
    CU_ASSERT_EQUAL(g, 3);
    char *path = rt_checkpoint_path(root, 500);
    CU_ASSERT_PTR_NOT_NULL(strstr(path, "/run/checkpoints/step-00000500"));
    RT_OK_OR_FAIL(rt_checkpoint_verify(path, &err));
    RT_OK_OR_FAIL(rt_checkpoint_manifest(path, &m, &err));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(m, "step")), 500);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(m, "version")), "x \xc3\xa9");
    CU_ASSERT_TRUE(json_real_value(json_object_get(json_object_get(m, "configuration"), "lr")) == 0.1);
    CU_ASSERT_EQUAL(json_object_size(json_object_get(m, "files")), 2);
    json_decref(m);
    rt_free(path);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
}
static void a_step_saved_again_is_replaced(void) {
    char root[600];
    rt_error err = {0};
    int g = -1;
    new_root(root);
    for (int i = 0; i < 3; i++) RT_OK_OR_FAIL(save(root, 7, i, &err));
    CU_ASSERT_EQUAL(newest(root, &g, NULL), 7);
    CU_ASSERT_EQUAL(g, 2);
    CU_ASSERT_EQUAL(entries(root), 1);
}
static void bad_names_and_facts_are_refused(void) {
    char root[600];
    const char *names[] = {"MANIFEST.json", "", "../x", ".hidden", "a/b"};
    rt_error err = {0};
    content c = {1, 1, 500};
    new_root(root);
    for (size_t i = 0; i < 5; i++) {
        rt_checkpoint_file f = {names[i], write_model, &c};
        CU_ASSERT_EQUAL(rt_checkpoint_save(root, 1, &f, 1, NULL, &err), RT_E_ARG);
    }
    rt_checkpoint_file twice[] = {{"a", write_model, &c}, {"a", write_state, &c}};
    CU_ASSERT_EQUAL(rt_checkpoint_save(root, 1, twice, 2, NULL, &err), RT_E_ARG);
    json_t *facts = json_pack("{s:i}", "files", 1);
    CU_ASSERT_EQUAL(rt_checkpoint_save(root, 1, twice, 1, facts, &err), RT_E_ARG);
    json_decref(facts);
    CU_ASSERT_EQUAL(entries(root), 0);
}

/* ------------------------------------------------------------------- damage */

static void poke(const char *path, long at, char c) {
    FILE *f = fopen(path, "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fseek(f, at, SEEK_SET), fwrite(&c, 1, 1, f);
    fclose(f);
}
/* The newest checkpoint is passed over, by the name of the damaged file; the older one is used. */
static void passed_over(const char *root, const char *file, const char *what) {
    news n = {0};
    CU_ASSERT_EQUAL(newest(root, NULL, &n), 10);
    RT_CHECK(n.count == 1 && strstr(n.reason, file) && strstr(n.reason, "step-00000020"), "%s %s: %s", file, what, n.reason);
}
/* Some changes of JSON text change no value: white space, a digit beyond a double's precision. */
static bool manifest_says_the_same(const char *directory, const json_t *before) {
    json_t *now;
    if (rt_checkpoint_manifest(directory, &now, NULL) != RT_OK) return false;
    bool same = json_equal(before, now);
    json_decref(now);
    return same;
}
static void damage_file(const char *root, const char *file) {
    char path[700], directory[700];
    json_t *before;
    rt_buf b = {0};
    rt_error err = {0};
    snprintf(directory, sizeof directory, "%s/step-00000020", root);
    snprintf(path, sizeof path, "%s/step-00000020/%s", root, file);
    RT_OK_OR_FAIL(rt_checkpoint_manifest(directory, &before, &err));
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &b, &err));
    for (size_t i = 0; i < b.size; i += 1 + b.size / 300) {
        poke(path, (long)i, (char)(b.data[i] ^ 1));
        if (strcmp(file, "MANIFEST.json") != 0 || !manifest_says_the_same(directory, before))
            passed_over(root, file, "with a flipped bit");
        poke(path, (long)i, b.data[i]);
    }
    for (size_t n = 0; n < b.size - 1; n += 1 + b.size / 20) { /* - 1: a manifest's final newline means nothing */
        RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, n, &err));
        passed_over(root, file, "cut short");
    }
    remove(path);
    passed_over(root, file, "removed");
    mkdir(path, 0777);
    passed_over(root, file, "replaced by a folder");
    rmdir(path);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    CU_ASSERT_EQUAL(newest(root, NULL, NULL), 20);
    json_decref(before);
    rt_buf_free(&b);
}
static void a_damaged_checkpoint_is_passed_over_by_name(void) {
    char root[600];
    rt_error err = {0};
    new_root(root);
    RT_OK_OR_FAIL(save(root, 10, 1, &err));
    RT_OK_OR_FAIL(save(root, 20, 2, &err));
    damage_file(root, "model.bin");
    damage_file(root, "state.json");
    damage_file(root, "MANIFEST.json");
}

/* ------------------------------------------------------------------ failures */

typedef void (*inject_fn)(int64_t nth);
/* Fails the n-th call for every n during a save of step 20 (over an old one of generation `old`, if any). */
static void fail_everywhere(inject_fn inject, rt_status expected, int old, int least) {
    char root[600];
    rt_error err = {0};
    rt_status status = expected;
    int failures = 0;
    int64_t live = rt_mem_stats_get().live_blocks;
    new_root(root);
    RT_OK_OR_FAIL(save(root, 10, 1, &err));
    if (old) RT_OK_OR_FAIL(save(root, 20, old, &err));
    for (int64_t n = 1; status != RT_OK && n < 5000; n++) {
        int g = -1;
        err = (rt_error){0};
        inject(n);
        status = save(root, 20, 9, &err);
        inject(0);
        failures += status != RT_OK;
        RT_CHECK(status == RT_OK || status == expected, "%s", err.text);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
        err = (rt_error){0};
        RT_OK_OR_FAIL(rt_checkpoint_clean(root, &err));
        int64_t step = newest(root, &g, NULL);
        bool before = old ? step == 20 && g == old : step == 10 && g == 1, after = step == 20 && g == 9;
        RT_CHECK(status == RT_OK ? after : before || after, "n = %lld: step %lld, generation %d", (long long)n, (long long)step, g);
        CU_ASSERT_EQUAL(entries(root), step == 20 ? 2 : 1);
    }
    CU_ASSERT_EQUAL(status, RT_OK);
    RT_CHECK(failures >= least, "only %d failures", failures);
}
static void every_failed_write_leaves_the_old_state(void) {
    fail_everywhere(rt_file_fail_at, RT_E_IO, 0, 15);
    fail_everywhere(rt_file_fail_at, RT_E_IO, 3, 15);
}
static void running_out_of_memory_is_clean(void) {
    fail_everywhere(rt_mem_fail_at, RT_E_NOMEM, 0, 20);
    fail_everywhere(rt_mem_fail_at, RT_E_NOMEM, 3, 20);
}
static void searching_without_memory_is_no_damage(void) {
    char root[600];
    rt_error err = {0};
    rt_status status = RT_E_NOMEM;
    new_root(root);
    RT_OK_OR_FAIL(save(root, 10, 1, &err));
    RT_OK_OR_FAIL(save(root, 20, 2, &err));
    int64_t live = rt_mem_stats_get().live_blocks;
    for (int64_t n = 1; status != RT_OK && n < 5000; n++) {
        news bad = {0};
        rt_checkpoint_listener listener = {note_damage, &bad};
        char *path;
        int64_t step;
        err = (rt_error){0};
        rt_mem_fail_at(n);
        status = rt_checkpoint_newest(root, &listener, &path, &step, &err);
        rt_mem_fail_at(0);
        RT_CHECK(status == RT_OK ? step == 20 : status == RT_E_NOMEM, "step %lld, %s", (long long)step, err.text);
        RT_CHECK(bad.count == 0, "called damaged: %s", bad.reason);
        rt_free(path);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    CU_ASSERT_EQUAL(status, RT_OK);
}

/* -------------------------------------------------------------------- pruning */

static bool there(const char *root, int64_t step) {
    char *path = rt_checkpoint_path(root, step);
    bool yes = rt_dir_exists(path);
    rt_free(path);
    return yes;
}
static void pruning_keeps_the_newest_sound_ones_and_the_best(void) {
    char root[600], path[700];
    rt_error err = {0};
    news n = {0};
    rt_checkpoint_listener listener = {note_damage, &n};
    new_root(root);
    for (int64_t s = 1; s <= 6; s++) RT_OK_OR_FAIL(save(root, s, 0, &err));
    RT_OK_OR_FAIL(rt_checkpoint_prune(root, 4, 1, &listener, &err));
    CU_ASSERT_TRUE(there(root, 1) && !there(root, 2) && there(root, 3) && there(root, 6) && n.count == 0);
    snprintf(path, sizeof path, "%s/step-00000006/model.bin", root);
    poke(path, 0, 99);
    RT_OK_OR_FAIL(rt_checkpoint_prune(root, 2, 1, &listener, &err));
    CU_ASSERT_TRUE(there(root, 1) && !there(root, 3) && there(root, 4) && there(root, 5) && there(root, 6));
    CU_ASSERT_EQUAL(n.count, 1);
    for (int64_t s = 4; s <= 5; s++) {
        snprintf(path, sizeof path, "%s/step-%08d/model.bin", root, (int)s);
        poke(path, 0, 99);
    }
    RT_OK_OR_FAIL(rt_checkpoint_prune(root, 2, -1, NULL, &err)); /* too few sound ones: nothing goes */
    CU_ASSERT_TRUE(there(root, 1) && there(root, 4));
    CU_ASSERT_EQUAL(rt_checkpoint_prune(root, 0, -1, NULL, &err), RT_E_ARG);
}
static void cleaning_removes_only_what_a_crash_left(void) {
    char root[600], path[700], other[700];
    rt_error err = {0};
    int g = -1;
    new_root(root);
    RT_OK_OR_FAIL(rt_checkpoint_clean(root, &err)); /* no such folder: fine */
    RT_OK_OR_FAIL(save(root, 5, 1, &err));
    RT_OK_OR_FAIL(save(root, 6, 2, &err));
    snprintf(path, sizeof path, "%s/step-00000006", root);
    snprintf(other, sizeof other, "%s/.tmp-old-00000006", root);
    CU_ASSERT_EQUAL(rename(path, other), 0); /* the moment between the two renames of a replacement */
    snprintf(path, sizeof path, "%s/.tmp-new-00000006/deep/er", root);
    RT_OK_OR_FAIL(rt_dir_make(path, &err));
    snprintf(path, sizeof path, "%s/notes.txt", root);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, "x", 1, &err));
    CU_ASSERT_EQUAL(newest(root, &g, NULL), 5);
    RT_OK_OR_FAIL(rt_checkpoint_clean(root, &err));
    CU_ASSERT_EQUAL(newest(root, &g, NULL), 6);
    CU_ASSERT_EQUAL(g, 2);
    CU_ASSERT_EQUAL(entries(root), 3);
}

/* ---------------------------------------------------------------------- kills */

/* Saves, replaces and prunes for ever; tells each finished (step, generation) through the pipe. */
static void save_for_ever(const char *root, int64_t step, int fd) {
    for (;; step++)
        for (int g = 1; g <= 2; g++) {
            int64_t done[2] = {step, g};
            if (save_sized(root, step, g, 100000, NULL) != RT_OK) _exit(1);
            if (write(fd, done, sizeof done) != sizeof done) _exit(1);
            if (rt_checkpoint_prune(root, 2, -1, NULL, NULL) != RT_OK) _exit(1);
        }
}
/* Runs the child for `microseconds`, kills it, returns what it finished last ({0, 0}: nothing). */
static void run_and_kill(const char *root, int64_t first, unsigned microseconds, int64_t last[2]) {
    int fd[2], status;
    last[0] = last[1] = 0;
    if (pipe(fd) != 0) CU_FAIL_FATAL("pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) save_for_ever(root, first, fd[1]);
    close(fd[1]);
    usleep(microseconds);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    for (int64_t done[2]; read(fd[0], done, sizeof done) == sizeof done;) memcpy(last, done, sizeof done);
    close(fd[0]);
    RT_CHECK(WIFSIGNALED(status), "the saving child ended by itself");
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void a_kill_at_any_moment_leaves_a_sound_checkpoint(void) {
    char root[600];
    rt_error err = {0};
    rt_rng r = rt_rng_make(1, "kills", 0);
    int64_t step = 1, known[2] = {1, 1};
    new_root(root);
    double start = now();
    for (int i = 0; i < 3; i++) RT_OK_OR_FAIL(save_sized(root, step, 1, 100000, &err));
    double one_save = (now() - start) / 3; /* disks differ by a hundred */
    for (uint64_t i = 0; i < 50 || (step == 1 && i < 60); i++) { /* on a busy machine: longer lives, until one save was finished */
        int64_t last[2];
        int g = -1;
        double lives = i < 50 ? 5e6 : 5e6 * (double)(2 << (i - 50));
        run_and_kill(root, step, (unsigned)(500 + rt_rng_uniform(r, i) * lives * one_save), last);
        if (last[0] > 0) memcpy(known, last, sizeof last);
        RT_OK_OR_FAIL(rt_checkpoint_clean(root, &err));
        news bad = {0};
        int64_t found = newest(root, &g, &bad);
        bool current = found == known[0] && g >= 1 && g <= 2, next = found == known[0] + 1 && g == 1;
        RT_CHECK(current || next, "kill %d: found step %lld generation %d, finished were %lld %lld", (int)i, (long long)found, g,
                 (long long)known[0], (long long)known[1]);
        RT_CHECK(bad.count == 0, "kill %d left a damaged checkpoint: %s", (int)i, bad.reason);
        step = known[0] = found, known[1] = g;
    }
    RT_CHECK(step > 1, "no save was ever finished (one takes %g s)", one_save);
}

/* ------------------------------------------------------------------ full disks */

/* In a child: a save of 4 MB fails with one clear line, the old checkpoint is intact, and a small save works after. */
static int full_disk_child(const char *root, bool limit_size) {
    rt_error err = {0};
    char *path;
    int64_t step;
    if (limit_size) signal(SIGXFSZ, SIG_IGN);
    if (save(root, 1, 1, &err) != RT_OK) return 10;
    if (limit_size) setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20});
    rt_status s = save_sized(root, 2, 1, 4 << 20, &err);
    if (s != RT_E_IO) return 11;
    if (!strstr(err.text, "model.bin: cannot write: ") || strchr(err.text, '\n')) return 12;
    if (!strstr(err.text, limit_size ? strerror(EFBIG) : strerror(ENOSPC))) return 13;
    if (entries(root) != 1) return 14;
    if (rt_checkpoint_newest(root, NULL, &path, &step, &err) != RT_OK || step != 1) return 15;
    rt_free(path);
    err = (rt_error){0};
    return save(root, 3, 1, &err) == RT_OK ? 0 : 16;
}
enum { NO_MOUNT = 99 };
static int on_small_tmpfs(const char *root) {
    char parent[600];
    snprintf(parent, sizeof parent, "%s", root);
    *strstr(parent, "/run/checkpoints") = 0;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return NO_MOUNT;
    if (mount("tmpfs", parent, "tmpfs", 0, "size=2m") != 0) return NO_MOUNT;
    return full_disk_child(root, false);
}
static int in_child(int kind) {
    char root[600];
    int status;
    new_root(root);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(kind == 0 ? full_disk_child(root, true) : on_small_tmpfs(root));
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
static void a_file_size_limit_is_a_clean_error(void) {
    int code = in_child(0);
    RT_CHECK(code == 0, "code %d", code);
}
static void a_full_disk_is_a_clean_error(void) {
    int code = in_child(1);
    if (code == NO_MOUNT) rt_test_skip("cannot mount a small tmpfs here (not root)");
    else RT_CHECK(code == 0, "code %d", code);
}

RT_SUITE(checkpoint) {
    RT_TEST(what_is_saved_is_found);
    RT_TEST(a_step_saved_again_is_replaced);
    RT_TEST(bad_names_and_facts_are_refused);
    RT_TEST(a_damaged_checkpoint_is_passed_over_by_name);
    RT_TEST(every_failed_write_leaves_the_old_state);
    RT_TEST(running_out_of_memory_is_clean);
    RT_TEST(searching_without_memory_is_no_damage);
    RT_TEST(pruning_keeps_the_newest_sound_ones_and_the_best);
    RT_TEST(cleaning_removes_only_what_a_crash_left);
    RT_TEST(a_kill_at_any_moment_leaves_a_sound_checkpoint);
    RT_TEST(a_file_size_limit_is_a_clean_error);
    RT_TEST(a_full_disk_is_a_clean_error);
}
