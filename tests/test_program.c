/* test_program.c - the program as its users meet it: exit codes, one-line errors, help, and the data commands end to
 * end. */
#include "harness.h"
#include "program.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/checkpoint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const char *text_at(const rt_buf *b) { return b->data ? b->data : ""; }
static int64_t lines(const char *text) {
    int64_t n = 0;
    for (; (text = strchr(text, '\n')); text++) n++;
    return n;
}

/* ------------------------------------------------------------- refusals */

static void refused(int code, const char *text, const char *const *arguments) {
    rt_run r = rt_program(NULL, arguments);
    RT_CHECK(r.code == code, "'retort %s %s': exit %d, expected %d", arguments[0],
             arguments[0] && arguments[1] ? arguments[1] : "", r.code, code);
    RT_CHECK(strstr(text_at(&r.err), text) && lines(text_at(&r.err)) == 1 &&
                 strncmp(text_at(&r.err), "retort: ", 8) == 0,
             "found '%s', expected one line with '%s'", text_at(&r.err), text);
    RT_CHECK(r.out.size == 0, "stdout holds '%s'", text_at(&r.out));
    rt_run_free(&r);
}
#define REFUSED(code, text, ...) refused(code, text, (const char *const[]){__VA_ARGS__, NULL})

static void errors_are_one_line_and_name_the_nearest(void) {
    REFUSED(2, "which command? See 'retort --help'", NULL);
    REFUSED(2, "unknown command 'dcotor' (did you mean 'doctor'?)", "dcotor");
    REFUSED(2, "unknown command 'data encoed' (did you mean 'data encode'?)", "data", "encoed");
    REFUSED(2, "unknown command 'qqqqqqqqqq'; see 'retort --help'", "qqqqqqqqqq");
    REFUSED(2, "data: which one? See 'retort data --help'", "data");
    REFUSED(2, "the command comes first (found '--jsn')", "--jsn");
    REFUSED(2, "unknown option '--jsn' (did you mean '--json'?); see 'retort doctor --help'", "doctor", "--jsn");
    REFUSED(2, "unknown option '--quite' (did you mean '--quiet'?)", "doctor", "--quite");
    REFUSED(2, "--tokenizer: found no value", "data", "encode", "--tokenizer");
    REFUSED(2, "missing --tokenizer", "data", "decode");
    REFUSED(2, "exclude each other", "data", "encode", "--tokenizer", "x", "--jsonl", "--whole");
    REFUSED(3, "absent-folder", "data", "encode", "--tokenizer", "absent-folder");
    REFUSED(3, "absent.bin", "data", "inspect", "absent.bin");
    REFUSED(3, "absent-folder", "show", "model", "absent-folder");
    REFUSED(3, "no checkpoint here", "show", "checkpoint", RT_SOURCE_DIR);
    REFUSED(2, "missing JOB.yaml", "show", "config");
    REFUSED(3, "a?b", "show", "model", "a\nb");
}

/* ----------------------------------------------------------------- help */

static void help_is_there(const char *needle, const char *const *arguments) {
    rt_run r = rt_program(NULL, arguments);
    RT_CHECK(r.code == 0 && strstr(text_at(&r.out), needle), "'%s' is not in:\n%s%s", needle, text_at(&r.out),
             text_at(&r.err));
    RT_CHECK(r.err.size == 0, "stderr holds '%s'", text_at(&r.err));
    for (const char *p = text_at(&r.out); *p; p++) RT_CHECK(*p != '\033', "colours in a file");
    rt_run_free(&r);
}
#define HELP(needle, ...) help_is_there(needle, (const char *const[]){__VA_ARGS__, NULL})

static void help_explains(void) {
    HELP("Exit codes: 0 done; 1 ", "--help");
    HELP("Where to begin", "help");
    HELP("  doctor ", "-h");
    HELP("retort " RT_VERSION "\n", "--version");
    HELP("jansson", "-V");
    HELP("usage: retort data COMMAND", "data", "--help");
    HELP("usage: retort data COMMAND", "help", "data");
    HELP("usage: retort data encode --tokenizer DIR", "data", "encode", "--help");
    HELP("-q, --quiet", "help", "doctor");
    HELP("optimizer.lr", "show", "config", "--keys");
}

