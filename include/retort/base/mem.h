/* mem.h - the one allocator through which everything passes, a bump arena, and a growable byte buffer.
 *
 * Blocks are 64-byte aligned; with AddressSanitizer each ends at its last byte. Tests make the n-th allocation fail (rt_mem_fail_at) and count live blocks. */
#ifndef RETORT_BASE_MEM_H
#define RETORT_BASE_MEM_H
#include <retort/base/status.h>
#include <stdbool.h>
#include <stdint.h>

void *rt_alloc(size_t bytes);  /* uninitialised; NULL when out of memory; rt_alloc(0) is a valid block */
void *rt_zalloc(size_t bytes); /* zeroed */
void *rt_realloc(void *block, size_t bytes);
void rt_free(void *block); /* NULL is fine */
/* What was freed goes back to the system, where the C library keeps it: after opening things, before work that lasts. */
void rt_mem_trim(void);
char *rt_strdup(const char *text);
char *rt_strndup(const char *text, size_t length);
/* count * size, or SIZE_MAX on overflow (which no allocator grants). */
size_t rt_array_bytes(size_t count, size_t size);

typedef struct rt_mem_stats {
    int64_t live_blocks, live_bytes, peak_bytes, calls; /* process-wide */
} rt_mem_stats;
rt_mem_stats rt_mem_stats_get(void);
void rt_mem_fail_at(int64_t nth_call_from_now); /* 1 = the next one; 0 = never (default). Test use. */
void rt_mem_peak_reset(void);                   /* peak_bytes becomes live_bytes. Test use. */

/* Bump arena: many small blocks, one free. */
typedef struct rt_arena {
    struct rt_arena_block *head;
    size_t used;
} rt_arena;
void *rt_arena_alloc(rt_arena *a, size_t bytes); /* zeroed; NULL when out of memory */
char *rt_arena_strdup(rt_arena *a, const char *text);
char *rt_arena_printf(rt_arena *a, const char *format, ...) RT_PRINTF(2, 3);
void rt_arena_free(rt_arena *a);

/* Growable bytes; `data` is always NUL-terminated after the first append. A failed append sets `failed` and is sticky. */
typedef struct rt_buf {
    char *data;
    size_t size, capacity;
    bool failed;
} rt_buf;
void rt_buf_add(rt_buf *b, const void *bytes, size_t n);
void rt_buf_puts(rt_buf *b, const char *text);
void rt_buf_putc(rt_buf *b, char c);
void rt_buf_printf(rt_buf *b, const char *format, ...) RT_PRINTF(2, 3);
void rt_buf_free(rt_buf *b);
#endif
