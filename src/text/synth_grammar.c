/* synth_grammar.c - the tables of the stories' grammar: templates, the weight of each choice, and what a sentence
 * changes. Word weights fall slowly with the word's rank (1 / (rank + 32)) and are raised fourfold for an eighth of the
 * words, which eighth depending on the slot before: so there are frequencies, then pairs, then memory and agreement to
 * learn, in this order. */
#include "text/synth_grammar.h"
#include <stdio.h>
#include <string.h>
#include "text/synth_words.h"

/* Letters: see synth_slot_weights for what each slot offers. */
const char *const synth_templates[SYNTH_KINDS] = {
    [SYNTH_END] = "",
    [SYNTH_INTRO] = "{^}{A} has a {c} {O} in the {p}.",
    [SYNTH_MOVE] = "{^}{W} takes {g} {o} to the {q}.",
    [SYNTH_GIVE] = "{^}{W} gives the {o} to {E}.",
    [SYNTH_WHERE] = "Where is the {t}? It is in the {l}.",
    [SYNTH_WHAT] = "What colour is the {t}? It is {k}.",
    [SYNTH_WHO] = "Who has the {t}? {X} does.",
    [SYNTH_SCENE] = "{^}{T} {j} {S} {x} the {J} {s} {v} in the {p}.",
    [SYNTH_SIMPLE] = "{^}{T} {j} {S} {v} and {y}.",
    [SYNTH_RELATIVE] = "{^}{T} {S} that {B} saw in the {p} {i} {j} and {J}.",
    [SYNTH_PLUS] = "{a} plus {b} is {e}.",
    [SYNTH_MINUS] = "{a} minus {h} is {d}.",
    [SYNTH_FRUIT] = "{^}{B} has {n} {u} and finds {m} more. Now {Y} has {N} {U}.",
    [SYNTH_SOUND] = "{^}{B} says {r} {m} times: {R}.",
    [SYNTH_STARS] = "{^}{B} draws {m} stars: {Z}.",
    [SYNTH_FEEL] = "{^}{B} feels {f}.",
    [SYNTH_HOW] = "How does {F} feel? {V} feels {M}."};

/* ------------------------------------------------------------------ kinds */

enum { SHORTEST = 6, LONGEST = 24 }; /* sentences of a story */

static double base_weight(const synth_world *w, int kind) {
    static const double plain[SYNTH_KINDS] = {
        [SYNTH_MOVE] = 2,     [SYNTH_WHERE] = 1.5, [SYNTH_WHAT] = 1,    [SYNTH_SCENE] = 7,
        [SYNTH_RELATIVE] = 5, [SYNTH_SIMPLE] = 6,  [SYNTH_PLUS] = 2,    [SYNTH_MINUS] = 2,
        [SYNTH_FRUIT] = 1,    [SYNTH_SOUND] = 0.7, [SYNTH_STARS] = 0.7, [SYNTH_FEEL] = 3};
    int moods_known = 0;
    for (int i = 0; i < w->cast; i++) moods_known += w->mood[i] >= 0;
    switch (kind) {
    case SYNTH_END: return w->sentences < SHORTEST ? 0 : 1 + 0.25 * (w->sentences - SHORTEST);
    case SYNTH_INTRO: return w->cast < SYNTH_CAST ? 12.0 / w->cast : 0;
    case SYNTH_GIVE: return w->cast > 1 ? 1.5 : 0;
    case SYNTH_WHO: return w->cast > 1 ? 1 : 0;
    case SYNTH_HOW: return moods_known ? 1.5 : 0;
    default: return plain[kind];
    }
}

int synth_kind_weights(const synth_world *w, double weights[SYNTH_KINDS]) {
    for (int k = 0; k < SYNTH_KINDS; k++) {
        int only = w->cast == 0 ? SYNTH_INTRO : w->sentences >= LONGEST ? SYNTH_END : -1;
        bool follows = (3 * w->previous + k) % 5 == 0;
        weights[k] = only >= 0 ? k == only : base_weight(w, k) * (follows ? 3 : 1);
    }
    return SYNTH_KINDS;
}

