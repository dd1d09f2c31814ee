/* synth_grammar.h - what generator and parser of the synthetic stories share: sentences, words, and the weight of each
 * choice.
 *
 * A story is a list of sentences until the kind SYNTH_END is drawn. A sentence kind is a template; each {x} in it is a
 * slot, filled left to right, and slot x offers a list of options with weights that depend on the world (who has what,
 * where) and on the slots filled before it. P(option) = weight / sum of weights. A slot with one possible option costs
 * nothing: an answer that memory gives, a verb's number, a sum. */
#ifndef RETORT_SRC_TEXT_SYNTH_GRAMMAR_H
#define RETORT_SRC_TEXT_SYNTH_GRAMMAR_H
#include <stdbool.h>
#include <stdint.h>

enum {
    SYNTH_END,
    SYNTH_INTRO,
    SYNTH_MOVE,
    SYNTH_GIVE,
    SYNTH_WHERE,
    SYNTH_WHAT,
    SYNTH_WHO,
    SYNTH_SCENE,
    SYNTH_SIMPLE,
    SYNTH_RELATIVE,
    SYNTH_PLUS,
    SYNTH_MINUS,
    SYNTH_FRUIT,
    SYNTH_SOUND,
    SYNTH_STARS,
    SYNTH_FEEL,
    SYNTH_HOW,
    SYNTH_KINDS
};
enum { SYNTH_CAST = 4, SYNTH_OPTIONS = 64, SYNTH_OPTION_TEXT = 64 };

/* Object i came with person i, and may have moved and changed hands since. */
typedef struct synth_world {
    int cast;                               /* people so far, and as many objects */
    int name[SYNTH_CAST], mood[SYNTH_CAST]; /* mood: index or -1 */
    int object[SYNTH_CAST], colour[SYNTH_CAST], place[SYNTH_CAST], owner[SYNTH_CAST];
    int sentences, previous; /* kind of the last one */
} synth_world;

typedef struct synth_slots {
    int8_t value[128]; /* by slot letter */
    int last;          /* value of the slot filled last: words prefer neighbours */
} synth_slots;

extern const char *const synth_templates[SYNTH_KINDS];

int synth_kind_weights(const synth_world *w, double weights[SYNTH_KINDS]);
/* Weights of a slot's options; returns how many (0 weights included). */
int synth_slot_weights(const synth_world *w, const synth_slots *s, char slot, double weights[SYNTH_OPTIONS]);
/* The text of option i, NUL-terminated. */
void synth_slot_text(const synth_world *w, const synth_slots *s, char slot, int i, char text[SYNTH_OPTION_TEXT]);
void synth_slot_set(synth_slots *s, char slot, int i);
/* What a finished sentence changes. */
void synth_world_update(synth_world *w, int kind, const synth_slots *s);
#endif
