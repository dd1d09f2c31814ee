/* input.c - plain and gzip bytes. inflate is driven here rather than through gzread because gzread accepts a file cut
 * within its header as plain data, and because zlib's memory must come from our allocator. Members may follow one
 * another (RFC 1952, 2.2); zlib checks each one's CRC-32 and length. */
#include "text/input.h"
#include <retort/base/mem.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 16 };

struct rt_input {
    int fd;
    char *path;
    bool gzip, ended, in_member;
    size_t at, size; /* unread raw bytes: raw[at, size) */
    int64_t offset;  /* raw bytes read from the file so far */
    z_stream z;
    unsigned char raw[CHUNK];
};

static voidpf z_alloc(voidpf context, uInt items, uInt size) {
    (void)context;
    return rt_alloc(rt_array_bytes(items, size));
}
static void z_free(voidpf context, voidpf block) {
    (void)context;
    rt_free(block);
}

static rt_status read_raw(rt_input *in, void *to, size_t room, size_t *count, rt_error *err) {
    ssize_t n;
    do n = read(in->fd, to, room);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return rt_fail(err, RT_E_IO, "%s: cannot read at byte %lld: %s", in->path, (long long)in->offset,
                       strerror(errno));
    in->offset += n;
    *count = (size_t)n;
    return RT_OK;
}

/* At least `wanted` raw bytes in the buffer, unless the file ends before. */
static rt_status fill(rt_input *in, size_t wanted, rt_error *err) {
    memmove(in->raw, in->raw + in->at, in->size - in->at);
    in->size -= in->at, in->at = 0;
    while (!in->ended && in->size < wanted) {
        size_t n = 0;
        RT_TRY(read_raw(in, in->raw + in->size, CHUNK - in->size, &n, err));
        in->size += n;
        in->ended = n == 0;
    }
    return RT_OK;
}

static rt_status start(rt_input *in, rt_error *err) {
    RT_TRY(fill(in, 2, err));
    in->gzip = in->size >= 2 && in->raw[0] == 0x1f && in->raw[1] == 0x8b;
    size_t length = strlen(in->path);
    if (!in->gzip && length > 3 && strcmp(in->path + length - 3, ".gz") == 0)
        return rt_fail(err, RT_E_INPUT,
                       "%s: not gzip data (its first bytes are not 1f 8b), though the name ends in .gz", in->path);
    if (!in->gzip) return RT_OK;
    in->z.zalloc = z_alloc, in->z.zfree = z_free;
    if (inflateInit2(&in->z, 16 + MAX_WBITS) != Z_OK) {
        in->gzip = false;
        return rt_fail(err, RT_E_NOMEM, "%s: out of memory for gzip", in->path);
    }
    in->in_member = true;
    return RT_OK;
}

rt_status rt_input_open(rt_input **out, const char *path, rt_error *err) {
    rt_input *in = rt_zalloc(sizeof *in);
    *out = NULL;
    if (!in || !(in->path = rt_strdup(path))) {
        rt_free(in);
        return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    }
    in->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    rt_status s = in->fd < 0 ? rt_fail(err, RT_E_INPUT, "%s: cannot open: %s", path, strerror(errno)) : start(in, err);
    if (s != RT_OK) return rt_input_close(in), s;
    *out = in;
    return RT_OK;
}

void rt_input_close(rt_input *in) {
    if (!in) return;
    if (in->gzip) inflateEnd(&in->z);
    if (in->fd >= 0) close(in->fd);
    rt_free(in->path);
    rt_free(in);
}

static rt_status read_plain(rt_input *in, void *bytes, size_t room, size_t *count, rt_error *err) {
    size_t have = in->size - in->at;
    if (!have) return in->ended ? RT_OK : read_raw(in, bytes, room, count, err);
    *count = have < room ? have : room;
    memcpy(bytes, in->raw + in->at, *count);
    in->at += *count;
    return RT_OK;
}

static rt_status bad_gzip(rt_input *in, int code, rt_error *err) {
    int64_t at = in->offset - (int64_t)(in->size - in->at);
    if (code == Z_MEM_ERROR) return rt_fail(err, RT_E_NOMEM, "%s: out of memory for gzip", in->path);
    return rt_fail(err, RT_E_INPUT, "%s: damaged gzip data near compressed byte %lld: %s", in->path, (long long)at,
                   in->z.msg ? in->z.msg : "unexpected contents");
}

/* The raw bytes at hand begin another member, or nothing may follow: zero padding is allowed, as gzip does. */
static rt_status next_member(rt_input *in, rt_error *err) {
    RT_TRY(fill(in, 2, err));
    while (in->size > in->at && in->raw[in->at] == 0) {
        in->at++;
        if (in->at == in->size) RT_TRY(fill(in, 1, err));
    }
    RT_TRY(fill(in, 2, err));
    if (in->size == 0) return RT_OK;
    if (in->size < 2 || in->raw[0] != 0x1f || in->raw[1] != 0x8b) return bad_gzip(in, Z_DATA_ERROR, err);
    in->in_member = inflateReset(&in->z) == Z_OK;
    return RT_OK;
}

static rt_status read_gzip(rt_input *in, void *bytes, size_t room, size_t *count, rt_error *err) {
    in->z.next_out = bytes, in->z.avail_out = (uInt)(room < (1u << 30) ? room : 1u << 30);
    uInt wanted = in->z.avail_out;
    while (in->in_member && in->z.avail_out == wanted) {
        if (in->at == in->size) RT_TRY(fill(in, 1, err));
        if (in->at == in->size)
            return rt_fail(err, RT_E_INPUT, "%s: truncated gzip: the file ends at byte %lld within a member", in->path,
                           (long long)in->offset);
        in->z.next_in = in->raw + in->at, in->z.avail_in = (uInt)(in->size - in->at);
        int code = inflate(&in->z, Z_NO_FLUSH);
        in->at = in->size - in->z.avail_in;
        if (code == Z_STREAM_END) {
            in->in_member = false;
            RT_TRY(next_member(in, err));
        } else if (code != Z_OK && code != Z_BUF_ERROR)
            return bad_gzip(in, code, err);
    }
    *count = wanted - in->z.avail_out;
    return RT_OK;
}

rt_status rt_input_read(rt_input *in, void *bytes, size_t room, size_t *count, rt_error *err) {
    *count = 0;
    return in->gzip ? read_gzip(in, bytes, room, count, err) : read_plain(in, bytes, room, count, err);
}
