/* tokenizer_special.c - what stands around a text: the post-processor's template, and bos, eos, unk.
 *
 * bos and eos are, in this order: named by tokenizer_config.json; what the template puts first and last; the first of a
 * list of usual spellings among the special tokens. add_bos_token and add_eos_token of the configuration overrule the
 * template, as they do in the classes that write them. */
#include <retort/base/json.h>
#include "text/tokenizer_impl.h"
#include <string.h>

/* ---- post-processor ---- */

static rt_status around_add(rt_tokenizer *t, tok_around *a, int64_t id, const tok_node *where, rt_error *err) {
    if (id < 0 || id >= t->vocab.size || !t->vocab.entries[id].used)
        return rt_tok_fail(where, RT_E_INPUT, err, "id %lld is not in the vocabulary", (long long)id);
    if (a->size == TOK_MAX_AROUND)
        return rt_tok_fail(where, RT_E_UNSUPPORTED, err, "more than %d tokens around a text", TOK_MAX_AROUND);
    a->ids[a->size++] = (int32_t)id;
    return RT_OK;
}

/* {"SpecialToken": {"id": NAME}}: the ids under NAME in special_tokens. */
static rt_status template_token(rt_tokenizer *t, const tok_node *post, const tok_node *token, tok_around *a,
                                rt_error *err) {
    const char *name;
    RT_TRY(rt_tok_string(token, "id", NULL, &name, NULL, err));
    tok_node all = rt_tok_key(post, "special_tokens"), one = rt_tok_key(&all, name), ids = rt_tok_key(&one, "ids");
    RT_TRY(rt_tok_expect(&ids, JSON_ARRAY, err));
    for (size_t i = 0; i < json_array_size(ids.json); i++) {
        tok_node id = rt_tok_item(&ids, i);
        RT_TRY(rt_tok_expect(&id, JSON_INTEGER, err));
        RT_TRY(around_add(t, a, json_integer_value(id.json), &id, err));
    }
    return RT_OK;
}

static rt_status load_template(rt_tokenizer *t, const tok_node *post, rt_error *err) {
    tok_node single = rt_tok_key(post, "single");
    int texts = 0;
    RT_TRY(rt_tok_expect(&single, JSON_ARRAY, err));
    for (size_t i = 0; i < json_array_size(single.json); i++) {
        tok_node item = rt_tok_item(&single, i), token = rt_tok_key(&item, "SpecialToken"),
                 text = rt_tok_key(&item, "Sequence");
        texts += text.json != NULL;
        if (token.json)
            RT_TRY(template_token(t, post, &token, texts ? &t->after : &t->before, err));
        else
            RT_TRY(rt_tok_expect(&text, JSON_OBJECT, err));
    }
    return texts == 1 ? RT_OK
                      : rt_tok_fail(&single, RT_E_UNSUPPORTED, err, "a template with %d texts (only one)", texts);
}

/* "cls": [token, id] in front and "sep" behind. */
static rt_status load_pair(rt_tokenizer *t, const tok_node *post, rt_error *err) {
    static const char *const keys[] = {"cls", "sep"};
    for (int i = 0; i < 2; i++) {
        tok_node pair = rt_tok_key(post, keys[i]), id = rt_tok_item(&pair, 1);
        RT_TRY(rt_tok_expect(&id, JSON_INTEGER, err));
        RT_TRY(around_add(t, i ? &t->after : &t->before, json_integer_value(id.json), &id, err));
    }
    return RT_OK;
}

static rt_status load_post(rt_tokenizer *t, const tok_node *post, int depth, rt_error *err) {
    enum { BYTE_LEVEL, TEMPLATE, ROBERTA, BERT, SEQUENCE };
    static const char *const types[] = {"ByteLevel",      "TemplateProcessing", "RobertaProcessing",
                                        "BertProcessing", "Sequence",           NULL};
    const char *type;
    int which;
    RT_TRY(rt_tok_string(post, "type", NULL, &type, NULL, err));
    RT_TRY(rt_tok_choice(post, type, types, &which, err));
    if (which == BYTE_LEVEL) return RT_OK; /* trims offsets; ours cover the text without gaps */
    bool twice = which != SEQUENCE && (t->before.size || t->after.size);
    if (twice || depth > 4) return rt_tok_fail(post, RT_E_UNSUPPORTED, err, "more than one template in a sequence");
    if (which == TEMPLATE) return load_template(t, post, err);
    if (which != SEQUENCE) return load_pair(t, post, err);
    tok_node list = rt_tok_key(post, "processors");
    RT_TRY(rt_tok_expect(&list, JSON_ARRAY, err));
    for (size_t i = 0; i < json_array_size(list.json); i++) {
        tok_node item = rt_tok_item(&list, i);
        RT_TRY(load_post(t, &item, depth + 1, err));
    }
    return RT_OK;
}
rt_status rt_tok_load_post(rt_tokenizer *t, const tok_node *post, rt_error *err) {
    return rt_tok_absent(post) ? RT_OK : load_post(t, post, 0, err);
}

