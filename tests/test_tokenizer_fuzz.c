/* test_tokenizer_fuzz.c - a hundred thousand short strings of random characters and of random bytes, through a
 * byte-level BPE, a SentencePiece-style BPE with byte fallback, and a Unigram tokenizer: every one comes back as it
 * was, or is refused for the byte at which it stops being UTF-8. Then the small samples of every family. */
#include "tokenizer_kit.h"
#include "tokenizer_samples.h"
#include <retort/base/rng.h>
#include <stdio.h>
#include <string.h>

static rt_error err;
enum { STRINGS = 100000, SAMPLE_STRINGS = 2000, LONGEST = 100 };

/* ---- random strings ---- */

typedef struct source {
    rt_rng rng;
    uint64_t draw;
} source;
static uint64_t below(source *s, uint64_t n) { return rt_rng_below(s->rng, s->draw++, n); }

static size_t put_utf8(char *s, uint32_t c) {
    if (c < 0x80) return s[0] = (char)c, 1;
    if (c < 0x800) return s[0] = (char)(0xC0 | c >> 6), s[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return s[0] = (char)(0xE0 | c >> 12), s[1] = (char)(0x80 | (c >> 6 & 63)), s[2] = (char)(0x80 | (c & 63)), 3;
    s[0] = (char)(0xF0 | c >> 18), s[1] = (char)(0x80 | (c >> 12 & 63)), s[2] = (char)(0x80 | (c >> 6 & 63));
    return s[3] = (char)(0x80 | (c & 63)), 4;
}

/* Letters that occur in the vocabularies, white space, and characters of every length, NUL among them. */
static size_t random_characters(source *s, char *text) {
    static const char usual[] = "abctehs the cat sat 12 \n\t'.";
    static const uint32_t tops[] = {0x80, 0x300, 0x3000, 0x110000};
    size_t n = 0;
    for (uint64_t k = below(s, below(s, 16) ? 14 : LONGEST / 4); k > 0; k--) {
        uint32_t c = below(s, 2) ? (uint8_t)usual[below(s, sizeof usual - 1)] : (uint32_t)below(s, tops[below(s, 4)]);
        n += put_utf8(text + n, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
    }
    return n;
}
static size_t random_bytes(source *s, char *text) {
    size_t n = below(s, 12);
    uint64_t mask = below(s, 3) ? 0xFF : 0x7F;
    for (size_t i = 0; i < n; i++) text[i] = (char)(below(s, 256) & mask);
    return n;
}
/* Every fourth string is bytes, every fourth characters with a byte changed. */
static size_t random_string(source *s, uint64_t i, char *text) {
    if (i % 4 == 3) return random_bytes(s, text);
    size_t n = random_characters(s, text);
    if (i % 4 == 2 && n) text[below(s, n)] = (char)below(s, 256);
    return n;
}

/* Where text stops being UTF-8 (n: nowhere), by the letter of Unicode 15, table 3-7; another way than the library's. */
static size_t stops_at(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    for (size_t i = 0; i < n;) {
        size_t k = p[i] < 0x80 ? 1 : p[i] >> 5 == 6 ? 2 : p[i] >> 4 == 14 ? 3 : p[i] >> 3 == 30 ? 4 : 0;
        uint32_t c = k > 1 ? p[i] & (0x7Fu >> k) : p[i];
        if (k == 0 || i + k > n) return i;
        for (size_t j = 1; j < k; j++) {
            if (p[i + j] >> 6 != 2) return i;
            c = c << 6 | (p[i + j] & 63);
        }
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        if (c < least[k] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return i;
        i += k;
    }
    return n;
}

/* ---- what must hold ---- */

typedef enum comes_back { AS_IT_WAS, MARKS_AS_SPACES, SOMEHOW } comes_back;

typedef struct run { /* working memory of a tokenizer under test */
    const rt_tokenizer *t;
    rt_encoder *e;
    rt_ids ids;
    rt_spans spans;
    rt_buf out;
    comes_back how;
} run;

static void open_run(run *r, const rt_tokenizer *t, comes_back how) {
    *r = (run){.t = t, .how = how};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_encoder_new(&r->e, t, &err));
}
static void close_run(run *r) {
    rt_encoder_free(r->e), rt_ids_free(&r->ids), rt_spans_free(&r->spans), rt_buf_free(&r->out);
}

/* U+2581 is SentencePiece's own sign for a space, and comes back as one. */
static size_t spaces_for_marks(const char *text, size_t n, char *back) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        bool mark = n - i >= 3 && memcmp(text + i, "\u2581", 3) == 0;
        back[k++] = mark ? ' ' : text[i];
        i += mark ? 2 : 0;
    }
    return k;
}
static bool came_back(const run *r, const char *text, size_t n) {
    char back[4 * LONGEST];
    if (r->how == SOMEHOW) return true;
    if (r->how == MARKS_AS_SPACES) n = spaces_for_marks(text, n, back), text = back;
    return r->out.size == n && (n == 0 || memcmp(r->out.data, text, n) == 0);
}

