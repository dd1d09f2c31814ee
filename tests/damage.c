/* damage.c - see damage.h. The file is rewritten through one descriptor, never renamed: a reader opens it anew each time. */
#include "damage.h"
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/rng.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 10, LONGEST = 600, SPLICES = 400 };

typedef struct patient {
    rt_damage *d;
    rt_buf sound;
    int descriptor;
    int64_t counter;
} patient;

/* ------------------------------------------------------------------- a case */

static bool expected(const rt_damage *d, rt_status s) {
    if (!d->refusals) return s == RT_E_INPUT;
    for (const rt_status *r = d->refusals; *r != RT_OK; r++)
        if (*r == s) return true;
    return false;
}
static bool one_line(const char *text) {
    if (!*text) return false;
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return false;
    return true;
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static rt_status observe(rt_damage *d, size_t size, const char *what) {
    rt_error err = {0};
    rt_mem_stats before = rt_mem_stats_get(), after;
    int64_t allowed = d->memory ? d->memory : ((int64_t)4 << 20) + 64 * (int64_t)size;
    rt_mem_peak_reset();
    double start = now();
    rt_status s = d->read(d->context, &err);
    double seconds = now() - start;
    after = rt_mem_stats_get();
    if (s != RT_OK) RT_CHECK(expected(d, s) && one_line(err.text), "%s: %s '%s'", what, rt_status_name(s), err.text);
    RT_CHECK(after.live_blocks == before.live_blocks, "%s: left %lld blocks behind", what, (long long)(after.live_blocks - before.live_blocks));
    RT_CHECK(after.peak_bytes - before.live_bytes <= allowed, "%s: held %lld bytes for a file of %zu", what, (long long)(after.peak_bytes - before.live_bytes), size);
    RT_CHECK(seconds < SECONDS, "%s: took %.1f s", what, seconds);
    d->cases++;
    d->accepted += s == RT_OK;
    return s;
}

/* --------------------------------------------------------------- the patient */

static bool begin(patient *p, rt_damage *d) {
    rt_error err = {0};
    *p = (patient){.d = d, .descriptor = open(d->path, O_RDWR | O_CLOEXEC)};
    RT_OK_OR_FAIL(rt_file_read(d->path, (size_t)64 << 20, &p->sound, &err));
    if (p->descriptor < 0) RT_FAILF("%s cannot be written", d->path);
    alarm(LONGEST); /* a reader that hangs ends the program */
    RT_OK_OR_FAIL(d->read(d->context, &err)); /* what lives as long as the process is made now: scratch of the threads */
    if (p->descriptor >= 0 && p->sound.size && observe(d, p->sound.size, "the sound file") == RT_OK) return true;
    RT_FAILF("%s is not sound to begin with", d->path);
    if (p->descriptor >= 0) close(p->descriptor);
    rt_buf_free(&p->sound);
    return alarm(0), false;
}
static void put(const patient *p, size_t at, const void *bytes, size_t n) {
    if (n && pwrite(p->descriptor, bytes, n, (off_t)at) != (ssize_t)n) RT_FAILF("%s cannot be written", p->d->path);
}
static void whole_file(const patient *p, const void *bytes, size_t n) {
    put(p, 0, bytes, n);
    if (ftruncate(p->descriptor, (off_t)n) != 0) RT_FAILF("%s cannot be cut", p->d->path);
}
static void end(patient *p) {
    rt_error err = {0};
    whole_file(p, p->sound.data, p->sound.size);
    RT_OK_OR_FAIL(p->d->read(p->d->context, &err));
    close(p->descriptor);
    rt_buf_free(&p->sound);
    alarm(0);
}
static bool chosen(patient *p) {
    if (p->d->every < 2) return true;
    return rt_rng_below(rt_rng_make(1, "damage", 0), (uint64_t)p->counter++, (uint64_t)p->d->every) == 0;
}
static size_t last(const patient *p) { return p->d->to && p->d->to < p->sound.size ? p->d->to : p->sound.size; }

/* ------------------------------------------------------------------ the cases */

void rt_damage_cut(rt_damage *d) {
    patient p;
    char what[64];
    if (!begin(&p, d)) return;
    for (size_t n = p.sound.size; n-- > 0;) {
        if (!chosen(&p)) continue;
        if (ftruncate(p.descriptor, (off_t)n) != 0) RT_FAILF("%s cannot be cut", d->path);
        snprintf(what, sizeof what, "cut to %zu of %zu bytes", n, p.sound.size);
        rt_status s = observe(d, n, what);
        RT_CHECK(n >= d->whole || s != RT_OK, "%s: accepted", what);
    }
    end(&p);
}

static void flip(patient *p, size_t at, unsigned char value) {
    char what[64];
    if ((unsigned char)p->sound.data[at] == value || !chosen(p)) return;
    put(p, at, &value, 1);
    snprintf(what, sizeof what, "byte %zu is %02x, was %02x", at, value, (unsigned char)p->sound.data[at]);
    observe(p->d, p->sound.size, what);
}
void rt_damage_flip(rt_damage *d) {
    static const char meaningful[] = "\"{}[],:-9e\\\n\x1b\x80\xff";
    patient p;
    if (!begin(&p, d)) return;
    for (size_t i = d->from; i < last(&p); i++) {
        for (int bit = 0; bit < 8; bit++) flip(&p, i, (unsigned char)(p.sound.data[i] ^ 1 << bit));
        flip(&p, i, (unsigned char)~p.sound.data[i]);
        for (size_t k = 0; k < sizeof meaningful; k++) flip(&p, i, (unsigned char)meaningful[k]); /* and 0 */
        put(&p, i, p.sound.data + i, 1);
    }
    end(&p);
}

/* A piece [a, a+n) taken out, put in once more at b, exchanged with what is at b, or overwritten with one byte. */
static void make_splice(const rt_buf *s, int kind, size_t a, size_t b, size_t n, rt_buf *out) {
    size_t c = a < b ? b : a, first = a < b ? a : b, k = s->size - c < n ? s->size - c : n;
    if (kind == 0) rt_buf_add(out, s->data, a), rt_buf_add(out, s->data + a + n, s->size - a - n);
    if (kind == 1) rt_buf_add(out, s->data, b), rt_buf_add(out, s->data + a, n), rt_buf_add(out, s->data + b, s->size - b);
    if (kind >= 2) rt_buf_add(out, s->data, s->size);
    if (kind == 2 && c - first >= k) memcpy(out->data + first, s->data + c, k), memcpy(out->data + c, s->data + first, k);
    if (kind == 3) memset(out->data + a, s->data[b], n);
}
void rt_damage_splice(rt_damage *d) {
    patient p;
    char what[96];
    rt_rng r = rt_rng_make(1, "splice", 0);
    if (!begin(&p, d)) return;
    size_t span = last(&p) - d->from;
    for (uint64_t i = 0; i < SPLICES && span > 1; i++) {
        if (!chosen(&p)) continue;
        int kind = (int)(i % 4);
        size_t a = d->from + rt_rng_below(r, 3 * i, span), b = d->from + rt_rng_below(r, 3 * i + 1, span), most = p.sound.size - a;
        size_t n = 1 + rt_rng_below(r, 3 * i + 2, i % 8 < 4 && most > 16 ? 16 : most);
        rt_buf damaged = {0};
        make_splice(&p.sound, kind, a, b, n, &damaged);
        snprintf(what, sizeof what, "splice %d of kind %d: %zu, %zu, %zu bytes", (int)i, kind, a, b, n);
        bool changed = damaged.size != p.sound.size || memcmp(damaged.data, p.sound.data, damaged.size) != 0;
        whole_file(&p, damaged.data ? damaged.data : "", damaged.size);
        if (changed) observe(d, damaged.size, what);
        rt_buf_free(&damaged);
    }
    end(&p);
}

void rt_damage_all(rt_damage *d) {
    rt_damage_cut(d);
    rt_damage_flip(d);
    rt_damage_splice(d);
}

rt_status rt_damage_replace(rt_damage *d, const void *bytes, size_t n, const char *what) {
    patient p;
    if (!begin(&p, d)) return RT_E_ARG;
    whole_file(&p, bytes, n);
    rt_status s = observe(d, n, what);
    end(&p);
    return s;
}