/* ---- bos, eos, unk ---- */

/* "bos_token": "<s>" or {"content": "<s>"}; null or absent leaves *id. Files name an unk_token that does not exist. */
static rt_status config_token(rt_tokenizer *t, const tok_node *config, const char *key, int32_t *id, rt_error *err) {
    tok_node node = rt_tok_key(config, key), token = json_is_object(node.json) ? rt_tok_key(&node, "content") : node;
    const char *text;
    size_t n;
    if (rt_tok_absent(&node)) return RT_OK;
    RT_TRY(rt_tok_text_of(&token, &text, &n, err));
    *id = rt_tok_vocab_find(&t->vocab, text, n);
    return *id >= 0 || id == &t->unk ? RT_OK
                                     : rt_tok_fail(&token, RT_E_INPUT, err, "'%.60s' is not in the vocabulary", text);
}

static int32_t usual(const rt_tokenizer *t, const char *const *names) {
    for (; *names; names++) {
        int32_t id = rt_tok_vocab_find(&t->vocab, *names, strlen(*names));
        if (id >= 0 && t->vocab.entries[id].special) return id;
    }
    return -1;
}

static void guess(rt_tokenizer *t) {
    static const char *const bos[] = {"<s>", "<|bos|>", "<bos>", "<|begin_of_text|>", "[BOS]", NULL};
    static const char *const eos[] = {"</s>", "<|eos|>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "[EOS]", NULL};
    if (t->bos < 0) t->bos = t->before.size ? t->before.ids[0] : usual(t, bos);
    if (t->eos < 0) t->eos = t->after.size ? t->after.ids[t->after.size - 1] : usual(t, eos);
}

/* add_bos_token / add_eos_token: `side` has id at its outer end, or not at all. */
static rt_status config_adds(const tok_node *config, const char *key, tok_around *side, bool front, int32_t id,
                             rt_error *err) {
    tok_node node = rt_tok_key(config, key);
    bool wanted;
    int n = side->size, at = front ? 0 : n - 1;
    if (rt_tok_absent(&node)) return RT_OK;
    RT_TRY(rt_tok_bool(config, key, false, &wanted, err));
    bool has = id >= 0 && n > 0 && side->ids[at] == id;
    if (wanted == has) return RT_OK;
    if (id < 0) return wanted ? rt_tok_fail(&node, RT_E_INPUT, err, "there is no such token to add") : RT_OK;
    if (wanted && n == TOK_MAX_AROUND)
        return rt_tok_fail(&node, RT_E_UNSUPPORTED, err, "more than %d tokens around a text", n);
    if (front) memmove(side->ids + wanted, side->ids + !wanted, (size_t)(wanted ? n : n - 1) * sizeof id);
    if (wanted) side->ids[front ? 0 : n] = id;
    side->size += wanted ? 1 : -1;
    return RT_OK;
}

static rt_status use_config(rt_tokenizer *t, const tok_node *config, rt_error *err) {
    RT_TRY(rt_tok_expect(config, JSON_OBJECT, err));
    RT_TRY(config_token(t, config, "bos_token", &t->bos, err));
    RT_TRY(config_token(t, config, "eos_token", &t->eos, err));
    RT_TRY(config_token(t, config, "unk_token", &t->unk, err));
    guess(t);
    RT_TRY(config_adds(config, "add_bos_token", &t->before, true, t->bos, err));
    return config_adds(config, "add_eos_token", &t->after, false, t->eos, err);
}

rt_status rt_tok_load_config(rt_tokenizer *t, rt_error *err) {
    t->bos = t->eos = -1;
    t->unk = t->model.unk;
    if (!t->has_config) return guess(t), RT_OK;
    json_t *tree;
    RT_TRY(rt_json_parse_nul(t->config.data ? t->config.data : "", t->config.size, "tokenizer_config.json", &tree, err));
    tok_node config = {tree, "tokenizer_config.json", ""};
    rt_status s = use_config(t, &config, err);
    json_decref(tree);
    return s;
}
