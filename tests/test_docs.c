/* test_docs.c - what the documents name exists: commands, folders, files; and every source says what it is. */
#include "harness.h"
#include <retort/base/file.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_MAX = 1 << 20 };
static const char *const folders[] = {
    "",         "src/base",    "src/tensor", "src/text",   "src/kernels", "src/graph", "src/optim", "src/ops",        "src/routers",
    "src/losses", "src/model", "src/io",     "src/infer",  "src/train",  "src/export", "src/compare", "src/cli",     "include/retort", "trainers", "eval",       "datasets",
    "tests",    "bench",       "scripts",    "docs",       "cmake",       NULL};

/* The text of a file of the tree; the caller frees it. A missing one is a failure, and empty. */
static rt_buf page(const char *path) {
    char full[1024];
    rt_error err = {0};
    rt_buf b = {0};
    snprintf(full, sizeof full, "%s/%s", RT_SOURCE_DIR, path);
    RT_OK_OR_FAIL(rt_file_read(full, PAGE_MAX, &b, &err));
    rt_buf_puts(&b, "");
    return b;
}
static bool exists(const char *format, const char *a, const char *b) {
    char pattern[1024];
    glob_t found;
    snprintf(pattern, sizeof pattern, format, RT_SOURCE_DIR, a, b);
    bool yes = glob(pattern, 0, NULL, &found) == 0;
    globfree(&found);
    return yes;
}

static void every_folder_has_a_readme(void) {
    for (int i = 0; folders[i]; i++) RT_CHECK(exists("%s/%s/%s", folders[i], "README.md"), "%s/README.md is missing", folders[i]);
}

/* ----------------------------------------------------------------- commands */

static const char *const commands[] = {
#define RT_SECTION(title)
#define RT_GROUP(name, about)
#define RT_COMMAND(name) #name,
#include "cli/commands.def"
#undef RT_SECTION
#undef RT_GROUP
#undef RT_COMMAND
    NULL};

/* data_train_tokenizer: "retort data train-tokenizer". */
static void spell(const char *symbol, char text[64]) {
    bool grouped = strncmp(symbol, "data_", 5) == 0 || strncmp(symbol, "show_", 5) == 0;
    snprintf(text, 64, "retort %s", symbol);
    for (char *p = text; *p; p++)
        if (*p == '_') *p = grouped ? ' ' : '-', grouped = false;
}
static void every_command_is_documented(void) {
    static const char *const pages[] = {"README.md", "trainers/README.md", "eval/README.md", "datasets/README.md", "src/cli/README.md", NULL};
    for (int c = 0; commands[c]; c++) {
        char name[64];
        bool found = false;
        spell(commands[c], name);
        for (int i = 0; pages[i]; i++) {
            rt_buf b = page(pages[i]);
            found |= b.data && strstr(b.data, name);
            rt_buf_free(&b);
        }
        RT_CHECK(found, "'%s' stands in no README", name);
    }
}

/* -------------------------------------------------------------------- paths */

static bool ends_in(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n > k && strcmp(s + n - k, end) == 0;
}
/* A place of the tree: src/ops/add.c, src/ops. Patterns with NAME, options and shell words are not. */
static bool is_path(const char *word) {
    static const char *const tops[] = {"src/", "include/", "trainers/", "eval/", "datasets/", "tests/", "bench/", "scripts/", "docs/", "cmake/", ".ci/", NULL};
    for (int i = 0; tops[i]; i++)
        if (strncmp(word, tops[i], strlen(tops[i])) == 0) return true;
    return strcmp(word, "CHANGELOG.md") == 0 || strcmp(word, "LICENSE") == 0 || strcmp(word, "CMakeLists.txt") == 0;
}
static bool is_source(const char *word) { return ends_in(word, ".c") || ends_in(word, ".h") || ends_in(word, ".def") || ends_in(word, ".cmake"); }

/* A source named in a folder's page lies in it, one below it, or is a public header, of the same module or (include/retort) any. */
static bool source_exists(const char *folder, const char *word) {
    const char *module = strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder;
    return exists("%s/%s/%s", folder, word) || exists("%s/%s/*/%s", folder, word) || exists("%s/include/retort/%s/%s", module, word) ||
           exists("%s/src/%s/%s", module, word);
}
static void check_word(const char *folder, const char *where, const char *word) {
    if (strpbrk(word, " <>$(){}=,:") || strstr(word, "NAME") || strstr(word, "MODULE") || strstr(word, "...") || strstr(word, "**")) return;
    if (is_path(word)) RT_CHECK(exists("%s/%s%s", word, ""), "%s names `%s`, which does not exist", where, word);
    else if (is_source(word)) RT_CHECK(source_exists(folder, word), "%s names `%s`, which does not exist", where, word);
}

/* Words between backticks, outside blocks of code. */
static void check_page(const char *folder, const char *where) {
    rt_buf b = page(where);
    bool fenced = false;
    for (char *line = b.data ? strtok(b.data, "\n") : NULL; line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "```", 3) == 0) fenced = !fenced;
        if (fenced || strncmp(line, "    ", 4) == 0) continue;
        for (char *from = strchr(line, '`'), *to; from && (to = strchr(from + 1, '`')); from = strchr(to + 1, '`')) {
            *to = 0;
            check_word(folder, where, from + 1);
        }
    }
    rt_buf_free(&b);
}
static void every_named_file_exists(void) {
    static const char *const pages[] = {"CHANGELOG.md", "docs/numerics.md", "docs/formats.md", NULL};
    for (int i = 0; folders[i]; i++) {
        char where[128];
        snprintf(where, sizeof where, "%s%sREADME.md", folders[i], *folders[i] ? "/" : "");
        check_page(folders[i], where);
    }
    for (int i = 0; pages[i]; i++) check_page("docs", pages[i]);
}

/* ------------------------------------------------------------------ sources */

static void check_heads(const char *pattern) {
    char full[1024], head[3];
    glob_t found;
    snprintf(full, sizeof full, "%s/%s", RT_SOURCE_DIR, pattern);
    if (glob(full, 0, NULL, &found) != 0) return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *f = fopen(found.gl_pathv[i], "r");
        head[0] = head[1] = 0;
        if (f && fread(head, 1, 2, f) < 2) head[0] = 0;
        if (f) fclose(f);
        RT_CHECK(head[0] == '/' && head[1] == '*', "%s does not begin by saying what it is", found.gl_pathv[i] + strlen(RT_SOURCE_DIR) + 1);
    }
    globfree(&found);
}
static void every_source_says_what_it_is(void) {
    static const char *const places[] = {"src/*/*.", "src/*/*/*.", "include/retort/*/*.", "trainers/*.", "eval/*.", "datasets/*.", "tests/*.", "bench/*.", NULL};
    static const char *const kinds[] = {"c", "h", "def", NULL};
    for (int p = 0; places[p]; p++)
        for (int k = 0; kinds[k]; k++) {
            char pattern[64];
            snprintf(pattern, sizeof pattern, "%s%s", places[p], kinds[k]);
            check_heads(pattern);
        }
}

RT_SUITE(docs) {
    RT_TEST(every_folder_has_a_readme);
    RT_TEST(every_command_is_documented);
    RT_TEST(every_named_file_exists);
    RT_TEST(every_source_says_what_it_is);
}