/* --------------------------------------------------------------- doctor */

static void doctor_speaks_json(void) {
    rt_run r = RT_PROGRAM(NULL, "doctor", "--json", "--fast");
    rt_error err = {0};
    json_t *value = NULL;
    CU_ASSERT_EQUAL(r.code, 0);
    RT_OK_OR_FAIL(rt_json_parse(text_at(&r.out), r.out.size, "doctor", &value, &err));
    static const char *const keys[] = {"version", "machine", "libraries", "warnings"};
    for (int i = 0; i < 4; i++) RT_CHECK(json_object_get(value, keys[i]), "no '%s'", keys[i]);
    CU_ASSERT_TRUE(json_integer_value(json_object_get(json_object_get(value, "machine"), "cores_usable")) >= 1);
    json_decref(value);
    rt_run_free(&r);
}

/* ----------------------------------------------- texts, ids, shards, on our own data */

/* A fresh folder with a small synthetic corpus; the caller's buffer. */
static const char *synth(char dir[512]) {
    snprintf(dir, 512, "%s/data", rt_test_dir());
    rt_run r =
        RT_PROGRAM(NULL, "data", "synth", "--out", dir, "--bytes", "40kB", "--seed", "7", "--vocab", "400", "--quiet");
    RT_CHECK(r.code == 0 && r.err.size == 0 && r.out.size == 0, "data synth: %d '%s'", r.code, text_at(&r.err));
    rt_run_free(&r);
    return dir;
}

static void same_text(const rt_buf *found, const char *wanted, size_t n, const char *what) {
    RT_CHECK(found->size == n && memcmp(text_at(found), wanted, n) == 0, "%s: %zu bytes, expected %zu", what,
             found->size, n);
}

static void ids_and_back(void) {
    char dir[512], path[600];
    rt_error err = {0};
    rt_buf text = {0};
    snprintf(path, sizeof path, "%s/valid.txt", synth(dir));
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &text, &err));
    rt_run ids = RT_PROGRAM(NULL, "data", "encode", "-t", dir, path);
    CU_ASSERT_TRUE(ids.code == 0 && ids.err.size == 0 && lines(text_at(&ids.out)) == lines(text.data));
    rt_run back = RT_PROGRAM(text_at(&ids.out), "data", "decode", "--tokenizer", dir);
    CU_ASSERT_EQUAL(back.code, 0);
    same_text(&back.out, text.data, text.size, "valid.txt by lines");
    rt_run whole = RT_PROGRAM(NULL, "data", "encode", "-t", dir, "--whole", path);
    CU_ASSERT_TRUE(whole.code == 0 && lines(text_at(&whole.out)) == 1);
    rt_run again = RT_PROGRAM(text_at(&whole.out), "data", "decode", "-t", dir, "-");
    rt_buf_putc(&text, '\n');
    same_text(&again.out, text.data, text.size, "valid.txt as one text");
    rt_run bad = RT_PROGRAM("12 x3\n", "data", "decode", "-t", dir);
    RT_CHECK(bad.code == 3 && lines(text_at(&bad.err)) == 1, "%d '%s'", bad.code, text_at(&bad.err));
    rt_buf_free(&text);
    rt_run_free(&ids), rt_run_free(&back), rt_run_free(&whole), rt_run_free(&again), rt_run_free(&bad);
}

