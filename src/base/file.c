/* file.c - whole files read with a bound, summed; folders made and removed. Mapping is in file_map.c, writing in file_write.c. */
#include "base/file_open.h"
#include <retort/base/file.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static rt_status unreadable(const char *path, rt_error *err) {
    return rt_fail(err, RT_E_INPUT, "%s: %s", path, strerror(errno));
}

rt_status rt_file_open_regular(const char *path, int *descriptor, int64_t *size, rt_error *err) {
    struct stat s;
    *descriptor = -1;
    *size = 0;
    int d = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (d < 0) return unreadable(path, err);
    rt_status status = fstat(d, &s) != 0      ? unreadable(path, err)
                       : S_ISDIR(s.st_mode)   ? rt_fail(err, RT_E_INPUT, "%s: is a folder, expected a file", path)
                       : !S_ISREG(s.st_mode) ? rt_fail(err, RT_E_INPUT, "%s: is not a regular file", path)
                                              : RT_OK;
    if (status != RT_OK) return close(d), status;
    *descriptor = d;
    *size = (int64_t)s.st_size;
    return RT_OK;
}

/* Hands the file's bytes to `take` in pieces; it returns false to stop. */
typedef bool (*take_fn)(void *context, const char *bytes, size_t n);
static rt_status pieces(const char *path, int descriptor, take_fn take, void *context, rt_error *err) {
    char piece[1 << 16];
    for (;;) {
        ssize_t n = read(descriptor, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return unreadable(path, err);
        if (n == 0 || !take(context, piece, (size_t)n)) return RT_OK;
    }
}

typedef struct bounded {
    rt_buf *out;
    size_t left;
    bool over;
} bounded;
static bool add_bounded(void *context, const char *bytes, size_t n) {
    bounded *b = context;
    if (n > b->left) return b->over = true, false;
    b->left -= n;
    rt_buf_add(b->out, bytes, n);
    return !b->out->failed;
}

rt_status rt_file_read(const char *path, size_t limit, rt_buf *out, rt_error *err) {
    int d;
    int64_t size;
    RT_TRY(rt_file_open_regular(path, &d, &size, err));
    bounded b = {out, limit, size > 0 && (uint64_t)size > limit};
    rt_buf_add(out, "", 0);
    rt_status status = b.over ? RT_OK : pieces(path, d, add_bounded, &b, err);
    close(d);
    if (status != RT_OK) return status;
    if (b.over)
        return rt_fail(err, RT_E_INPUT, "%s: found %lld bytes, expected at most %zu", path, (long long)size, limit);
    if (out->failed) return rt_fail(err, RT_E_NOMEM, "%s: out of memory reading %lld bytes", path, (long long)size);
    return RT_OK;
}

typedef struct sum {
    uLong crc;
    int64_t size;
} sum;
static bool add_sum(void *context, const char *bytes, size_t n) {
    sum *s = context;
    s->crc = crc32_z(s->crc, (const Bytef *)bytes, n);
    s->size += (int64_t)n;
    return true;
}

rt_status rt_file_crc32(const char *path, uint32_t *crc, int64_t *size, rt_error *err) {
    int d;
    int64_t expected;
    sum s = {0};
    RT_TRY(rt_file_open_regular(path, &d, &expected, err));
    rt_status status = pieces(path, d, add_sum, &s, err);
    close(d);
    if (status == RT_OK && crc) *crc = (uint32_t)s.crc;
    if (status == RT_OK && size) *size = s.size;
    return status;
}

bool rt_file_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}
bool rt_dir_exists(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}
rt_status rt_file_size(const char *path, int64_t *size, rt_error *err) {
    int d;
    RT_TRY(rt_file_open_regular(path, &d, size, err));
    close(d);
    return RT_OK;
}

static rt_status make_one(const char *path, rt_error *err) {
    if (mkdir(path, 0777) == 0 || rt_dir_exists(path)) return RT_OK;
    return rt_fail(err, RT_E_IO, "%s: cannot make the folder: %s", path, strerror(errno == EEXIST ? ENOTDIR : errno));
}

rt_status rt_dir_make(const char *path, rt_error *err) {
    char *copy = rt_strdup(path);
    if (!copy) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    rt_status status = RT_OK;
    for (char *p = copy + 1; *copy && *p && status == RT_OK; p++)
        if (*p == '/') *p = 0, status = make_one(copy, err), *p = '/';
    if (status == RT_OK) status = make_one(copy, err);
    rt_free(copy);
    return status;
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *walk) {
    (void)s, (void)flag, (void)walk;
    return remove(path);
}
rt_status rt_tree_remove(const char *path, rt_error *err) {
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return RT_OK;
    return rt_fail(err, RT_E_IO, "%s: cannot remove: %s", path, strerror(errno));
}
