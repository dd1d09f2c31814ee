/* test_run_program.c - runs of the program itself: killed, interrupted, refused, out of disk. */
#include "program.h"
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/base/rng.h>
#include <retort/io/checkpoint.h>
#include <retort/text/tokenizer_train.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What it said last. */
static const char *tail(const rt_run *r) {
    const char *text = r->err.data ? r->err.data : "";
    return r->err.size > 400 ? text + r->err.size - 400 : text;
}
static const char *text_at(const rt_buf *b) { return b->data ? b->data : ""; }
static char *fresh(char out[512]) {
    snprintf(out, 512, "%s/run", rt_test_dir());
    return out;
}
static bool holds(const char *dir, const char *prefix) {
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) found = strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d) closedir(d);
    return found;
}
static int64_t newest(const char *out, char checkpoint[4096]) {
    char root[600], *path = NULL;
    int64_t step = -1;
    rt_error err = {0};
    snprintf(root, sizeof root, "%s/checkpoints", out);
    if (!rt_dir_exists(root)) return -1;
    RT_OK_OR_FAIL(rt_checkpoint_newest(root, NULL, &path, &step, &err));
    snprintf(checkpoint, 4096, "%s", path ? path : "");
    rt_free(path);
    return *checkpoint ? step : -1;
}

/* ------------------------------------------------------------------ killed */

enum { KILLED_STEPS = 14, MAX_KILLS = 10 };
#define KILLED_SETS "--set", "schedule.steps=14", "--set", "run.save_every=1", "--set", "projector.kind=factored", "--set", "projector.prefit_steps=1"

/* Waits until a checkpoint newer than what was there is being built, then a little, and kills. */
static bool kill_in_a_save(const rt_started *s, const char *out, int delay) {
    char root[600];
    snprintf(root, sizeof root, "%s/checkpoints", out);
    for (int i = 0; i < 100000 && !holds(root, ".tmp-new-") && kill(s->pid, 0) == 0; i++) usleep(200);
    usleep((useconds_t)delay);
    kill(s->pid, SIGKILL);
    return holds(root, ".tmp-");
}

static void killed_at_any_moment_it_goes_on_to_the_same_bits(void) {
    char whole[512], out[512], a[4096], b[4096];
    const char *yaml = rt_tiny_files()->yaml;
    rt_run r = RT_PROGRAM(NULL, "distill", yaml, "--out", fresh(whole), KILLED_SETS);
    RT_CHECK(r.code == 0, "%d: %s", r.code, tail(&r));
    rt_run_free(&r);
    int64_t step = -1;
    int hits = 0;
    rt_rng random = rt_rng_make(1, "kill", 0);
    fresh(out);
    for (int i = 0; i < MAX_KILLS && step < KILLED_STEPS; i++) {
        rt_started s = RT_PROGRAM_START("distill", yaml, "--out", out, "--resume", KILLED_SETS);
        hits += kill_in_a_save(&s, out, i ? (int)(rt_rng_u64(random, (uint64_t)i) % 30000) : 0);
        r = rt_program_end(&s);
        RT_CHECK(r.code == 128 + SIGKILL || r.code == 0, "%d: %s", r.code, tail(&r));
        RT_CHECK(!strstr(text_at(&r.err), "damaged"), "%s", tail(&r));
        rt_run_free(&r);
        int64_t now = newest(out, b);
        RT_CHECK(now >= step, "went back from step %lld to %lld", (long long)step, (long long)now);
        step = now;
    }
    RT_CHECK(hits > 0, "no kill fell into a save");
    r = RT_PROGRAM(NULL, "distill", yaml, "--out", out, "--resume", KILLED_SETS);
    RT_CHECK(r.code == 0, "%d: %s", r.code, tail(&r));
    rt_run_free(&r);
    CU_ASSERT_TRUE(newest(whole, a) == KILLED_STEPS && newest(out, b) == KILLED_STEPS);
    rt_same_checkpoint(a, b, NULL);
    json_t *x = rt_log_records(whole, "step"), *y = rt_log_records(out, "step");
    CU_ASSERT_TRUE(json_array_size(x) == KILLED_STEPS && json_equal(x, y));
    json_decref(x), json_decref(y);
    snprintf(a, sizeof a, "%s/checkpoints", out);
    CU_ASSERT_FALSE(holds(a, ".tmp-"));
}