/* ------------------------------------------------------------------ slots */

static int value(const synth_slots *s, char slot) { return s->value[(unsigned char)slot]; }

/* n words by rank, preferring neighbours of the slot before. */
static int words(const synth_slots *s, int n, double *w) {
    for (int i = 0; i < n; i++) w[i] = ((7 * i + 11 * s->last) % 8 == 0 ? 4.0 : 1.0) / (i + 32);
    return n;
}
static int even(int from, int to, double *w) { /* options [0, to), those from `from` on possible */
    for (int i = 0; i < to; i++) w[i] = i >= from;
    return to;
}
static int only(int n, int which, double *w) {
    for (int i = 0; i < n; i++) w[i] = i == which;
    return n;
}
static int without(int n, int which, double *w) {
    if (which < n) w[which] = 0;
    return n;
}

static int new_ones(const synth_world *w, const int *taken, int n, double *weights) {
    for (int i = 0; i < w->cast; i++) weights[taken[i]] = 0;
    return n;
}

static int opener(const synth_world *w, double *weights) {
    static const double first[8] = {2, 0, 0, 0, 0, 3, 3, 1}, later[8] = {8, 3, 2, 2, 1, 0, 0, 0};
    memcpy(weights, w->sentences ? later : first, sizeof first);
    return 8;
}

static int owners(const synth_world *w, double *weights) { /* by how many objects they have */
    for (int i = 0; i < w->cast; i++) weights[i] = 0;
    for (int i = 0; i < w->cast; i++) weights[w->owner[i]]++;
    return w->cast;
}

static int owned(const synth_world *w, int person, double *weights) {
    for (int i = 0; i < w->cast; i++) weights[i] = w->owner[i] == person;
    return w->cast;
}

static int with_mood(const synth_world *w, double *weights) {
    for (int i = 0; i < w->cast; i++) weights[i] = w->mood[i] >= 0;
    return w->cast;
}

static int attractors(const synth_slots *s, double *w) { /* another noun, in either number */
    words(s, 64, w);
    w[value(s, 'S') & ~1] = w[value(s, 'S') | 1] = 0;
    return 64;
}

int synth_slot_weights(const synth_world *w, const synth_slots *s, char slot, double p[SYNTH_OPTIONS]) {
    switch (slot) {
    case '^': return opener(w, p);
    case 'A': return words(s, 64, p), new_ones(w, w->name, 64, p);             /* a new person */
    case 'c': return words(s, 12, p);                                          /* colour */
    case 'O': return words(s, 64, p), new_ones(w, w->object, 64, p);           /* a new object */
    case 'p': return words(s, 32, p);                                          /* place */
    case 'W': return owners(w, p);                                             /* someone who has something */
    case 'o': return owned(w, value(s, 'W'), p);                               /* what W has */
    case 'q': return words(s, 32, p), without(32, w->place[value(s, 'o')], p); /* another place for it */
    case 'B': return even(0, w->cast, p);                                      /* someone */
    case 'E': return even(0, w->cast, p), without(w->cast, value(s, 'W'), p);  /* someone else than W */
    case 't': return even(0, w->cast, p);                                      /* any object known; of it: */
    case 'X': return only(w->cast, w->owner[value(s, 't')], p);                /* its owner */
    case 'j': return words(s, 48, p);                                          /* adjective */
    case 'J': return words(s, 48, p), without(48, value(s, 'j'), p);           /* another */
    case 'S': return words(s, 64, p);                                          /* subject: 2 noun + (many) */
    case 's': return attractors(s, p);
    case 'v': return words(s, 32, p);                                /* verb, in the number of S */
    case 'y': return words(s, 32, p), without(32, value(s, 'v'), p); /* another verb */
    case 'x': return words(s, 4, p);                                 /* preposition */
    case 'a': return even(0, 10, p);
    case 'b': return even(0, 10, p);
    case 'h': return even(0, value(s, 'a') + 1, p); /* at most a */
    case 'n': return even(2, 10, p);
    case 'm': return even(2, 10, p);
    case 'u': return words(s, 12, p);
    case 'r': return words(s, 8, p);
    case 'f': return words(s, 12, p);
    case 'F': return with_mood(w, p);
    default: return even(0, 1, p); /* determined by what is known: T g l k i e d Y N U R Z V M */
    }
}

