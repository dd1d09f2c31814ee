/* tokenizer_train.c - documents gathered into one text, a tokenizer trained on it and written. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/text/bpe_train.h>
#include <retort/text/tokenizer.h>
#include <retort/text/tokenizer_train.h>

/* So many bytes of `text`, n at most, that no character is cut. */
static size_t whole_characters(const char *text, size_t n) {
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    return n;
}

static rt_status gather(rt_corpus *c, int64_t limit, rt_buf *text, rt_error *err) {
    rt_document d;
    bool end = false;
    while (limit == 0 || (int64_t)text->size < limit) {
        RT_TRY(rt_corpus_next(c, &d, &end, err));
        if (end) break;
        size_t room = limit ? (size_t)limit - text->size : d.bytes;
        rt_buf_add(text, d.text, d.bytes <= room ? d.bytes : whole_characters(d.text, room));
        rt_buf_putc(text, '\n');
    }
    return text->failed ? rt_fail(err, RT_E_NOMEM, "out of memory for %lld bytes of text", (long long)text->size)
                        : RT_OK;
}

static rt_status gather_files(const char *const *paths, int count, const rt_corpus_options *o, int64_t limit,
                              rt_buf *text, rt_error *err) {
    rt_corpus *c;
    RT_TRY(rt_corpus_open(&c, paths, count, o, err));
    rt_status s = gather(c, limit, text, err);
    rt_corpus_close(c);
    return s;
}

static rt_status write_in(const char *dir, const char *name, const char *text, size_t bytes, rt_error *err) {
    rt_buf path = {0};
    rt_buf_printf(&path, "%s/%s", dir, name);
    rt_status s = path.failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", dir)
                              : rt_file_write_atomic(path.data, text, bytes, err);
    rt_buf_free(&path);
    return s;
}

/* What Hugging Face's classes want to know and tokenizer.json does not say; NULL: out of memory. */
static json_t *config(const rt_bpe_train_options *o) {
    json_t *special = json_array();
    for (int i = 0; i < o->special_count; i++)
        if (json_array_append_new(special, json_string(o->special[i])) != 0) return json_decref(special), NULL;
    return json_pack("{s:s, s:s*, s:s*, s:b, s:o}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                     o->bos_eos ? "<|bos|>" : NULL, "eos_token", o->bos_eos ? "<|eos|>" : NULL,
                     "clean_up_tokenization_spaces", 0, "additional_special_tokens", special);
}

static rt_status write_config(const char *dir, const rt_bpe_train_options *o, rt_error *err) {
    rt_buf text = {0};
    json_t *root = config(o);
    if (root) rt_json_dump(root, 2, &text);
    rt_buf_putc(&text, '\n');
    json_decref(root);
    rt_status s = !root || text.failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", dir)
                                       : write_in(dir, "tokenizer_config.json", text.data, text.size, err);
    rt_buf_free(&text);
    return s;
}

static rt_status write_folder(const char *dir, const rt_buf *json, const rt_bpe_train_options *o, rt_error *err) {
    RT_TRY(rt_dir_make(dir, err));
    RT_TRY(write_config(dir, o, err));
    return write_in(dir, "tokenizer.json", json->data, json->size, err);
}

static rt_status count_ids(const rt_buf *json, int32_t *size, rt_error *err) {
    rt_tokenizer *t;
    RT_TRY(rt_tokenizer_from_json(&t, json->data, json->size, "tokenizer.json", err));
    *size = rt_tokenizer_size(t);
    rt_tokenizer_free(t);
    return RT_OK;
}

rt_status rt_tokenizer_train_as(const char *const *paths, int count, const rt_corpus_options *o, int64_t limit,
                                const rt_bpe_train_options *how, const char *dir, int32_t *size, rt_error *err) {
    rt_buf text = {0}, json = {0};
    rt_status s = gather_files(paths, count, o, limit, &text, err);
    if (s == RT_OK) s = rt_bpe_train(text.data, text.size, how, &json, err);
    if (s == RT_OK) s = count_ids(&json, size, err);
    if (s == RT_OK) s = write_folder(dir, &json, how, err);
    rt_buf_free(&text);
    rt_buf_free(&json);
    return s;
}

rt_status rt_tokenizer_train(const char *const *paths, int count, const rt_corpus_options *o, int64_t limit,
                             int32_t vocab, const char *dir, int32_t *size, rt_error *err) {
    rt_bpe_train_options how = {.vocab = vocab, .bos_eos = true};
    return rt_tokenizer_train_as(paths, count, o, limit, &how, dir, size, err);
}