/* ------------------------------------------------------------- interrupted */

static void wait_for_a_step(const char *out, const rt_started *s) {
    char path[600];
    int64_t size = 0;
    snprintf(path, sizeof path, "%s/log.jsonl", out);
    for (int i = 0; i < 50000 && kill(s->pid, 0) == 0; i++, usleep(400)) {
        rt_buf b = {0};
        if (rt_file_exists(path) && rt_file_read(path, (size_t)64 << 20, &b, NULL) == RT_OK && b.data && strstr(b.data, "\"tokens_total\"")) size = 1;
        rt_buf_free(&b);
        if (size) return;
    }
}

static void interrupted(int number) {
    char whole[512], out[512], a[4096], b[4096];
    const char *yaml = rt_tiny_files()->yaml, *steps = "schedule.steps=300";
    rt_started s = RT_PROGRAM_START("distill", yaml, "--out", fresh(out), "--set", steps, "--set", "run.eval_every=0");
    wait_for_a_step(out, &s);
    kill(s.pid, number);
    rt_run r = rt_program_end(&s);
    int64_t step = newest(out, b);
    RT_CHECK(r.code == 130 && step > 0 && step < 300, "exit %d at step %lld: %s", r.code, (long long)step, tail(&r));
    RT_CHECK(strstr(text_at(&r.err), "--resume"), "%s", tail(&r));
    rt_run_free(&r);
    char stop[64];
    snprintf(stop, sizeof stop, "run.stop_after=%lld", (long long)step + 3);
    r = RT_PROGRAM(NULL, "distill", yaml, "--out", out, "--resume", "--set", steps, "--set", "run.eval_every=0", "--set", stop);
    RT_CHECK(r.code == 0, "%d: %s", r.code, tail(&r));
    rt_run_free(&r);
    CU_ASSERT_EQUAL(newest(out, b), step + 3);
    snprintf(a, sizeof a, "%s", RT_TINY_RUN(fresh(whole), steps, "run.eval_every=0", stop));
    rt_same_checkpoint(a, b, NULL);
}
static void a_signal_ends_it_after_a_clean_checkpoint(void) {
    interrupted(SIGTERM);
    interrupted(SIGINT);
}

/* ---------------------------------------------------------------- refusals */

static int64_t lines(const char *text) {
    int64_t n = 0;
    for (; (text = strchr(text, '\n')); text++) n++;
    return n;
}

/* `retort COMMAND ARGUMENTS --out FRESH`: exit code, one line with `text` in it, no trace on the disk. */
static void refused(int code, const char *text, const char *const *arguments) {
    char out[512];
    const char *all[24] = {0};
    int n = 0;
    for (; arguments[n]; n++) all[n] = arguments[n];
    all[n++] = "--out", all[n++] = fresh(out);
    rt_run r = rt_program(NULL, all);
    const char *said = text_at(&r.err);
    RT_CHECK(r.code == code, "'%s': exit %d, expected %d: %s", text, r.code, code, said);
    RT_CHECK(strncmp(said, "retort: ", 8) == 0 && lines(said) == 1 && strstr(said, text), "found '%s', expected one line with '%s'", said, text);
    CU_ASSERT_TRUE(r.out.size == 0 && !rt_dir_exists(out));
    rt_run_free(&r);
}
#define REFUSED(code, text, ...) refused(code, text, (const char *const[]){__VA_ARGS__, NULL})
#define JOB "distill", yaml