static void repeated(const char *what, const char *between, int times, char *text) {
    *text = 0;
    for (int i = 0; i < times; i++) strcat(strcat(text, i ? between : ""), what);
}

static const char *word(const synth_world *w, const synth_slots *s, char slot, int i) {
    switch (slot) {
    case '^': return openers[i];
    case 'T': return value(s, '^') ? "the" : "The";
    case 'A': return names[i];
    case 'W':
    case 'B':
    case 'E':
    case 'X':
    case 'F': return names[w->name[i]];
    case 'Y': return names[w->name[value(s, 'B')]];
    case 'V': return names[w->name[value(s, 'F')]];
    case 'g': return w->name[value(s, 'W')] & 1 ? "her" : "his";
    case 'c': return colours[i];
    case 'k': return colours[w->colour[value(s, 't')]];
    case 'O': return objects[i];
    case 'o':
    case 't': return objects[w->object[i]];
    case 'p':
    case 'q': return places[i];
    case 'l': return places[w->place[value(s, 't')]];
    case 'j':
    case 'J': return adjectives[i];
    case 'S':
    case 's': return nouns[i >> 1][i & 1];
    case 'x': return prepositions[i];
    case 'v':
    case 'y': return verbs[i][value(s, 'S') & 1];
    case 'i': return value(s, 'S') & 1 ? "are" : "is";
    case 'u': return fruits[i];
    case 'U': return fruits[value(s, 'u')];
    case 'r': return sounds[i];
    case 'f': return moods[i];
    case 'M': return moods[w->mood[value(s, 'F')]];
    default: return NULL;
    }
}

static int number(const synth_slots *s, char slot, int i) {
    switch (slot) {
    case 'e': return value(s, 'a') + value(s, 'b');
    case 'd': return value(s, 'a') - value(s, 'h');
    case 'N': return value(s, 'n') + value(s, 'm');
    default: return i; /* a b h n m */
    }
}

void synth_slot_text(const synth_world *w, const synth_slots *s, char slot, int i, char text[SYNTH_OPTION_TEXT]) {
    const char *fixed = word(w, s, slot, i);
    if (fixed)
        snprintf(text, SYNTH_OPTION_TEXT, "%s", fixed);
    else if (slot == 'R')
        repeated(sounds[value(s, 'r')], " ", value(s, 'm'), text);
    else if (slot == 'Z')
        repeated("*", "", value(s, 'm'), text);
    else
        snprintf(text, SYNTH_OPTION_TEXT, "%d", number(s, slot, i));
}

void synth_slot_set(synth_slots *s, char slot, int i) {
    s->value[(unsigned char)slot] = (int8_t)i;
    s->last = i;
}

/* ------------------------------------------------------------------ world */

static void introduce(synth_world *w, const synth_slots *s) {
    int i = w->cast++;
    w->name[i] = value(s, 'A'), w->mood[i] = -1;
    w->object[i] = value(s, 'O'), w->colour[i] = value(s, 'c'), w->place[i] = value(s, 'p'), w->owner[i] = i;
}

void synth_world_update(synth_world *w, int kind, const synth_slots *s) {
    w->sentences++;
    w->previous = kind;
    if (kind == SYNTH_INTRO) introduce(w, s);
    if (kind == SYNTH_MOVE) w->place[value(s, 'o')] = value(s, 'q');
    if (kind == SYNTH_GIVE) w->owner[value(s, 'o')] = value(s, 'E');
    if (kind == SYNTH_FEEL) w->mood[value(s, 'B')] = value(s, 'f');
}