static void shards_are_made_and_shown(void) {
    char dir[512], text[600], shard[600];
    synth(dir);
    snprintf(text, sizeof text, "%s/train.txt", dir);
    snprintf(shard, sizeof shard, "%s/train.bin", dir);
    rt_run made = RT_PROGRAM(NULL, "data", "shard", "-t", dir, "--separator", "blank_line", "-o", shard, text);
    RT_CHECK(made.code == 0 && made.out.size == 0 && strstr(text_at(&made.err), " documents, "), "%d '%s'", made.code,
             text_at(&made.err));
    rt_run seen = RT_PROGRAM(NULL, "data", "inspect", shard, "--tokenizer", dir, "--limit", "2000");
    static const char *const needles[] = {"vocab_size: 400\n", "bos_id: 0\n", "eos_id: 1\n",
                                          "document 0: ",      "\n  <|bos|>", "document 1: "};
    for (size_t i = 0; i < sizeof needles / sizeof *needles; i++)
        RT_CHECK(strstr(text_at(&seen.out), needles[i]), "no '%s' in\n%s", needles[i], text_at(&seen.out));
    rt_run ids = RT_PROGRAM(NULL, "data", "inspect", shard, "-n", "3");
    RT_CHECK(strstr(text_at(&ids.out), "document 0: 3 of its tokens") && strstr(text_at(&ids.out), "\n  0 "), "%s",
             text_at(&ids.out));
    rt_run_free(&made), rt_run_free(&seen), rt_run_free(&ids);
}

static void tokenizers_are_trained(void) {
    char dir[512], text[600], out[600];
    synth(dir);
    snprintf(text, sizeof text, "%s/train.txt", dir);
    snprintf(out, sizeof out, "%s/made", dir);
    rt_run made = RT_PROGRAM(NULL, "data", "train-tokenizer", "--data", text, "--out", out, "--vocab", "300");
    RT_CHECK(made.code == 0 && strstr(text_at(&made.err), ", 300 ids"), "%d '%s'", made.code, text_at(&made.err));
    rt_run ids = RT_PROGRAM("a b\n", "data", "encode", "-t", out);
    CU_ASSERT_EQUAL(ids.code, 0);
    rt_run_free(&made), rt_run_free(&ids);
}

static void what_cannot_be_written_is_an_error(void) {
    char dir[512], text[600];
    snprintf(text, sizeof text, "%s/train.txt", synth(dir));
    rt_run r = RT_PROGRAM(NULL, "data", "shard", "-t", dir, "-o", "/dev/null/x.bin", text);
    RT_CHECK(r.code == 5 && lines(text_at(&r.err)) == 1, "%d '%s'", r.code, text_at(&r.err));
    rt_run_free(&r);
}

/* ------------------------------------------- against Hugging Face's own ids */

static void add_ids(const json_t *record, rt_buf *out) {
    size_t i;
    const json_t *id;
    json_array_foreach(json_object_get(record, "ids"), i, id)
        rt_buf_printf(out, "%s%lld", i ? " " : "", json_integer_value(id));
    rt_buf_putc(out, '\n');
}

/* strings.jsonl: {"text", "ids"} records; wanted: their ids as lines. */
static void wanted_ids(const char *path, rt_buf *out) {
    rt_error err = {0};
    rt_buf file = {0};
    RT_OK_OR_FAIL(rt_file_read(path, 16 << 20, &file, &err));
    for (char *line = file.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        json_t *record = json_loadb(line, (size_t)(end - line), 0, NULL);
        CU_ASSERT_PTR_NOT_NULL(record);
        add_ids(record, out);
        json_decref(record);
    }
    rt_buf_free(&file);
}

static void encode_equals_hugging_face(void) {
    static const char *const names[] = {"gpt2", "qwen2", "stories260K"};
    for (int i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, "tokenizers/%s", names[i]);
        const char *dir = rt_fixture(path);
        snprintf(path, sizeof path, "tokenizers/%s/strings.jsonl", names[i]);
        const char *strings = dir ? rt_fixture(path) : NULL;
        if (!strings) return;
        rt_buf wanted = {0};
        wanted_ids(strings, &wanted);
        rt_run r = RT_PROGRAM(NULL, "data", "encode", "--tokenizer", dir, "--jsonl", strings);
        RT_CHECK(r.code == 0, "%s: %s", names[i], text_at(&r.err));
        same_text(&r.out, wanted.data, wanted.size, names[i]);
        rt_buf_free(&wanted);
        rt_run_free(&r);
    }
}

