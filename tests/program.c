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
    char path[600];
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
    char path[600];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    RT_OK_OR_FAIL(rt_file_read(path, OUTPUT, out, &err));
    if (!out->data) rt_buf_puts(out, "");
}

rt_started rt_program_start(const char *in, const char *const *arguments) {
    rt_started s = {.pid = -1};
    rt_error err = {0};
    char path[600];
    char *argv[MAX_WORDS + 2] = {"retort"};
    for (int i = 0; i < MAX_WORDS && arguments[i]; i++) argv[i + 1] = (char *)arguments[i];
    snprintf(s.dir, sizeof s.dir, "%s", rt_test_dir());
    snprintf(path, sizeof path, "%s/stdin", s.dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, in ? in : "", in ? strlen(in) : 0, &err));
    pid_t pid;
    if (start(s.dir, argv, &pid)) s.pid = pid;
    else RT_FAILF("%s/retort could not be run", RT_BINARY_DIR);
    return s;
}

rt_run rt_program_end(rt_started *s) {
    rt_run r = {.code = -1};
    int status;
    if (s->pid < 0 || waitpid(s->pid, &status, 0) != s->pid) return r;
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    keep(s->dir, "stdout", &r.out);
    keep(s->dir, "stderr", &r.err);
    return r;
}

rt_run rt_program(const char *in, const char *const *arguments) {
    rt_started s = rt_program_start(in, arguments);
    return rt_program_end(&s);
}

void rt_run_free(rt_run *r) {
    rt_buf_free(&r->out);
    rt_buf_free(&r->err);
}