static void bad_configurations_are_refused(void) {
    const char *yaml = rt_tiny_files()->yaml;
    REFUSED(2, "did you mean 'lr'?", JOB, "--set", "optimizer.lrr=1");
    REFUSED(2, "unknown key 'optimiser' (did you mean 'optimizer'?)", JOB, "--set", "optimiser.lr=1");
    REFUSED(2, "optimizer.lr", JOB, "--set", "optimizer.lr=fast");
    REFUSED(2, "data.batch", JOB, "--set", "data.batch=0");
    REFUSED(2, "schedule.steps", JOB, "--set", "schedule.steps=1.5");
    REFUSED(2, "hidden_mse", JOB, "--set", "objective=[{loss: hidden_mse}]");
    REFUSED(2, "next_token", JOB, "--set", "objective=[{loss: next_tokn}]");
    REFUSED(2, "64 positions", JOB, "--set", "data.sequence_length=128", "--set", "student.max_position=128");
    REFUSED(2, "student.max_position 64", JOB, "--set", "data.sequence_length=128");
    REFUSED(2, "no teacher", "distill", "--data", rt_tiny_files()->train);
    REFUSED(2, "that is 'retort distill'", "train", yaml);
    REFUSED(3, "absent.yaml", "distill", "absent.yaml");
    REFUSED(2, "student.vocab_size 100 is smaller", JOB, "--set", "student.vocab_size=100");
}

static void dtypes_are_refused_with_both_named(void) {
    const char *yaml = rt_tiny_files()->yaml;
    REFUSED(2, "f16", JOB, "--set", "teacher.dtype=float32");
    REFUSED(2, "f32", JOB, "--set", "teacher.dtype=float32");
    REFUSED(2, "projector.linear", JOB, "--set", "projector.kind=factored", "--set", "precision.projector=f32");
    REFUSED(2, "is f16", JOB, "--set", "projector.kind=factored", "--set", "precision.projector=f32");
    REFUSED(2, "says f32", JOB, "--set", "projector.kind=factored", "--set", "precision.projector=f32");
    REFUSED(2, "says f16", JOB, "--set", "projector.kind=factored", "--set", "precision.projector=f16", "--set", "precision.teacher=f32");
}

static char *copy_of_teacher(const char *tokenizer_of) {
    static char dir[600];
    char path[700];
    rt_buf json = {0};
    rt_error err = {0};
    snprintf(dir, sizeof dir, "%s/teacher", rt_test_dir());
    if (tokenizer_of) {
        snprintf(path, sizeof path, "%s/tokenizer.json", tokenizer_of);
        RT_OK_OR_FAIL(rt_file_read(path, (size_t)16 << 20, &json, &err));
    }
    rt_tiny_teacher(dir, RT_TINY_VOCAB, 64, json.data);
    rt_buf_free(&json);
    return dir;
}

static void truncate_file(const char *dir, const char *name, double share) {
    char path[4200];
    rt_error err = {0};
    int64_t size = 0;
    snprintf(path, sizeof path, "%s%s%s", dir, *name ? "/" : "", name);
    RT_OK_OR_FAIL(rt_file_size(path, &size, &err));
    CU_ASSERT_EQUAL(truncate(path, (off_t)(share * (double)size)), 0);
}

static void bad_teachers_are_refused(void) {
    const char *yaml = rt_tiny_files()->yaml;
    REFUSED(3, "absent-teacher", JOB, "--teacher", "absent-teacher");
    char *teacher = copy_of_teacher(rt_tiny_files()->teacher);
    truncate_file(teacher, "model.safetensors", 0.7);
    REFUSED(3, "model.safetensors", JOB, "--teacher", teacher);
    truncate_file(teacher, "model.safetensors", 0);
    REFUSED(3, "model.safetensors", JOB, "--teacher", teacher);
    truncate_file(teacher, "config.json", 0.5);
    REFUSED(3, "config.json", JOB, "--teacher", teacher);
    teacher = copy_of_teacher(rt_tiny_files()->teacher);
    truncate_file(teacher, "tokenizer.json", 0.5);
    REFUSED(3, "tokenizer.json", JOB, "--teacher", teacher);
}

