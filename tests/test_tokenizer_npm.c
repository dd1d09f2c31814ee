/* test_tokenizer_npm.c - Hugging Face's library itself (npm package tokenizers, prebuilt, run by node) beside ours: the
 * same files, some hundred generated strings each, equal ids and equal decoded text. It loads what we train.
 *
 * The package is installed into a temporary folder that is removed afterwards; without node, npm or a registry the test
 * is skipped. */
#include "program.h"
#include "tokenizer_kit.h"
#include "tokenizer_samples.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rt_error err;
enum { TEXTS = 250, PIECES = 30 };

/* ---- the library ---- */

static const char driver[] =
    "const { Tokenizer } = require(process.argv[2] + '/node_modules/tokenizers');\n"
    "const fs = require('fs');\n"
    "(async () => {\n"
    "  const texts = JSON.parse(fs.readFileSync(process.argv[2] + '/texts.json', 'utf8')), all = [];\n"
    "  for (const file of process.argv.slice(3)) {\n"
    "    const t = Tokenizer.fromString(fs.readFileSync(file, 'utf8')), out = [];\n"
    "    t.disableTruncation(); t.disablePadding();\n"
    "    for (const text of texts) {\n"
    "      const ids = (await t.encode(text, null, { addSpecialTokens: true })).getIds();\n"
    "      out.push([ids, await t.decode(ids, false)]);\n"
    "    }\n"
    "    all.push(out);\n"
    "  }\n"
    "  fs.writeFileSync(process.argv[2] + '/answers.json', JSON.stringify(all));\n"
    "})();\n";

/* A folder with the package; false after a loud skip. */
static bool install(char dir[256]) {
    char command[800];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, 256, "%s/retort-npm-XXXXXX", tmp && strlen(tmp) < 200 ? tmp : "/tmp");
    *command = 0;
    if (system("command -v node npm >/dev/null 2>&1") != 0)
        return rt_test_skip("node or npm is absent"), *dir = 0, false;
    if (!mkdtemp(dir)) return rt_test_skip("%s cannot be made", dir), *dir = 0, false;
    snprintf(command, sizeof command,
             "cd '%s' && echo '{}' >package.json && timeout 10 npm install --ignore-scripts --no-audit --no-fund "
             "--fetch-retries=0 --fetch-timeout=5000 tokenizers@0.23.2 >npm.log 2>&1 && "
             "node -e 'require(\"./node_modules/tokenizers\")' >>npm.log 2>&1",
             dir);
    if (system(command) == 0) return true;
    rt_test_skip("the npm package tokenizers cannot be installed and loaded (no registry?)");
    return false;
}

static void uninstall(const char *dir) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (*dir && system(command) != 0) RT_FAILF("%s could not be removed", dir);
}

/* ---- texts ---- */

/* Characters that all versions of Unicode in use know alike. */
static json_t *make_texts(void) {
    static const char *const pieces[] = {
        " ",      " ",        "  ",      "a",       "b",      "t",      "e",      "the",    " the",   "cat",
        "Cat",    "'s",       "'t",      "'LL",     "1",      "23",     "4567",   ".",      "!?",     "\n",
        "\r\n",   "\t",       "\u00e9",  "e\u0301", "\u00fc", "\u00df", "\u4e2d", "\u6587", "\ud55c", "\u0627",
        "\u05d0", "\u0939",   "\u0e01",  "\u2581",  "\u00a0", "\u200d", "\u2122", "\u2460", "\uff21", "\U0001f600",
        "<s>",    "</s>",     "<|end|>", "<unk>",   "<w>",    "<l>",    "<r> ",   "<lr>",   "[SEP]",  "at a",
        "bb",     "<|user|>", "-",       "_",       "hello"};
    json_t *texts = json_array();
    rt_rng r = rt_rng_make(11, "npm", 0);
    uint64_t draw = 0;
    for (int i = 0; i < TEXTS; i++) {
        rt_buf text = {0};
        rt_buf_puts(&text, "");
        for (uint64_t k = rt_rng_below(r, draw++, PIECES); k > 0; k--)
            rt_buf_puts(&text, pieces[rt_rng_below(r, draw++, sizeof pieces / sizeof *pieces)]);
        json_array_append_new(texts, json_stringn(text.data ? text.data : "", text.size));
        rt_buf_free(&text);
    }
    return texts;
}

/* ---- comparing ---- */

