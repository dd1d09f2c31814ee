/* synth.h - synthetic stories whose exact probability is known: a floor that no model can go below.
 *
 * A seeded grammar writes short English-like stories: people with coloured objects in places, moved, given away and
 * asked about later; agreement between a subject and a distant verb; sums; things repeated as often as announced. A
 * bigram model cannot do these; a larger model with attention can.
 *
 * Every choice (which sentence next, which word in each place, whether the story ends) has a known probability; the
 * generator adds up -log2 of them. The grammar is unambiguous, so a parser, which shares only the tables with the
 * generator, recomputes the sum from the text alone. The end of a story is a choice too: its bits are what a model pays
 * at the end-of-text token. Hence for any documents of one file: floor in bits per byte = sum of bits / sum of document
 * bytes, over the same documents and bytes as evaluation counts (decision 16: every byte of every document, no
 * separators). */
#ifndef RETORT_TEXT_SYNTH_H
#define RETORT_TEXT_SYNTH_H
#include <retort/base/mem.h>
#include <retort/base/status.h>

enum { RT_SYNTH_VERSION = 1 }; /* of the grammar: changes whenever the same seed would give other text */

typedef struct rt_synth_entropy {
    int64_t documents, bytes; /* UTF-8 bytes of the documents, separators not counted */
    double bits;              /* -log2 of the probability of all of them, each an independent draw, ends included */
} rt_synth_entropy;

/* Appends story `index` of a stream ("train", "valid", "test") to `out`: one line without its end. Sets out->failed
 * when out of memory. Returns its bits. A story is a pure function of (seed, stream, index). */
double rt_synth_story(uint64_t seed, const char *stream, uint64_t index, rt_buf *out);

/* The bits of one story, from its text alone. RT_E_INPUT names the byte at which no sentence of the grammar can be
 * read. */
rt_status rt_synth_parse(const char *text, size_t bytes, double *bits, rt_error *err) RT_NODISCARD;
/* The same summed over a file whose stories are separated by blank lines. */
rt_status rt_synth_measure(const char *path, rt_synth_entropy *out, rt_error *err) RT_NODISCARD;

/* Writes dir/train.txt (90 % of `bytes`), valid.txt and test.txt (5 % each; every file ends with the story that reaches
 * its size), stories separated by blank lines, each file from its own stream, and source.json with what is needed to
 * read them and the exact entropy of each. The folder is made if needed. RT_E_ARG: bytes < 10000 or > 2^40, seed >=
 * 2^63. */
rt_status rt_synth_write(const char *dir, int64_t bytes, uint64_t seed, rt_synth_entropy files[3],
                         rt_error *err) RT_NODISCARD;
#endif