/* The same ids with one merge less are another tokenizer; none at all cannot be compared. */
static void other_tokenizers_are_refused(void) {
    const char *yaml = rt_tiny_files()->yaml;
    char set[700], other[600];
    int32_t size = 0;
    rt_error err = {0};
    const char *const paths[] = {rt_tiny_files()->train};
    snprintf(other, sizeof other, "%s/tokenizer", rt_test_dir());
    RT_OK_OR_FAIL(rt_tokenizer_train(paths, 1, &(rt_corpus_options){.separator = "blank_line"}, 0, 290, other, &size, &err));
    CU_ASSERT_EQUAL(size, 290);
    snprintf(set, sizeof set, "data.tokenizer=%s", other);
    REFUSED(2, "alignment across tokenizers is not supported", JOB, "--set", set);
    REFUSED(2, "290 ids", JOB, "--set", set);
    snprintf(set, sizeof set, "data.tokenizer=%s", rt_tiny_files()->teacher);
    REFUSED(2, "sha256 unknown", JOB, "--set", set, "--teacher", copy_of_teacher(NULL));
}

/* A shard by hand: llm.c's 256 int32 of header, then 16-bit tokens. */
static const char *write_shard(const char *name, const uint16_t *tokens, int32_t n) {
    static char path[600];
    int32_t header[256] = {20240520, 1, n};
    rt_buf b = {0};
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/%s", rt_test_dir(), name);
    rt_buf_add(&b, header, sizeof header);
    rt_buf_add(&b, tokens, (size_t)n * sizeof *tokens);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    rt_buf_free(&b);
    return path;
}
static void bad_data_is_refused(void) {
    const char *yaml = rt_tiny_files()->yaml;
    uint16_t tokens[400];
    for (int i = 0; i < 400; i++) tokens[i] = (uint16_t)(i % 200);
    tokens[123] = 301; /* between the tokenizer's ids and the rows of the teacher's matrix */
    const char *shard = write_shard("beyond.bin", tokens, 400);
    REFUSED(3, "301", JOB, "--data", shard);
    REFUSED(3, "beyond.bin", JOB, "--data", shard);
    REFUSED(3, "token id 301 is beyond", "train", "--data", shard, "--set", "student.vocab_size=256", "--set", "data.sequence_length=32");
    truncate_file(shard, "", 0.8);
    REFUSED(3, "beyond.bin", JOB, "--data", shard);
    REFUSED(3, "absent.txt", JOB, "--data", "absent.txt");
    char empty[600];
    rt_error err = {0};
    snprintf(empty, sizeof empty, "%s/empty.txt", rt_test_dir());
    RT_OK_OR_FAIL(rt_file_write_atomic(empty, "", 0, &err));
    REFUSED(3, "empty.txt", JOB, "--data", empty);
    RT_OK_OR_FAIL(rt_file_write_atomic(empty, "too short\n", 10, &err));
    REFUSED(3, "tokens", JOB, "--data", empty);
    RT_OK_OR_FAIL(rt_file_write_atomic(empty, "not UTF-8: \xff\xfe, which nobody reads as text\n", 43, &err));
    REFUSED(3, "empty.txt", JOB, "--data", empty);
}

static void a_folder_with_a_run_is_not_overwritten(void) {
    char out[512], log[600];
    const char *yaml = rt_tiny_files()->yaml;
    rt_buf before = {0}, after = {0};
    rt_error err = {0};
    RT_TINY_RUN(fresh(out), "schedule.steps=2", "schedule.warmup=0");
    snprintf(log, sizeof log, "%s/log.jsonl", out);
    RT_OK_OR_FAIL(rt_file_read(log, (size_t)64 << 20, &before, &err));
    rt_run r = RT_PROGRAM(NULL, "distill", yaml, "--out", out);
    RT_CHECK(r.code == 2 && strstr(text_at(&r.err), "holds a run already") && lines(text_at(&r.err)) == 1, "%d: %s", r.code, tail(&r));
    rt_run_free(&r);
    r = RT_PROGRAM(NULL, "distill", yaml, "--out", out, "--resume", "--set", "optimizer.lr=0.003", "--set", "schedule.steps=2", "--set", "schedule.warmup=0");
    RT_CHECK(r.code == 2 && strstr(text_at(&r.err), "optimizer.lr was 0.01 there and is 0.003 now"), "%d: %s", r.code, tail(&r));
    rt_run_free(&r);
    RT_OK_OR_FAIL(rt_file_read(log, (size_t)64 << 20, &after, &err));
    CU_ASSERT_TRUE(before.size == after.size && memcmp(before.data, after.data, after.size) == 0);
    rt_buf_free(&before), rt_buf_free(&after);
}

