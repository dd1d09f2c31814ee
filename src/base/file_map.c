/* file_map.c - files as memory, and what the system is told about their pages.
 *
 * A hint reaches the system only for memory that lies in one of our own maps: to let go of other memory would be to lose it. */
#include "base/file_open.h"
#include <retort/base/file.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct mapping {
    struct mapping *next;
    const unsigned char *data;
    size_t size;
} mapping;
static mapping *mappings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool note(const rt_map *map) {
    mapping *m = rt_alloc(sizeof *m);
    if (!m) return false;
    pthread_mutex_lock(&lock);
    *m = (mapping){mappings, map->data, map->size};
    mappings = m;
    pthread_mutex_unlock(&lock);
    return true;
}
static void forget(const rt_map *map) {
    pthread_mutex_lock(&lock);
    mapping **at = &mappings, *found;
    while (*at && (*at)->data != map->data) at = &(*at)->next;
    if ((found = *at)) *at = found->next;
    pthread_mutex_unlock(&lock);
    rt_free(found);
}
static bool is_mapped(const unsigned char *p, size_t n) {
    bool found = false;
    pthread_mutex_lock(&lock);
    for (const mapping *m = mappings; m && !found; m = m->next) found = p >= m->data && n <= m->size && p - m->data <= (ptrdiff_t)(m->size - n);
    pthread_mutex_unlock(&lock);
    return found;
}

/* A read beyond a mapped file's end gets zeros up to the end of the page; sanitized builds see it. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
static size_t rest_of_page(size_t size) { return -size & ((size_t)sysconf(_SC_PAGESIZE) - 1); }
static void guard(const unsigned char *data, size_t size) { ASAN_POISON_MEMORY_REGION(data + size, rest_of_page(size)); }
static void unguard(const unsigned char *data, size_t size) { ASAN_UNPOISON_MEMORY_REGION(data + size, rest_of_page(size)); }
#else
static void guard(const unsigned char *data, size_t size) { (void)data, (void)size; }
static void unguard(const unsigned char *data, size_t size) { (void)data, (void)size; }
#endif

rt_status rt_file_map(const char *path, rt_map *out, rt_error *err) {
    int d;
    int64_t size;
    *out = (rt_map){0};
    RT_TRY(rt_file_open_regular(path, &d, &size, err));
    void *p = size ? mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, d, 0) : MAP_FAILED;
    rt_status status = size && p == MAP_FAILED ? rt_fail(err, errno == ENOMEM ? RT_E_NOMEM : RT_E_INPUT, "%s: %s", path, strerror(errno)) : RT_OK;
    close(d);
    RT_TRY(status);
    *out = (rt_map){size ? p : (const unsigned char *)"", (size_t)size};
    if (size == 0) return RT_OK;
    if (note(out)) return guard(out->data, out->size), RT_OK;
    munmap(p, (size_t)size);
    *out = (rt_map){0};
    return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
}

void rt_file_unmap(rt_map *map) {
    if (map->size) {
        forget(map);
        unguard(map->data, map->size);
        munmap((void *)(uintptr_t)map->data, map->size);
    }
    *map = (rt_map){0};
}

/* ------------------------------------------------------------------- hints */

/* Whole pages: those that hold a byte of the range, or those that hold nothing else. */
static size_t pages(const void *bytes, size_t n, bool inner, void **start) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)bytes, to = from + n;
    from = (inner ? from + page - 1 : from) / page * page;
    to = (inner ? to : to + page - 1) / page * page;
    *start = (void *)from;
    return to > from ? to - from : 0;
}

void rt_file_want(const void *bytes, size_t n) {
    void *start;
    size_t size = pages(bytes, n, false, &start);
    if (size == 0 || !is_mapped(bytes, n)) return;
    madvise(start, size, MADV_WILLNEED); /* starts all reads at once ... */
#ifdef MADV_POPULATE_READ
    madvise(start, size, MADV_POPULATE_READ); /* ... and waits for them, without a fault a page; older systems refuse, and pages come as they are read */
#endif
}
void rt_file_drop(const void *bytes, size_t n) {
    void *start;
    size_t size = pages(bytes, n, true, &start);
    if (size > 0 && is_mapped(bytes, n)) madvise(start, size, MADV_DONTNEED);
}