static void models_are_shown(void) {
    const char *dir = rt_fixture("models/mixtral/f16");
    rt_error err = {0};
    if (!dir) return;
    rt_run r = RT_PROGRAM(NULL, "show", "model", dir);
    CU_ASSERT_TRUE(r.code == 0 && strstr(text_at(&r.out), "mixtral") && strstr(text_at(&r.out), "parameters"));
    rt_run j = RT_PROGRAM(NULL, "show", "model", dir, "--json", "--hash");
    json_t *value = NULL;
    RT_OK_OR_FAIL(rt_json_parse(text_at(&j.out), j.out.size, "show model", &value, &err));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(value, "experts")), 8);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(value, "tensors")), 3 * (7 + 24) + 2);
    CU_ASSERT_EQUAL(json_string_length(json_object_get(value, "hash")), 64);
    json_decref(value);
    rt_run_free(&r), rt_run_free(&j);
}

/* --------------------------------------------------------- checkpoints */

static rt_status write_note(const char *path, void *context, rt_error *err) {
    return rt_file_write_atomic(path, context, strlen(context), err);
}

static void checkpoints_are_verified(void) {
    rt_error err = {0};
    char root[540], run[512], path[600];
    snprintf(run, sizeof run, "%s", rt_test_dir());
    snprintf(root, sizeof root, "%s/checkpoints", run);
    rt_checkpoint_file file = {"note.txt", write_note, "hello"};
    json_t *facts = json_pack("{s:s}", "colour", "green");
    RT_OK_OR_FAIL(rt_checkpoint_save(root, 40, &file, 1, facts, &err));
    json_decref(facts);
    rt_run r = RT_PROGRAM(NULL, "show", "checkpoint", run);
    static const char *const needles[] = {"step 40, every file", "note.txt ", " 3610a686\n", "colour: \"green\""};
    for (int i = 0; i < 4; i++)
        RT_CHECK(strstr(text_at(&r.out), needles[i]), "no '%s' in\n%s%s", needles[i], text_at(&r.out), text_at(&r.err));
    rt_run_free(&r);
    char *step = rt_checkpoint_path(root, 40);
    snprintf(path, sizeof path, "%s/note.txt", step);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, "hellO", 5, &err));
    r = RT_PROGRAM(NULL, "show", "checkpoint", step);
    RT_CHECK(r.code == 3 && r.out.size == 0 && strstr(text_at(&r.err), "note.txt: is damaged"), "%d '%s'", r.code,
             text_at(&r.err));
    rt_free(step);
    rt_run_free(&r);
}

/* The limit is inherited by what is started, and only its soft half is lowered, so that it can be raised again. */
static void a_limit_on_file_sizes_is_an_error_with_a_name(void) {
    struct rlimit was, low;
    char out[1024];
    snprintf(out, sizeof out, "%s/data", rt_test_dir());
    CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){20000, was.rlim_max};
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &low), 0);
    rt_started started = RT_PROGRAM_START("data", "synth", "--out", out, "--bytes", "256KiB", "--seed", "7", "--vocab", "300");
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &was), 0);
    rt_run r = rt_program_end(&started);
    CU_ASSERT_EQUAL(r.code, 5);
    RT_CHECK(r.err.data && strstr(r.err.data, "cannot write: File too large"), "stderr: %s", r.err.data ? r.err.data : "nothing");
    rt_run_free(&r);
}

RT_SUITE(program) {
    RT_TEST(checkpoints_are_verified);
    RT_TEST(errors_are_one_line_and_name_the_nearest);
    RT_TEST(help_explains);
    RT_TEST(doctor_speaks_json);
    RT_TEST(ids_and_back);
    RT_TEST(shards_are_made_and_shown);
    RT_TEST(tokenizers_are_trained);
    RT_TEST(what_cannot_be_written_is_an_error);
    RT_TEST(encode_equals_hugging_face);
    RT_TEST(models_are_shown);
    RT_TEST(a_limit_on_file_sizes_is_an_error_with_a_name);
}
