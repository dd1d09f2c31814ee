/* file_write.c - write under a temporary name, sync, rename, sync the folder: a reader (or a crash) sees the old file or
 * the new one, whole. The folder's sync is what makes the rename itself survive a power cut. */
#include <retort/base/file.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static _Atomic int64_t fail_at;
void rt_file_fail_at(int64_t nth) { atomic_store(&fail_at, nth); }
bool rt_file_told_to_fail(void) {
    if (atomic_load(&fail_at) == 0 || atomic_fetch_sub(&fail_at, 1) != 1) return false;
    errno = ENOSPC;
    return true;
}

static rt_status unwritable(const char *path, const char *what, rt_error *err) {
    return rt_fail(err, RT_E_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

rt_status rt_file_writer_open(const char *path, rt_file_writer *w, rt_error *err) {
    *w = (rt_file_writer){.descriptor = -1, .path = rt_strdup(path)};
    size_t n = strlen(path) + 32;
    w->temporary = rt_alloc(n);
    if (!w->path || !w->temporary) {
        rt_free(w->temporary), w->temporary = NULL; /* nothing on disk to discard yet */
        rt_file_writer_discard(w);
        return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    }
    snprintf(w->temporary, n, "%s.%ld.tmp", path, (long)getpid());
    w->descriptor = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->descriptor >= 0) return RT_OK;
    rt_status status = unwritable(path, "create", err);
    rt_file_writer_discard(w);
    return status;
}

rt_status rt_file_writer_add(rt_file_writer *w, const void *bytes, size_t n, rt_error *err) {
    const char *p = bytes;
    for (size_t done = 0; done < n;) {
        size_t part = n - done < (1u << 30) ? n - done : 1u << 30;
        ssize_t k = rt_file_told_to_fail() ? -1 : write(w->descriptor, p + done, part);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return unwritable(w->path, "write", err);
        w->crc = (uint32_t)crc32_z(w->crc, (const Bytef *)p + done, (size_t)k);
        w->size += k;
        done += (size_t)k;
    }
    return RT_OK;
}

static rt_status sync_parent(const char *path, rt_error *err) {
    const char *slash = strrchr(path, '/');
    char *folder = !slash ? rt_strdup(".") : rt_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!folder) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    int d = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = d >= 0 && !rt_file_told_to_fail() && (fsync(d) == 0 || errno == EINVAL); /* some file systems have none */
    rt_status status = ok ? RT_OK : unwritable(folder, "sync the folder", err);
    if (d >= 0) close(d);
    rt_free(folder);
    return status;
}

rt_status rt_file_rename(const char *from, const char *to, rt_error *err) {
    if (rt_file_told_to_fail() || rename(from, to) != 0) return unwritable(to, "rename to it", err);
    return sync_parent(to, err);
}

static rt_status finish(rt_file_writer *w, rt_error *err) {
    if (rt_file_told_to_fail() || fsync(w->descriptor) != 0) return unwritable(w->path, "sync", err);
    int d = w->descriptor;
    w->descriptor = -1;
    if (close(d) != 0) return unwritable(w->path, "close", err);
    return rt_file_rename(w->temporary, w->path, err);
}

rt_status rt_file_writer_commit(rt_file_writer *w, rt_error *err) {
    rt_status status = finish(w, err);
    rt_file_writer_discard(w); /* after a success the temporary name no longer exists */
    return status;
}

void rt_file_writer_discard(rt_file_writer *w) {
    if (w->descriptor >= 0 && w->path) close(w->descriptor);
    if (w->temporary) unlink(w->temporary);
    rt_free(w->temporary);
    rt_free(w->path);
    *w = (rt_file_writer){.descriptor = -1, .crc = w->crc, .size = w->size};
}

rt_status rt_file_write_atomic(const char *path, const void *bytes, size_t n, rt_error *err) {
    rt_file_writer w;
    RT_TRY(rt_file_writer_open(path, &w, err));
    rt_status status = rt_file_writer_add(&w, bytes, n, err);
    if (status == RT_OK) return rt_file_writer_commit(&w, err);
    rt_file_writer_discard(&w);
    return status;
}
