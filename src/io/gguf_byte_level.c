/* gguf_byte_level.c - byte-level BPE as GGUF's "gpt2": merges by rank, and a name for the way text is cut into words.
 *
 * llama.cpp cuts words with expressions it has compiled in, chosen by tokenizer.ggml.pre; a name is given here only where its
 * expression is the one of tokenizer.json (llama-vocab.cpp, llm_tokenizer_bpe). Others would tokenize otherwise, so they are refused. */
#include "io/gguf_tokenizer.h"
#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* ignore_merges: a word that is a token is taken whole. `split`: before the bytes, NULL where ByteLevel's own expression cuts. */
static const struct {
    const char *name, *split;
    bool digits, ignore_merges;
} known[] = {
    {"gpt-2", NULL, false, false},
    {"gpt-2", GPT2, false, false},
    {"llama-bpe", CONTRACTIONS "\\p{N}{1,3}" REST, false, true},
    {"smaug-bpe", CONTRACTIONS "\\p{N}{1,3}" REST, false, false},
    {"qwen2", CONTRACTIONS "\\p{N}" REST, false, false},
    {"smollm", NULL, true, false},
};

static bool is(const json_t *object, const char *key, bool wanted, bool otherwise) {
    const json_t *v = json_object_get(object, key);
    return (json_is_boolean(v) ? json_is_true(v) : otherwise) == wanted;
}
/* What the known ways consist of; false when there is anything else. */
typedef struct cuts {
    const char *split;
    bool digits, own, bytes;
} cuts;
static bool add_cut(cuts *c, const json_t *step) {
    const char *type = rt_gguf_step(step);
    if (strcmp(type, "Split") == 0) {
        const char *behavior = json_string_value(json_object_get(step, "behavior"));
        bool plain = behavior && strcmp(behavior, "Isolated") == 0 && is(step, "invert", false, false) && !c->split;
        c->split = json_string_value(json_object_get(json_object_get(step, "pattern"), "Regex"));
        return plain && c->split;
    }
    if (strcmp(type, "Digits") == 0) return c->digits = true, is(step, "individual_digits", true, false);
    if (strcmp(type, "ByteLevel") != 0) return false;
    c->bytes = true;
    c->own = is(step, "use_regex", true, true);
    return is(step, "add_prefix_space", false, true);
}
static const char *name_of(const json_t *root, bool ignore_merges) {
    const json_t *pre = json_object_get(root, "pre_tokenizer"), *list = json_object_get(pre, "pretokenizers");
    cuts c = {0};
    for (size_t i = 0; i < (json_is_array(list) ? json_array_size(list) : 1); i++)
        if (!add_cut(&c, json_is_array(list) ? json_array_get(list, i) : pre)) return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known && c.bytes; i++) {
        bool same_split = known[i].split ? c.split && !c.own && strcmp(known[i].split, c.split) == 0 : !c.split && c.own;
        if (same_split && known[i].digits == c.digits && known[i].ignore_merges == ignore_merges) return known[i].name;
    }
    return NULL;
}

static rt_status check_model(const gguf_vocab *v, const json_t *model, rt_error *err) {
    const json_t *normalizer = json_object_get(v->root, "normalizer");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const char *affix = json_string_value(json_object_get(model, affixes[i]));
        if (affix && *affix) return rt_gguf_unsaid(err, "it has a %s", affixes[i]);
    }
    if (strcmp(rt_gguf_step(normalizer), "NFC") == 0)
        rt_gguf_note(v->notes, "tokenizer: text is brought to Unicode's NFC first; llama.cpp does not do that, so give it text that is");
    else if (json_is_object(normalizer)) return rt_gguf_unsaid(err, "its normalizer is %.40s, expected none or NFC", rt_gguf_step(normalizer));
    return RT_OK;
}
static rt_status put_merges(const gguf_vocab *v, const json_t *merges, rt_error *err) {
    rt_gguf_put_array(v->meta, "tokenizer.ggml.merges", RT_GGUF_TEXT, json_array_size(merges));
    rt_buf text = {0};
    for (size_t i = 0; i < json_array_size(merges); i++) {
        gguf_merge m;
        if (!rt_gguf_merge_at(merges, i, &m)) return rt_buf_free(&text), rt_gguf_unsaid(err, "merge %zu is not a pair", i);
        text.size = 0;
        rt_buf_add(&text, m.left, m.left_bytes);
        rt_buf_putc(&text, ' ');
        rt_buf_add(&text, m.right, m.right_bytes);
        rt_gguf_item_text(v->meta, text.data, text.size);
    }
    v->meta->bytes.failed |= text.failed;
    rt_buf_free(&text);
    return RT_OK;
}
rt_status rt_gguf_put_byte_level(const gguf_vocab *v, rt_error *err) {
    const json_t *model = json_object_get(v->root, "model");
    const char *pre = name_of(v->root, is(model, "ignore_merges", true, false));
    if (!pre) return rt_gguf_unsaid(err, "its pre-tokenizer cuts words in a way that has no name here (known: gpt-2, llama-bpe, smaug-bpe, qwen2, smollm)");
    RT_TRY(check_model(v, model, err));
    rt_gguf_put_text(v->meta, "tokenizer.ggml.model", "gpt2", 4);
    rt_gguf_put_text(v->meta, "tokenizer.ggml.pre", pre, strlen(pre));
    return put_merges(v, json_object_get(model, "merges"), err);
}
