/* mem.c - the one allocator. A 64-byte header in front of each block holds its size, so that live bytes are known. */
#include <retort/base/mem.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 64 };
typedef struct header {
    size_t bytes;
} header;

static _Atomic int64_t live_blocks, live_bytes, peak_bytes, calls, fail_at;

rt_mem_stats rt_mem_stats_get(void) {
    return (rt_mem_stats){atomic_load(&live_blocks), atomic_load(&live_bytes), atomic_load(&peak_bytes), atomic_load(&calls)};
}
void rt_mem_fail_at(int64_t nth) { atomic_store(&fail_at, nth); }
void rt_mem_peak_reset(void) { atomic_store(&peak_bytes, atomic_load(&live_bytes)); }
size_t rt_array_bytes(size_t count, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes;
}

static bool told_to_fail(void) {
    if (atomic_load(&fail_at) == 0) return false;
    return atomic_fetch_sub(&fail_at, 1) == 1;
}

static void count(int64_t blocks, int64_t bytes) {
    atomic_fetch_add(&live_blocks, blocks);
    int64_t now = atomic_fetch_add(&live_bytes, bytes) + bytes, peak = atomic_load(&peak_bytes);
    while (now > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, now)) {
    }
}

/* Not aligned_alloc, whose sizes are multiples of the alignment: a sanitizer is to see the first byte read past a block. */
void *rt_alloc(size_t bytes) {
    void *memory;
    atomic_fetch_add(&calls, 1);
    if (bytes > SIZE_MAX / 2 || told_to_fail() || posix_memalign(&memory, HEADER, HEADER + bytes) != 0) return NULL;
    header *h = memory;
    h->bytes = bytes;
    count(1, (int64_t)bytes);
    return (char *)h + HEADER;
}

void *rt_zalloc(size_t bytes) {
    void *p = rt_alloc(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void rt_free(void *block) {
    if (!block) return;
    header *h = (header *)((char *)block - HEADER);
    count(-1, -(int64_t)h->bytes);
    free(h);
}

void rt_mem_trim(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void *rt_realloc(void *block, size_t bytes) {
    void *p = rt_alloc(bytes);
    if (!p || !block) return p;
    size_t old = ((header *)((char *)block - HEADER))->bytes;
    memcpy(p, block, old < bytes ? old : bytes);
    rt_free(block);
    return p;
}

char *rt_strndup(const char *text, size_t length) {
    char *copy = rt_alloc(length + 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}
char *rt_strdup(const char *text) { return rt_strndup(text, strlen(text)); }

/* ------------------------------------------------------------------- arena */

typedef struct rt_arena_block {
    struct rt_arena_block *next;
    size_t used, size;
} block;
enum { BLOCK_HEADER = 64, BLOCK_BYTES = 1 << 16 };

void *rt_arena_alloc(rt_arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 4) return NULL;
    bytes = (bytes + 63) / 64 * 64;
    if (!a->head || a->head->size - a->head->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        block *b = rt_alloc(BLOCK_HEADER + size);
        if (!b) return NULL;
        *b = (block){a->head, 0, size};
        a->head = b;
    }
    void *p = (char *)a->head + BLOCK_HEADER + a->head->used;
    a->head->used += bytes;
    a->used += bytes;
    return memset(p, 0, bytes);
}

char *rt_arena_strdup(rt_arena *a, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = rt_arena_alloc(a, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

char *rt_arena_printf(rt_arena *a, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : rt_arena_alloc(a, (size_t)n + 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

void rt_arena_free(rt_arena *a) {
    for (block *b = a->head, *next; b; b = next) next = b->next, rt_free(b);
    *a = (rt_arena){0};
}

/* ------------------------------------------------------------------ buffer */

static bool room(rt_buf *b, size_t n) {
    if (b->failed || n > SIZE_MAX / 4 - b->size) return b->failed = true, false;
    if (b->size + n + 1 <= b->capacity) return true;
    size_t capacity = (b->size + n + 1) * 3 / 2 + 64;
    char *data = rt_realloc(b->data, capacity);
    if (!data) return b->failed = true, false;
    b->data = data;
    b->capacity = capacity;
    return true;
}
void rt_buf_add(rt_buf *b, const void *bytes, size_t n) {
    if (!room(b, n)) return;
    if (n) memcpy(b->data + b->size, bytes, n);
    b->data[b->size += n] = 0;
}
void rt_buf_puts(rt_buf *b, const char *text) { rt_buf_add(b, text, strlen(text)); }
void rt_buf_putc(rt_buf *b, char c) { rt_buf_add(b, &c, 1); }
void rt_buf_printf(rt_buf *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) b->failed = true;
    else if (room(b, (size_t)n)) {
        vsnprintf(b->data + b->size, (size_t)n + 1, format, again);
        b->size += (size_t)n;
    }
    va_end(again);
}
void rt_buf_free(rt_buf *b) {
    rt_free(b->data);
    *b = (rt_buf){0};
}
