/* places.h - where each (token, chosen expert) pair lies when rows are grouped by expert, and how an expert's rows are tiled.
 *
 * A pair p = n k + j has a slot. The slots of an expert are contiguous, in token order (a stable counting sort), and start
 * at a multiple of 16; an expert's rows are cut into equal tiles of at most 512 rows, all multiples of 16 but the last,
 * which is padded to one. Nothing is dropped, so sizes are bounded by shapes: `rt_places_slots`. */
#ifndef RETORT_OPS_PLACES_H
#define RETORT_OPS_PLACES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RT_EXPERT_ROWS = 512 };

typedef struct rt_places {
    int64_t experts, pairs;
    int32_t *count, *start, *tile; /* [E] pairs, first slot, number of tiles before */
    int32_t *pair;                 /* [slots] -1: padding */
    int32_t *slot;                 /* [pairs] */
} rt_places;
typedef struct rt_tile {
    int32_t expert, row, n; /* rows row..row+n of the expert */
    int32_t index;          /* its number when tiles are counted expert by expert */
} rt_tile;

int64_t rt_places_slots(int64_t pairs, int64_t experts); /* at most so many slots */
int64_t rt_places_tiles(int64_t pairs, int64_t experts); /* at most so many tiles */
int64_t rt_places_ints(int64_t pairs, int64_t experts);  /* int32 numbers that a rt_places takes */
rt_places rt_places_view(int32_t *memory, int64_t pairs, int64_t experts);
/* False when an id is outside [0,E). */
bool rt_places_fill(rt_places *p, const int32_t *ids);

int64_t rt_tile_rows(int64_t count); /* of every tile of an expert but the last */
/* All tiles, largest first (equal ones in order); returns their number. */
int64_t rt_places_list(const rt_places *p, rt_tile *tiles);
/* Experts that have rows, largest first. */
int64_t rt_places_experts(const rt_places *p, int32_t *experts);
#endif
