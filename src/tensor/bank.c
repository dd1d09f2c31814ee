/* bank.c - which units are present, in a list from the most to the least recently used. */
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <retort/tensor/bank.h>
#include <string.h>

typedef struct link {
    int64_t newer, older;
    void *memory; /* copied units only */
    bool present;
} link;
struct rt_bank {
    rt_bank_source s;
    link *links; /* [units + 1]; the last is the list's ends: its `older` is the newest unit, its `newer` the oldest */
    rt_bank_stats stats;
};

static void unlink_unit(rt_bank *b, int64_t u) {
    link *l = &b->links[u];
    b->links[l->newer].older = l->older;
    b->links[l->older].newer = l->newer;
    l->present = false;
    b->stats.present--;
}
static void link_newest(rt_bank *b, int64_t u) {
    link *end = &b->links[b->s.units], *l = &b->links[u];
    *l = (link){b->s.units, end->older, l->memory, true};
    b->links[end->older].newer = u;
    end->older = u;
    if (++b->stats.present > b->stats.most_present) b->stats.most_present = b->stats.present;
}

rt_status rt_bank_open(rt_bank **out, const rt_bank_source *s, rt_error *err) {
    rt_bank *b = *out = rt_zalloc(sizeof *b);
    if (b) b->s = *s, b->links = rt_zalloc(rt_array_bytes((size_t)s->units + 1, sizeof *b->links));
    if (!b || !b->links) {
        if (s->close) s->close(s->context);
        rt_free(b);
        *out = NULL;
        return rt_fail(err, RT_E_NOMEM, "out of memory: a list of %lld units", (long long)s->units);
    }
    b->links[s->units] = (link){s->units, s->units, NULL, false};
    b->stats = (rt_bank_stats){.units = s->units, .unit_bytes = (int64_t)s->bytes};
    rt_bank_limit(b, 0);
    return RT_OK;
}

void rt_bank_close(rt_bank *b) {
    if (!b) return;
    for (int64_t u = 0; u < b->s.units; u++) rt_free(b->links[u].memory);
    if (b->s.close) b->s.close(b->s.context);
    rt_free(b->links);
    rt_free(b);
}

/* The oldest leaves; its memory, if it has any, is handed to the caller. */
static void *evict(rt_bank *b) {
    int64_t u = b->links[b->s.units].newer;
    void *memory = b->links[u].memory;
    b->links[u].memory = NULL;
    unlink_unit(b, u);
    if (b->s.evicted) b->s.evicted(b->s.context, u);
    b->stats.evictions++;
    return memory;
}

void rt_bank_limit(rt_bank *b, int64_t bytes) {
    int64_t fit = bytes / b->stats.unit_bytes;
    b->stats.capacity = bytes == 0 || fit > b->s.units ? b->s.units : fit < 1 ? 1 : fit;
    while (b->stats.present > b->stats.capacity) rt_free(evict(b));
}

/* ------------------------------------------------------------------ acquire */

/* What is present comes first; both parts keep their order. Returns how many are. */
static int64_t present_first(const rt_bank *b, int64_t first, int32_t *wanted, int64_t n) {
    int64_t here = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t e = wanted[i];
        if (!b->links[first + e].present) continue;
        memmove(wanted + here + 1, wanted + here, (size_t)(i - here) * sizeof *wanted);
        wanted[here++] = e;
    }
    return here;
}

/* Room for a unit: what is wanted now stands at the new end of the list, and never is more than fits. */
static bool make_room(rt_bank *b, int64_t u) {
    void *memory = b->stats.present == b->stats.capacity ? evict(b) : NULL;
    if (b->s.copied && !memory && !(memory = rt_alloc(b->s.bytes))) return false;
    b->links[u].memory = memory;
    link_newest(b, u);
    return true;
}

typedef struct loading {
    const rt_bank *b;
    int64_t first;
    const int32_t *wanted;
} loading;
static void load_task(void *context, int64_t task, int worker) {
    (void)worker;
    const loading *l = context;
    int64_t u = l->first + l->wanted[task / l->b->s.tasks];
    l->b->s.load(l->b->s.context, u, task % l->b->s.tasks, l->b->links[u].memory);
}
static rt_status load_all(rt_bank *b, int64_t first, const int32_t *wanted, int64_t n, rt_error *err) {
    for (int64_t i = 0; i < n; i++) {
        if (make_room(b, first + wanted[i])) continue;
        while (i-- > 0) unlink_unit(b, first + wanted[i]), rt_free(b->links[first + wanted[i]].memory), b->links[first + wanted[i]].memory = NULL;
        return rt_fail(err, RT_E_NOMEM, "out of memory: %zu bytes beside the %lld units of that size that are present", b->s.bytes, (long long)b->stats.present);
    }
    rt_parallel(n * b->s.tasks, load_task, &(loading){b, first, wanted});
    for (int64_t i = 0; b->s.loaded && i < n; i++) b->s.loaded(b->s.context, first + wanted[i]);
    b->stats.loads += n;
    return RT_OK;
}

rt_status rt_bank_acquire(rt_bank *b, int64_t first, int32_t *wanted, int64_t n, int64_t *taken, rt_error *err) {
    int64_t here = present_first(b, first, wanted, n);
    *taken = n < b->stats.capacity ? n : b->stats.capacity;
    for (int64_t i = 0; i < here; i++) {
        unlink_unit(b, first + wanted[i]);
        link_newest(b, first + wanted[i]);
    }
    b->stats.hits += here;
    return load_all(b, first, wanted + here, *taken - here, err);
}

/* ------------------------------------------------------------------ reading */

rt_piece rt_bank_piece(const rt_bank *b, int64_t u, int part) { return b->s.piece(b->s.context, u, part, b->links[u].memory); }
rt_bank_stats rt_bank_stats_get(const rt_bank *b) { return b->stats; }
int64_t rt_bank_oldest(const rt_bank *b, int64_t k) {
    int64_t u = b->links[b->s.units].newer;
    while (u < b->s.units && k-- > 0) u = b->links[u].newer;
    return u < b->s.units ? u : -1;
}
