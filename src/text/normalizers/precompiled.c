/* Precompiled: SentencePiece's character map, as its models carry it: uint32 bytes of a trie, the trie, then the texts
 * that characters become, each ended by a NUL. All little-endian, the whole in base64.
 *
 * The trie is a double array of uint32 units (Yata's darts-clone): from the root, or wherever a byte c leads, the next
 * unit is at node ^ c; its low byte must be c. A unit holds its label, a bit (8) that tells that a string ends here,
 * and the offset to its children; the value, in the unit they would have at byte 0, is where a text begins.
 *
 * A grapheme cluster of at most 5 bytes is looked up as a whole, and becomes the text of the shortest string in the map
 * that begins it; otherwise each of its characters is. That is what Hugging Face's library does. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <string.h>
#include <utf8proc.h>

enum { WHOLE_BYTES = 5 };

/* ---- loading ---- */

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes in place of `out` (room for n / 4 * 3): false when the text is no base64. */
static bool base64(const char *s, size_t n, char *out, size_t *bytes) {
    size_t padding = n && s[n - 1] == '=' ? 1 + (n > 1 && s[n - 2] == '=') : 0;
    uint32_t word = 0;
    *bytes = 0;
    if (n % 4) return false;
    for (size_t i = 0; i < n - padding; i++) {
        int digit = base64_digit(s[i]);
        if (digit < 0) return false;
        word = word << 6 | (uint32_t)digit;
        if (i % 4) out[(*bytes)++] = (char)(word >> (6 - i % 4 * 2));
    }
    return true;
}

static uint32_t unit_at(const char *bytes, size_t i) {
    const unsigned char *p = (const unsigned char *)bytes + 4 * i;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    tok_node map = rt_tok_key(json, "precompiled_charsmap");
    const char *text;
    size_t n, bytes;
    RT_TRY(rt_tok_text_of(&map, &text, &n, err));
    s->content = rt_alloc(n / 4 * 3 + 4);
    if (!s->content) return rt_tok_out_of_memory(err);
    if (!base64(text, n, s->content, &bytes)) return rt_tok_fail(&map, RT_E_INPUT, err, "not base64");
    uint32_t trie = bytes >= 4 ? unit_at(s->content, 0) : 0;
    if (trie < 4 || trie % 4 || trie > bytes - 4)
        return rt_tok_fail(&map, RT_E_INPUT, err, "a trie of %u bytes in a map of %zu", trie, bytes);
    s->start = trie / 4;                   /* units, from byte 4 on */
    s->stop = (int64_t)(bytes - 4 - trie); /* bytes of texts, behind them */
    s->content_bytes = bytes;
    const char *texts = s->content + 4 + trie;
    if (rt_utf8_valid_bytes(texts, (size_t)s->stop) != (size_t)s->stop)
        return rt_tok_fail(&map, RT_E_INPUT, err, "the texts are not UTF-8");
    return RT_OK;
}

/* ---- running ---- */

static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6); }

/* The value of the shortest string of the trie that begins key: false for none. */
static bool find(const tok_step *s, const char *key, size_t n, size_t *value) {
    const char *units = s->content + 4;
    size_t count = (size_t)s->start, node = offset_of(unit_at(units, 0));
    for (size_t i = 0; i < n && key[i]; i++) {
        node ^= (uint8_t)key[i];
        if (node >= count) return false;
        uint32_t unit = unit_at(units, node);
        if ((unit & (1u << 31 | 0xFF)) != (uint8_t)key[i]) return false;
        node ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (node >= count) return false;
        *value = unit_at(units, node) & ~(1u << 31);
        return true;
    }
    return false;
}

/* [begin, end) of the input becomes what the map says, if it says anything. */
static bool replace(const tok_step *s, const tok_view *in, size_t begin, size_t end, tok_text *out) {
    size_t value, bytes = (size_t)s->stop, n = 0;
    if (!find(s, in->s + begin, end - begin, &value)) return false;
    const char *text = s->content + 4 + 4 * s->start;
    if (value >= bytes || (text[value] & 0xC0) == 0x80) value = bytes; /* a damaged map: nothing */
    while (value + n < bytes && text[value + n]) n++;
    rt_tok_text_add(out, text + value, n, rt_tok_origin(in, begin), rt_tok_origin(in, end));
    return true;
}

static void cluster(const tok_step *s, const tok_view *in, size_t begin, size_t end, tok_text *out) {
    if (end - begin <= WHOLE_BYTES && replace(s, in, begin, end, out)) return;
    for (size_t i = begin, length; i < end; i += length) {
        rt_utf8_get(in->s + i, end - i, &length);
        if (!replace(s, in, i, i + length, out)) rt_tok_text_copy(out, in, i, i + length);
    }
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)m, (void)err;
    utf8proc_int32_t state = 0, before = -1;
    size_t from = 0;
    for (size_t i = 0, length; i < in->n; i += length) {
        int32_t c = rt_utf8_get(in->s + i, in->n - i, &length);
        bool plain = c < 0x80 && before < 0x80 && before != '\r'; /* ASCII breaks everywhere else */
        bool cut = before >= 0 && (plain || utf8proc_grapheme_break_stateful(before, c, &state));
        if (plain) state = 0;
        before = c;
        if (!cut) continue;
        cluster(s, in, from, i, out);
        from = i;
    }
    cluster(s, in, from, in->n, out);
    return RT_OK;
}

const tok_kind rt_tok_normalizer_precompiled = {.type = "Precompiled", .load = load, .normalize = run};
