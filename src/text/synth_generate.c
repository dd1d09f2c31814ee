/* synth_generate.c - draws a story. bits = sum over choices of log2(sum of weights) - log2(weight chosen). */
#include <retort/base/rng.h>
#include <retort/text/synth.h>
#include <math.h>
#include "text/synth_grammar.h"

typedef struct writer {
    rt_rng rng;
    uint64_t drawn;
    double bits;
    rt_buf *out;
    synth_world world;
} writer;

static int draw(writer *g, const double *weights, int n) {
    double total = 0;
    for (int i = 0; i < n; i++) total += weights[i];
    double x = rt_rng_uniform(g->rng, g->drawn++) * total;
    int chosen = -1;
    for (int i = 0; i < n && (chosen < 0 || x >= 0); i++) {
        if (weights[i] <= 0) continue;
        chosen = i; /* the last possible one stays, should rounding leave x at 0 */
        x -= weights[i];
    }
    g->bits += log2(total) - log2(weights[chosen]);
    return chosen;
}

static void write_sentence(writer *g, int kind) {
    double weights[SYNTH_OPTIONS];
    char text[SYNTH_OPTION_TEXT];
    synth_slots slots = {0};
    for (const char *t = synth_templates[kind]; *t; t++) {
        if (*t != '{') {
            rt_buf_putc(g->out, *t);
            continue;
        }
        char slot = t[1];
        int i = draw(g, weights, synth_slot_weights(&g->world, &slots, slot, weights));
        synth_slot_text(&g->world, &slots, slot, i, text);
        synth_slot_set(&slots, slot, i);
        rt_buf_puts(g->out, text);
        t += 2;
    }
    synth_world_update(&g->world, kind, &slots);
}

double rt_synth_story(uint64_t seed, const char *stream, uint64_t index, rt_buf *out) {
    double weights[SYNTH_KINDS];
    writer g = {.rng = rt_rng_make(seed, stream, index), .out = out};
    while (true) {
        int kind = draw(&g, weights, synth_kind_weights(&g.world, weights));
        if (kind == SYNTH_END) return g.bits;
        if (g.world.sentences) rt_buf_putc(out, ' ');
        write_sentence(&g, kind);
    }
}
