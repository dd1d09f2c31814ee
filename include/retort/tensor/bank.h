/* bank.h - units of weights that come when they are needed and leave, the least recently used first, when a budget is full.
 *
 * A model whose experts exceed the memory is used through a bank: a unit is one expert. A unit either lies elsewhere, in a
 * mapped file, and is only fetched and let go, or is copied into memory that the bank gives it. Values never depend on what is
 * present: a unit that comes back holds the bits it held. One thread at a time uses a bank; loading itself runs in parallel. */
#ifndef RETORT_TENSOR_BANK_H
#define RETORT_TENSOR_BANK_H
#include <retort/tensor/tensor.h>

/* A matrix of a unit, as it lies: one block [rows, columns]; two blocks of half the rows each, the second below the first; or,
 * transposed, one block [columns, rows]. */
typedef struct rt_piece {
    const void *block[2]; /* block[1] NULL: one block */
    bool transposed;
} rt_piece;

/* Where units come from. `memory` is what the bank gave the unit, NULL unless `copied`. */
typedef struct rt_bank_source {
    void *context;
    int64_t units;
    size_t bytes;  /* of a unit: what the budget counts */
    int64_t tasks; /* loading a unit is so many independent tasks */
    bool copied;
    void (*load)(void *context, int64_t unit, int64_t task, void *memory);
    void (*loaded)(void *context, int64_t unit);  /* all its tasks are done */
    void (*evicted)(void *context, int64_t unit);
    rt_piece (*piece)(void *context, int64_t unit, int part, const void *memory);
    void (*close)(void *context); /* with the bank; NULL is fine */
} rt_bank_source;

typedef struct rt_bank rt_bank;
rt_status rt_bank_open(rt_bank **out, const rt_bank_source *s, rt_error *err) RT_NODISCARD; /* the context is closed after an error too */
void rt_bank_close(rt_bank *b);                                                            /* NULL is fine */
/* At most so many bytes are present at once, 0: no bound (the default). At least one unit fits, however little is asked for:
 * whoever sets a budget compares it with rt_bank_stats.unit_bytes. Units beyond it leave at once. */
void rt_bank_limit(rt_bank *b, int64_t bytes);
/* Makes present as many of units first + wanted[0..n) (n > 0, each once) as fit together, at least one. They come first in
 * `wanted` afterwards, *taken of them, and stay until the next call; the others keep their order. What is present already is
 * taken before what is not. RT_E_NOMEM: nothing new is present. */
rt_status rt_bank_acquire(rt_bank *b, int64_t first, int32_t *wanted, int64_t n, int64_t *taken, rt_error *err) RT_NODISCARD;
rt_piece rt_bank_piece(const rt_bank *b, int64_t unit, int part); /* of a unit that is present */

typedef struct rt_bank_stats {
    int64_t units, unit_bytes;
    int64_t capacity;               /* units that may be present at once */
    int64_t present, most_present;  /* now; at any time so far */
    int64_t hits, loads, evictions; /* since it was opened */
} rt_bank_stats;
rt_bank_stats rt_bank_stats_get(const rt_bank *b);
int64_t rt_bank_oldest(const rt_bank *b, int64_t k); /* the k-th unit to leave, -1 beyond those present. Test use */

/* A tensor [E, rows, columns] whose piece e is part `part` of unit first + e. */
typedef struct rt_pieces {
    rt_bank *bank; /* NULL: the tensor has data of its own */
    int64_t first;
    int part;
} rt_pieces;
#endif