static bool equal(const rt_tokenizer *t, const json_t *text, const json_t *answer) {
    const json_t *theirs = json_array_get(answer, 0), *decoded = json_array_get(answer, 1);
    rt_ids ids = {0};
    rt_buf out = {0};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_tokenizer_encode(t, json_string_value(text), json_string_length(text), true, &ids, &err));
    RT_OK_OR_FAIL(rt_tokenizer_decode(t, ids.data, ids.size, false, &out, &err));
    bool same = (size_t)ids.size == json_array_size(theirs);
    for (int64_t i = 0; same && i < ids.size; i++)
        same = ids.data[i] == json_integer_value(json_array_get(theirs, (size_t)i));
    same = same && out.size == json_string_length(decoded) &&
           (out.size == 0 || memcmp(out.data, json_string_value(decoded), out.size) == 0);
    rt_ids_free(&ids), rt_buf_free(&out);
    return same;
}

typedef struct files { /* what both read */
    char path[32][600];
    int count;
} files;

static void compare(const files *f, const json_t *texts, const json_t *answers) {
    CU_ASSERT_EQUAL(json_array_size(answers), (size_t)f->count);
    for (int i = 0; i < f->count; i++) {
        rt_tokenizer *t = NULL;
        int differ = 0;
        size_t k;
        const json_t *text;
        rt_error_clear(&err);
        RT_OK_OR_FAIL(rt_tokenizer_load(&t, f->path[i], &err));
        json_array_foreach(texts, k, text) {
            bool same = t && equal(t, text, json_array_get(json_array_get(answers, (size_t)i), k));
            if (!same && differ++ == 0) RT_FAILF("%s: '%s' differs", f->path[i], json_string_value(text));
        }
        RT_CHECK(differ == 0, "%s: %d of %d texts differ", f->path[i], differ, TEXTS);
        rt_tokenizer_free(t);
    }
}

/* ---- files ---- */

static void add_samples(files *f, const char *dir) {
    for (const tokenizer_sample *s = tokenizer_samples; s->name; s++) {
        char *path = f->path[f->count++];
        snprintf(path, 600, "%s/sample-%d.json", dir, f->count);
        RT_OK_OR_FAIL(rt_file_write_atomic(path, s->json, strlen(s->json), &err));
    }
}

/* By the command, for every pattern. */
static void add_trained(files *f, const char *dir) {
    static const char *const patterns[] = {"gpt2", "llama3", "qwen2"};
    char text[300], out[300];
    snprintf(text, sizeof text, "%s/rhyme.txt", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(text, tok_rhyme, strlen(tok_rhyme), &err));
    for (int i = 0; i < 3; i++) {
        snprintf(out, sizeof out, "%s/%s", dir, patterns[i]);
        rt_run r = RT_PROGRAM(NULL, "data", "train-tokenizer", "--data", text, "--out", out, "--vocab", "320",
                              "--pattern", patterns[i], "--special", "<|user|>", "<|end|>");
        RT_CHECK(r.code == 0, "%d '%s'", r.code, r.err.data);
        rt_run_free(&r);
        snprintf(f->path[f->count++], 600, "%s/tokenizer.json", out);
    }
}

static void the_library_reads_the_same(void) {
    char dir[256], command[24000] = "";
    static files f;
    f.count = 0;
    if (!install(dir)) return uninstall(dir);
    add_samples(&f, dir);
    add_trained(&f, dir);
    json_t *texts = make_texts(), *answers = NULL;
    snprintf(command, sizeof command, "%s/texts.json", dir);
    RT_OK_OR_FAIL(rt_json_save(command, texts, &err));
    snprintf(command, sizeof command, "%s/driver.js", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(command, driver, strlen(driver), &err));
    size_t n = (size_t)snprintf(command, sizeof command, "cd '%s' && timeout 60 node driver.js '%s'", dir, dir);
    for (int i = 0; i < f.count; i++) n += (size_t)snprintf(command + n, sizeof command - n, " '%s'", f.path[i]);
    CU_ASSERT_EQUAL(system(command), 0);
    snprintf(command, sizeof command, "%s/answers.json", dir);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_json_load(command, 0, &answers, &err));
    if (answers) compare(&f, texts, answers);
    json_decref(texts), json_decref(answers);
    uninstall(dir);
}

RT_SUITE(tokenizer_npm) { RT_TEST(the_library_reads_the_same); }
