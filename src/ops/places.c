/* places.c - the counting sort behind `experts`. See places.h. */
#include "ops/places.h"
#include "kernels/matmul.h"
#include <string.h>

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t tiles_of(int64_t count) { return (count + RT_EXPERT_ROWS - 1) / RT_EXPERT_ROWS; }

int64_t rt_places_slots(int64_t pairs, int64_t experts) { return rt_round16(pairs + 15 * least(experts, pairs)); }
int64_t rt_places_tiles(int64_t pairs, int64_t experts) { return least(pairs, experts + pairs / RT_EXPERT_ROWS); }
int64_t rt_places_ints(int64_t pairs, int64_t experts) { return 3 * experts + rt_places_slots(pairs, experts) + pairs; }

rt_places rt_places_view(int32_t *m, int64_t pairs, int64_t experts) {
    int32_t *pair = m + 3 * experts;
    return (rt_places){experts, pairs, m, m + experts, m + 2 * experts, pair, pair + rt_places_slots(pairs, experts)};
}

static bool count_pairs(rt_places *p, const int32_t *ids) {
    memset(p->count, 0, (size_t)p->experts * sizeof *p->count);
    for (int64_t i = 0; i < p->pairs; i++) {
        if (ids[i] < 0 || ids[i] >= p->experts) return false;
        p->count[ids[i]]++;
    }
    return true;
}

bool rt_places_fill(rt_places *p, const int32_t *ids) {
    if (!count_pairs(p, ids)) return false;
    memset(p->pair, 0xff, (size_t)rt_places_slots(p->pairs, p->experts) * sizeof *p->pair);
    int64_t slot = 0, tile = 0;
    for (int64_t e = 0; e < p->experts; e++) {
        p->start[e] = (int32_t)slot;
        p->tile[e] = (int32_t)tile;
        slot += rt_round16(p->count[e]);
        tile += tiles_of(p->count[e]);
    }
    for (int64_t i = 0; i < p->pairs; i++) { /* start[e] walks along the expert's rows ... */
        int32_t at = p->start[ids[i]]++;
        p->pair[at] = (int32_t)i;
        p->slot[i] = at;
    }
    for (int64_t e = 0; e < p->experts; e++) p->start[e] -= p->count[e]; /* ... and back */
    return true;
}

int64_t rt_tile_rows(int64_t count) {
    int64_t tiles = tiles_of(count);
    return tiles ? rt_round16((count + tiles - 1) / tiles) : 0;
}

/* One bucket for each size: sizes are at most 512. */
int64_t rt_places_list(const rt_places *p, rt_tile *tiles) {
    int32_t at[RT_EXPERT_ROWS + 2] = {0}; /* at[n]: tiles larger than n, then the place of the next one */
    int64_t total = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t e = 0; e < p->experts; e++) {
            int32_t count = p->count[e], step = (int32_t)rt_tile_rows(count), index = p->tile[e];
            for (int32_t row = 0; row < count; row += step, index++) {
                int32_t n = count - row < step ? count - row : step;
                if (pass == 0) at[n - 1]++, total++;
                else tiles[at[n]++] = (rt_tile){(int32_t)e, row, n, index};
            }
        }
        for (int n = RT_EXPERT_ROWS; pass == 0 && n > 0; n--) at[n - 1] += at[n];
    }
    return total;
}

int64_t rt_places_experts(const rt_places *p, int32_t *experts) {
    int64_t n = 0;
    for (int64_t e = 0; e < p->experts; e++) {
        if (p->count[e] == 0) continue;
        int64_t i = n++;
        for (; i > 0 && p->count[experts[i - 1]] < p->count[e]; i--) experts[i] = experts[i - 1];
        experts[i] = (int32_t)e;
    }
    return n;
}