static bool tiles(const run *r, size_t n) {
    int64_t at = 0;
    for (int64_t i = 0; i < r->spans.size; i++) {
        if (r->spans.data[i].begin != at || r->spans.data[i].end < at) return false;
        at = r->spans.data[i].end;
    }
    return r->spans.size == r->ids.size && (r->spans.size == 0 || at == (int64_t)n);
}

static bool holds(run *r, const char *text, size_t n) {
    size_t valid = stops_at(text, n);
    r->ids.size = r->spans.size = 0, r->out.size = 0;
    rt_error_clear(&err);
    rt_status s = rt_encoder_encode(r->e, text, n, false, &r->ids, &r->spans, &err);
    if (valid < n) { /* refused, at that byte */
        char message[80];
        snprintf(message, sizeof message, "the text is not valid UTF-8 at byte %zu", valid);
        return s == RT_E_INPUT && r->ids.size == 0 && strcmp(err.text, message) == 0;
    }
    if (s == RT_OK) s = rt_tokenizer_decode(r->t, r->ids.data, r->ids.size, false, &r->out, &err);
    return s == RT_OK && tiles(r, n) && came_back(r, text, n);
}

static void throw_at(const rt_tokenizer *t, const char *name, comes_back how, int strings) {
    source s = {rt_rng_make(5, "text", 0), 0};
    char text[4 * LONGEST];
    run r;
    int bad = 0;
    open_run(&r, t, how);
    for (int i = 0; i < strings; i++) {
        size_t n = random_string(&s, (uint64_t)i, text);
        if (!holds(&r, text, n) && bad++ < 3) RT_FAILF("%s: string %d of %zu bytes: %s", name, i, n, err.text);
    }
    RT_CHECK(bad == 0, "%s: %d of %d strings", name, bad, strings);
    close_run(&r);
}

/* ---- the tokenizers ---- */

static const char *const tokens[] = {"\u2581", "a",  "b",   "c",         "t",       "e",   "h",     "s",
                                     "at",     "th", "the", "\u2581the", "\u2581c", "cat", "\u00e9"};
enum { TOKENS = sizeof tokens / sizeof *tokens };
static const char merges[] = "[\"a t\", \"t h\", \"th e\", \"\u2581 the\", \"\u2581 c\", \"c at\"]";

/* All 256 bytes and a few tokens: nothing is unknown. */
static rt_tokenizer *sentencepiece(bool unigram) {
    rt_buf json = {0};
    const char *const entry = unigram ? ", [\"%s\", %d]" : ", \"%s\": %d";
    char byte[8];
    rt_buf_printf(&json,
                  "{\"normalizer\": %s, \"decoder\": %s, \"model\": {\"type\": \"%s\", \"byte_fallback\": true, ",
                  SP_NORMALIZER, SP_DECODER, unigram ? "Unigram" : "BPE");
    rt_buf_puts(&json, unigram ? "\"unk_id\": 0, \"vocab\": [[\"<unk>\", 0]" : "\"vocab\": {\"<unk>\": 0");
    for (int b = 0; b < 256; b++) {
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)b);
        rt_buf_printf(&json, entry, byte, unigram ? -20 : 1 + b);
    }
    for (int i = 0; i < TOKENS; i++) rt_buf_printf(&json, entry, tokens[i], unigram ? -3 - i % 5 : 257 + i);
    if (unigram)
        rt_buf_puts(&json, "]}}");
    else
        rt_buf_printf(&json, "}, \"merges\": %s}}", merges);
    rt_tokenizer *t = tok_from_text(json.data);
    rt_buf_free(&json);
    return t;
}

static void byte_level_bpe(void) {
    rt_buf json = {0};
    rt_tokenizer *t = tok_trained(300, &json);
    throw_at(t, "byte-level BPE", AS_IT_WAS, STRINGS);
    rt_tokenizer_free(t), rt_buf_free(&json);
}
static void sentencepiece_bpe(void) {
    rt_tokenizer *t = sentencepiece(false);
    throw_at(t, "BPE with byte fallback", MARKS_AS_SPACES, STRINGS);
    rt_tokenizer_free(t);
}
static void unigram(void) {
    rt_tokenizer *t = sentencepiece(true);
    throw_at(t, "Unigram", MARKS_AS_SPACES, STRINGS);
    rt_tokenizer_free(t);
}
static void samples_of_every_family(void) {
    for (const tokenizer_sample *s = tokenizer_samples; s->name; s++) {
        rt_tokenizer *t = tok_from_text(s->json);
        throw_at(t, s->name, SOMEHOW, SAMPLE_STRINGS);
        rt_tokenizer_free(t);
    }
}

RT_SUITE(tokenizer_fuzz) {
    RT_TEST(byte_level_bpe);
    RT_TEST(sentencepiece_bpe);
    RT_TEST(unigram);
    RT_TEST(samples_of_every_family);
}
