/* test_law.c - the dependency law of the house (README, "The house"), read off the #include lines. */
#include "harness.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct room {
    const char *name;
    int floor;
} room;
static const room rooms[] = {{"base", 1},   {"tensor", 2}, {"text", 2},    {"kernels", 3}, {"graph", 3},    {"optim", 3}, {"ops", 4},
                             {"routers", 5}, {"losses", 5}, {"model", 6},   {"io", 7},      {"infer", 8},    {"train", 9},
                             {"export", 9},  {"compare", 9}, {"trainers", 10}, {"eval", 10},  {"datasets", 10}, {"cli", 11},  {NULL, 0}};

static const room *room_of(const char *path) { /* "ops/common.h", "retort/ops/ops.h", "src/ops/add.c" */
    for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        for (const room *r = rooms; r->name; r++) {
            size_t n = strlen(r->name);
            if (strncmp(p, r->name, n) == 0 && p[n] == '/') return r;
        }
    return NULL;
}

static int files, includes;
static struct {
    const char *header;
    char file[1024];
    int count;
} once[] = {{"dnnl.h", "", 0}, {"cblas.h", "", 0}, {"lapacke.h", "", 0}};

static void external(const char *file, const char *line) {
    for (size_t i = 0; i < sizeof once / sizeof *once; i++)
        if (strstr(line, once[i].header)) {
            once[i].count++;
            RT_CHECK(once[i].count == 1, "<%s> stands in %s and in %s; one file only", once[i].header, once[i].file, file);
            snprintf(once[i].file, sizeof once[i].file, "%s", file);
        }
}
static bool allowed(const room *from, const room *to) { return from == to || to->floor < from->floor; }

static void check_line(const char *file, const room *from, const char *line) {
    char target[256];
    if (sscanf(line, " # include <retort/%255[^>]>", target) != 1 && sscanf(line, " # include \"%255[^\"]\"", target) != 1) {
        if (strstr(line, "#include")) external(file, line);
        return;
    }
    const room *to = room_of(target);
    includes++;
    if (to) RT_CHECK(allowed(from, to), "%s (floor %d) includes %s (floor %d)", file, from->floor, target, to->floor);
}
static void check_file(const char *path) {
    const char *relative = path + strlen(RT_SOURCE_DIR) + 1;
    const room *from = room_of(relative);
    FILE *f = from ? fopen(path, "r") : NULL;
    char line[1024];
    if (!f) return;
    files++;
    while (fgets(line, sizeof line, f))
        if (strstr(line, "include")) check_line(relative, from, line);
    fclose(f);
}
static void walk(const char *path) {
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        char child[1024];
        struct stat s;
        if (e->d_name[0] == '.' || snprintf(child, sizeof child, "%s/%s", path, e->d_name) >= (int)sizeof child || stat(child, &s)) continue;
        size_t n = strlen(child);
        if (S_ISDIR(s.st_mode)) walk(child);
        else if (n > 2 && (strcmp(child + n - 2, ".c") == 0 || strcmp(child + n - 2, ".h") == 0)) check_file(child);
    }
    if (d) closedir(d);
}

static void includes_go_down(void) {
    static const char *roots[] = {"src", "include", "trainers", "eval", "datasets"};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", RT_SOURCE_DIR, roots[i]);
        walk(path);
    }
    RT_CHECK(files > 20 && includes > 40, "only %d files and %d includes were read", files, includes);
}

/* The graph knows no operation, and an operation no model: not even by name. */
static void graph_names_no_operation(void) {
    static const char *const names[] = {"rmsnorm", "rt_op_", "attention", "swiglu", "experts"};
    char path[1024], line[1024];
    snprintf(path, sizeof path, "%s/src/graph", RT_SOURCE_DIR);
    DIR *d = opendir(path);
    struct dirent *e;
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    while ((e = readdir(d))) {
        snprintf(path, sizeof path, "%s/src/graph/%s", RT_SOURCE_DIR, e->d_name);
        FILE *f = strstr(e->d_name, ".c") ? fopen(path, "r") : NULL;
        while (f && fgets(line, sizeof line, f))
            for (size_t i = 0; i < sizeof names / sizeof *names; i++) RT_CHECK(!strstr(line, names[i]), "src/graph/%s names '%s'", e->d_name, names[i]);
        if (f) fclose(f);
    }
    closedir(d);
}

RT_SUITE(law) {
    RT_TEST(includes_go_down);
    RT_TEST(graph_names_no_operation);
}