/* --------------------------------------------------------------- numerical */

/* Weight decay times learning rate multiplies the weights by a million at each step. */
static void numbers_that_leave_the_range_end_it(void) {
    char out[512], checkpoint[4096];
    rt_run r = RT_PROGRAM(NULL, "distill", rt_tiny_files()->yaml, "--out", fresh(out), "--set", "optimizer.lr=1000", "--set", "optimizer.weight_decay=1000",
                          "--set", "run.save_every=1", "--set", "schedule.warmup=0");
    const char *said = text_at(&r.err), *last = strstr(said, "retort: ");
    RT_CHECK(r.code == 4, "exit %d: %s", r.code, said);
    RT_CHECK(last && strstr(last, "retort: step ") && strstr(last, "epoch 0, window") && strstr(last, "student."), "%s", said);
    RT_CHECK(newest(out, checkpoint) >= 1, "no checkpoint is left");
    rt_run_free(&r);
}

/* --------------------------------------------------------------- full disk */

/* In a mount namespace of its own, so that nothing stays mounted whatever happens: $1 program, $2 job, $3 folder. */
static const char small_disk[] = "mount -t tmpfs -o size=1200k tmpfs \"$3/disk\" || exit 77\n"
                                 "\"$1\" distill \"$2\" --out \"$3/disk/run\" --set run.save_every=1 --set run.keep=9 2>\"$3/stderr\"\n"
                                 "code=$?; cp -r \"$3/disk/run\" \"$3/kept\"; exit $code\n";
static int in_small_disk(const char *dir) {
    char command[3000], path[600];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/disk", dir);
    RT_OK_OR_FAIL(rt_dir_make(path, &err));
    snprintf(path, sizeof path, "%s/small_disk.sh", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, small_disk, strlen(small_disk), &err));
    snprintf(command, sizeof command, "unshare -m sh '%s' '%s' '%s' '%s' >/dev/null 2>&1", path, RT_BINARY_DIR "/retort", rt_tiny_files()->yaml, dir);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static void a_full_disk_leaves_the_last_checkpoint(void) {
    char dir[512], path[600], checkpoint[4096];
    rt_buf said = {0};
    rt_error err = {0};
    snprintf(dir, sizeof dir, "%s", rt_test_dir());
    int code = in_small_disk(dir);
    if (code != 0 && code != 5) {
        rt_test_skip("no small disk: mounting one needs root (exit %d)", code);
        return;
    }
    snprintf(path, sizeof path, "%s/stderr", dir);
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &said, &err));
    RT_CHECK(code == 5 && strstr(text_at(&said), "No space left on device"), "exit %d: %s", code, text_at(&said));
    snprintf(path, sizeof path, "%s/kept", dir);
    RT_CHECK(newest(path, checkpoint) >= 1, "nothing sound is left");
    rt_buf_free(&said);
}

static void it_prints_its_profile(void) {
    char out[512];
    rt_run r = RT_PROGRAM(NULL, "distill", rt_tiny_files()->yaml, "--out", fresh(out), "--set", "run.stop_after=2", "--profile");
    CU_ASSERT_EQUAL(r.code, 0);
    RT_CHECK(strncmp(text_at(&r.out), "profile of 1 step", 17) == 0 && strstr(text_at(&r.out), "a step"), "%s, %s", text_at(&r.out), tail(&r));
    rt_run_free(&r);
}

RT_SUITE(run_program) {
    RT_TEST(killed_at_any_moment_it_goes_on_to_the_same_bits);
    RT_TEST(a_signal_ends_it_after_a_clean_checkpoint);
    RT_TEST(bad_configurations_are_refused);
    RT_TEST(dtypes_are_refused_with_both_named);
    RT_TEST(bad_teachers_are_refused);
    RT_TEST(other_tokenizers_are_refused);
    RT_TEST(bad_data_is_refused);
    RT_TEST(a_folder_with_a_run_is_not_overwritten);
    RT_TEST(numbers_that_leave_the_range_end_it);
    RT_TEST(a_full_disk_leaves_the_last_checkpoint);
    RT_TEST(it_prints_its_profile);
}
