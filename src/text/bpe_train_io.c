/* bpe_train_io.c - both ends of a training: a text into counted words, the result into tokenizer.json. */
#include "text/bpe_train_impl.h"
#include "text/byte_alphabet.h"
#include "text/tok_step.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <string.h>

/* ---- words ---- */

static json_t *byte_level(bool cuts) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex",
                     cuts);
}

/* What a family's files hold as pre_tokenizer. */
static json_t *words_json(rt_word_pattern pattern) {
    static const char *const expressions[] = {
        [RT_WORDS_LLAMA3] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
                            "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        [RT_WORDS_QWEN2] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
                           "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"};
    if (pattern == RT_WORDS_GPT2) return byte_level(true);
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type", "Split",
                     "pattern", "Regex", expressions[pattern], "behavior", "Isolated", "invert", 0, byte_level(false));
}

static bool add_word(trainer *t, const tok_vocab *words, const int32_t id_of[256], int32_t word) {
    const char *s = rt_tok_vocab_string(words, word);
    int32_t n = (int32_t)words->entries[word].length;
    size_t begin = t->symbol_count, needed = begin + (size_t)n;
    if (!rt_tok_grow((void **)&t->symbols, needed, &t->symbol_capacity, sizeof *t->symbols)) return false;
    if (!rt_tok_grow((void **)&t->words, t->word_count + 1, &t->word_capacity, sizeof *t->words)) return false;
    for (int32_t i = 0; i < n; i++) t->symbols[t->symbol_count++] = id_of[(uint8_t)s[i]];
    t->words[t->word_count++] = (train_word){begin, n, 0};
    return true;
}

typedef struct counter {
    trainer *t;
    tok_vocab words;
    int32_t id_of[256]; /* the symbol of a byte */
} counter;

static bool count_word(counter *c, const char *s, size_t n) {
    int32_t clash, word = n ? rt_tok_vocab_find(&c->words, s, n) : 0;
    if (n == 0) return true;
    if (word < 0) {
        word = c->words.size;
        if (rt_tok_vocab_add(&c->words, word, s, n, &clash) != RT_OK || !add_word(c->t, &c->words, c->id_of, word))
            return false;
    }
    c->t->words[word].count++;
    return true;
}

/* The pieces that the expression cuts, one after the other: a list of them all would be larger than the text. None of
 * our expressions matches nothing. */
static rt_status count_words(counter *c, const tok_pattern *words, const char *text, size_t bytes, rt_error *err) {
    tok_matcher matcher = {0};
    bool found = true, ok = true;
    rt_status s = rt_tok_matcher_new(&matcher, err);
    for (size_t done = 0; s == RT_OK && ok && found && done < bytes;) {
        tok_range hit;
        s = rt_tok_pattern_next(words, &matcher, text, bytes, done, &hit, &found, err);
        if (s != RT_OK) break;
        if (!found) hit = (tok_range){bytes, bytes};
        ok = count_word(c, text + done, hit.begin - done) && count_word(c, text + hit.begin, hit.end - hit.begin);
        done = hit.end;
    }
    rt_tok_matcher_free(&matcher);
    return s == RT_OK && !ok ? rt_tok_out_of_memory(err) : s;
}

static rt_status load_steps(tok_steps *steps, const rt_bpe_train_options *o, rt_error *err) {
    json_t *json = words_json(o->pattern);
    tok_node node = {json, "pre_tokenizer", ""};
    rt_status s =
        json ? rt_tok_steps_load(steps, &node, rt_tok_pretokenizers, "pretokenizers", err) : rt_tok_out_of_memory(err);
    json_decref(json);
    return s;
}

rt_status rt_train_read_words(trainer *t, const rt_bpe_train_options *o, const char *text, size_t bytes,
                              rt_error *err) {
    tok_steps steps = {0};
    counter c = {.t = t};
    char token[4];
    for (int b = 0; b < 256; b++)
        c.id_of[b] = rt_tok_vocab_find(&t->tokens, token, rt_utf8_put(token, rt_byte_alphabet_char((uint8_t)b)));
    rt_status s = load_steps(&steps, o, err);
    if (s == RT_OK)
        s = count_words(&c, &steps.items[0].pattern, text, bytes, err); /* the first step is the one that cuts */
    rt_tok_vocab_free(&c.words);
    rt_tok_steps_free(&steps);
    return s;
}

/* ---- tokenizer.json ---- */

static json_t *added_tokens(const trainer *t) {
    json_t *list = json_array();
    for (int32_t i = 0; i < t->special; i++) {
        json_t *token =
            json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i, "content", rt_tok_vocab_string(&t->tokens, i),
                      "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
        if (json_array_append_new(list, token) != 0) return json_decref(list), NULL;
    }
    return list;
}
static json_t *around(void) {
    return json_loads(
        "{\"type\": \"TemplateProcessing\","
        " \"single\": [{\"SpecialToken\": {\"id\": \"<|bos|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", "
        "\"type_id\": 0}},"
        "  {\"SpecialToken\": {\"id\": \"<|eos|>\", \"type_id\": 0}}],"
        " \"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],"
        " \"special_tokens\": {\"<|bos|>\": {\"id\": \"<|bos|>\", \"ids\": [0], \"tokens\": [\"<|bos|>\"]},"
        "  \"<|eos|>\": {\"id\": \"<|eos|>\", \"ids\": [1], \"tokens\": [\"<|eos|>\"]}}}",
        0, NULL);
}

static json_t *vocab_json(const tok_vocab *v) {
    json_t *vocab = json_object();
    for (int32_t id = 0; id < v->size; id++)
        if (json_object_set_new(vocab, rt_tok_vocab_string(v, id), json_integer(id)) != 0)
            return json_decref(vocab), NULL;
    return vocab;
}
static json_t *merges_json(const trainer *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->merge_count; i++) {
        const train_pair *p = &t->pairs[t->merges[i]];
        json_t *merge =
            json_sprintf("%s %s", rt_tok_vocab_string(&t->tokens, p->left), rt_tok_vocab_string(&t->tokens, p->right));
        if (json_array_append_new(list, merge) != 0) return json_decref(list), NULL;
    }
    return list;
}

static int into_buf(const char *text, size_t n, void *buf) {
    rt_buf_add(buf, text, n);
    return ((rt_buf *)buf)->failed ? -1 : 0;
}

rt_status rt_train_write_json(const trainer *t, const rt_bpe_train_options *o, rt_buf *out, rt_error *err) {
    size_t before = out->size;
    json_t *root = json_pack(
        "{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:o}}", "version",
        "1.0", "truncation", "padding", "added_tokens", added_tokens(t), "normalizer", "pre_tokenizer",
        words_json(o->pattern), "post_processor", o->bos_eos && o->add_special ? around() : byte_level(true), "decoder",
        byte_level(true), "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "",
        "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
        vocab_json(&t->tokens), "merges", merges_json(t));
    bool ok = root && json_dump_callback(root, into_buf, out, JSON_INDENT(1)) == 0;
    rt_buf_putc(out, '\n');
    json_decref(root);
    if (ok && !out->failed) return RT_OK;
    out->size = before;
    return rt_tok_out_of_memory(err);
}
