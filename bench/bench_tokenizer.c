/* bench_tokenizer.c - how fast a tokenizer encodes, one core, each file as one text, and a made text whose words hardly
 * ever come twice, for which a memory of words is no use.
 *
 *   bench_tokenizer TOKENIZER [-n REPEATS] FILE...      files may be .gz; the median of the repeats is printed */
#include "quiet.h"
#include <retort/base/rng.h>
#include <retort/text/corpus.h>
#include <retort/text/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_REPEATS = 99, MADE_BYTES = 2 << 20 };

/* The documents of a file in one text. */
static rt_status read_text(const char *path, rt_buf *text, rt_error *err) {
    rt_corpus *c;
    rt_document d;
    bool end = false;
    rt_status s = rt_corpus_open(&c, &path, 1, NULL, err);
    while (s == RT_OK && !end) {
        s = rt_corpus_next(c, &d, &end, err);
        if (s == RT_OK && !end) rt_buf_add(text, d.text, d.bytes);
    }
    rt_corpus_close(c);
    return s == RT_OK && text->failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", path) : s;
}

/* Words of 2 to 9 letters, letters as frequent as in English, but in no order that English knows. */
static void make_text(rt_buf *text) {
    static const char letters[] = "eeeeeeeetttttaaaaaooooiiiinnnnssshhhrrrddlluucmfywgpbvk";
    rt_rng r = rt_rng_make(1, "words", 0);
    for (uint64_t draw = 0; text->size < MADE_BYTES && !text->failed;) {
        for (uint64_t n = 2 + rt_rng_below(r, draw++, 8); n > 0; n--)
            rt_buf_putc(text, letters[rt_rng_below(r, draw++, sizeof letters - 1)]);
        rt_buf_putc(text, ' ');
    }
}

static rt_status encode_once(const rt_tokenizer *t, const rt_buf *text, double *seconds, int64_t *tokens,
                             rt_error *err) {
    rt_encoder *e;
    rt_ids ids = {0};
    RT_TRY(rt_encoder_new(&e, t, err));
    double begin = bench_now();
    rt_status s = rt_encoder_encode(e, text->data, text->size, false, &ids, NULL, err);
    *seconds = bench_now() - begin;
    *tokens = ids.size;
    rt_ids_free(&ids);
    rt_encoder_free(e);
    return s;
}

static rt_status measure(const rt_tokenizer *t, const char *name, const rt_buf *text, int repeats, rt_error *err) {
    double seconds[MOST_REPEATS];
    int64_t tokens = 0;
    if (text->size == 0) return rt_fail(err, RT_E_INPUT, "%s: no text", name);
    for (int i = 0; i < repeats; i++) RT_TRY(encode_once(t, text, &seconds[i], &tokens, err));
    double median = bench_median(seconds, repeats), mb = 1e-6 * (double)text->size;
    printf("%-28s %7.2f MB %9lld tokens (%4.2f bytes each)  %7.2f MB/s  best %7.2f\n", name, mb, (long long)tokens,
           (double)text->size / (double)(tokens ? tokens : 1), mb / median, mb / seconds[0]);
    return RT_OK;
}

static rt_status run(const char *tokenizer, int repeats, char **paths, rt_error *err) {
    rt_tokenizer *t;
    rt_buf made = {0};
    RT_TRY(rt_tokenizer_load(&t, tokenizer, err));
    rt_status s = RT_OK;
    for (; *paths && s == RT_OK; paths++) {
        rt_buf text = {0};
        const char *name = strrchr(*paths, '/');
        s = read_text(*paths, &text, err);
        if (s == RT_OK) s = measure(t, name ? name + 1 : *paths, &text, repeats, err);
        rt_buf_free(&text);
    }
    make_text(&made);
    if (s == RT_OK) s = measure(t, "(words made at random)", &made, repeats, err);
    rt_buf_free(&made);
    rt_tokenizer_free(t);
    return s;
}

int main(int argc, char **argv) {
    int first = 2, repeats = 9;
    rt_error err = {0};
    if (argc > 3 && strcmp(argv[2], "-n") == 0) repeats = atoi(argv[3]), first = 4;
    if (argc < 2 || repeats < 1 || repeats > MOST_REPEATS)
        return fprintf(stderr, "usage: bench_tokenizer TOKENIZER [-n REPEATS] FILE...\n"), 2;
    if (run(argv[1], repeats, argv + first, &err) == RT_OK) return 0;
    return fprintf(stderr, "%s\n", err.text), rt_status_exit(err.status);
}
