/* program.c - stdin, stdout and stderr are files, so that no pipe can fill up. */
#include "program.h"
#include "harness.h"
#include <retort/base/file.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;
enum { MAX_WORDS = 30, OUTPUT = 64 << 20 };

static bool start(const char *dir, char *const *argv, pid_t *pid) {
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    char path[512];
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        posix_spawn_file_actions_addopen(&files, i, path, i ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0600);
    }
    bool ok = posix_spawn(pid, RT_BINARY_DIR "/retort", &files, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&files);
    return ok;
}

static void keep(const char *dir, const char *name, rt_buf *out) {
    char path[512];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    RT_OK_OR_FAIL(rt_file_read(path, OUTPUT, out, &err));
    if (!out->data) rt_buf_puts(out, "");
}

rt_run rt_program(const char *in, const char *const *arguments) {
    rt_run r = {.code = -1};
    rt_error err = {0};
    const char *dir = rt_test_dir();
    char path[512];
    char *argv[MAX_WORDS + 2] = {"retort"};
    for (int i = 0; i < MAX_WORDS && arguments[i]; i++) argv[i + 1] = (char *)arguments[i];
    snprintf(path, sizeof path, "%s/stdin", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, in ? in : "", in ? strlen(in) : 0, &err));
    pid_t pid;
    int status;
    if (!start(dir, argv, &pid) || waitpid(pid, &status, 0) != pid) {
        RT_FAILF("%s/retort could not be run", RT_BINARY_DIR);
        return r;
    }
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    keep(dir, "stdout", &r.out);
    keep(dir, "stderr", &r.err);
    return r;
}

void rt_run_free(rt_run *r) {
    rt_buf_free(&r->out);
    rt_buf_free(&r->err);
}
