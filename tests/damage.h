/* damage.h - a sound file, damaged in every way, and what its reader must do then: refuse it with one line, or read it
 * correctly. It must not crash, hang, read outside the file (AddressSanitizer sees the end of maps and blocks), leave
 * memory behind, or allocate what only the damaged file asks for.
 *
 *     rt_damage d = {.path = "x.safetensors", .read = open_and_touch, .whole = size};
 *     rt_damage_all(&d);
 *
 * The file is changed in place and is sound again afterwards. */
#ifndef RETORT_TESTS_DAMAGE_H
#define RETORT_TESTS_DAMAGE_H
#include <retort/base/status.h>
#include <stdint.h>

typedef struct rt_damage {
    const char *path; /* what is damaged: the file that is read, or one of several */
    /* Opens, touches every byte of what it got, closes. */
    rt_status (*read)(void *context, rt_error *err);
    void *context;
    size_t from, to;         /* the bytes that are changed; to 0: up to the end. Cuts are made everywhere */
    size_t whole;            /* cut to less than this, the file must be refused; 0: a part may be readable */
    int64_t every;           /* only every n-th case, spread by a fixed seed, for slow readers; 0: all */
    int64_t memory;          /* bytes that a reader may hold at once; 0: 4 MiB and 64 times the file */
    const rt_status *refusals; /* how it may be refused, up to RT_OK; NULL: RT_E_INPUT only */
    int64_t cases, accepted; /* results, added to */
} rt_damage;

void rt_damage_cut(rt_damage *d);    /* to each length */
void rt_damage_flip(rt_damage *d);   /* each byte: every bit, all bits, 0, and characters that mean something in a text */
void rt_damage_splice(rt_damage *d); /* pieces taken out, repeated, exchanged, put in: 400 of them by a fixed seed */
void rt_damage_all(rt_damage *d);
/* The file with these bytes instead; `what` names the case. Returns the reader's status. */
rt_status rt_damage_replace(rt_damage *d, const void *bytes, size_t n, const char *what);
#endif
