/* synth_parse.c - the probability of a story from its text alone. At each sentence every kind and every option of every
 * slot is tried against the text, by backtracking, so an ambiguity would be found, not overlooked: exactly one reading
 * must remain. */
#include <retort/text/corpus.h>
#include <retort/text/synth.h>
#include <math.h>
#include <string.h>
#include "text/synth_grammar.h"

typedef struct reading {
    const synth_world *world;
    const char *end; /* of the text */
    int found;       /* complete readings of the sentence */
    const char *after;
    synth_slots slots;
    double bits;
} reading;

static double sum(const double *weights, int n) {
    double total = 0;
    for (int i = 0; i < n; i++) total += weights[i];
    return total;
}

static void read_template(reading *r, const char *t, const char *p, const synth_slots *slots, double bits);

static void read_slot(reading *r, const char *t, const char *p, const synth_slots *slots, double bits) {
    double weights[SYNTH_OPTIONS];
    char text[SYNTH_OPTION_TEXT];
    int n = synth_slot_weights(r->world, slots, t[1], weights);
    double total = sum(weights, n);
    for (int i = 0; i < n; i++) {
        if (weights[i] <= 0) continue;
        synth_slot_text(r->world, slots, t[1], i, text);
        size_t length = strlen(text);
        if (length > (size_t)(r->end - p) || memcmp(p, text, length) != 0) continue;
        synth_slots filled = *slots;
        synth_slot_set(&filled, t[1], i);
        read_template(r, t + 3, p + length, &filled, bits - log2(weights[i] / total));
    }
}

static void read_template(reading *r, const char *t, const char *p, const synth_slots *slots, double bits) {
    for (; *t && *t != '{'; t++, p++)
        if (p == r->end || *p != *t) return;
    if (*t) {
        read_slot(r, t, p, slots, bits);
        return;
    }
    if (p != r->end && *p != ' ') return;
    r->found++, r->after = p, r->slots = *slots, r->bits = bits;
}

/* One sentence at p: adds its bits, moves p behind it, updates the world. */
static rt_status read_sentence(synth_world *w, const char *text, const char **p, const char *end, double *bits,
                               rt_error *err) {
    double weights[SYNTH_KINDS];
    int kinds = synth_kind_weights(w, weights), kind = SYNTH_END;
    reading r = {.world = w, .end = end};
    for (int k = SYNTH_END + 1; k < kinds; k++) {
        int before = r.found;
        if (weights[k] > 0) read_template(&r, synth_templates[k], *p, &(synth_slots){0}, 0);
        if (r.found > before) kind = k;
    }
    if (r.found != 1)
        return rt_fail(err, RT_E_INPUT, "byte %lld: %s of the grammar (\"%.24s\")", (long long)(*p - text),
                       r.found ? "more than one sentence" : "no sentence", *p);
    *bits += r.bits - log2(weights[kind] / sum(weights, kinds));
    *p = r.after;
    synth_world_update(w, kind, &r.slots);
    return RT_OK;
}

rt_status rt_synth_parse(const char *text, size_t bytes, double *bits, rt_error *err) {
    const char *p = text, *end = text + bytes;
    synth_world world = {0};
    double weights[SYNTH_KINDS];
    for (*bits = 0; p < end; p += p < end) { /* over the space between sentences */
        RT_TRY(read_sentence(&world, text, &p, end, bits, err));
        if (p + 1 == end) return rt_fail(err, RT_E_INPUT, "byte %zu: the story ends in a space", bytes - 1);
    }
    double total = sum(weights, synth_kind_weights(&world, weights));
    if (weights[SYNTH_END] <= 0) return rt_fail(err, RT_E_INPUT, "byte %zu: a story cannot end here", bytes);
    *bits -= log2(weights[SYNTH_END] / total);
    return RT_OK;
}

static rt_status measure(rt_corpus *c, rt_synth_entropy *out, rt_error *err) {
    rt_document d;
    bool end;
    double bits;
    while (true) {
        RT_TRY(rt_corpus_next(c, &d, &end, err));
        if (end) return RT_OK;
        rt_status s = rt_synth_parse(d.text, d.bytes, &bits, err);
        if (s != RT_OK) return rt_error_prefix(err, "%s:%lld", d.path, (long long)d.line), s;
        out->documents++, out->bytes += (int64_t)d.bytes, out->bits += bits;
    }
}

rt_status rt_synth_measure(const char *path, rt_synth_entropy *out, rt_error *err) {
    rt_corpus *c;
    *out = (rt_synth_entropy){0};
    RT_TRY(rt_corpus_open(&c, &path, 1, &(rt_corpus_options){.separator = "blank_line"}, err));
    rt_status s = measure(c, out, err);
    rt_corpus_close(c);
    return s;
}
