/* tokenizer_load.c - files to bytes, bytes to a tokenizer, section by section in the order of their dependencies. */
#include <retort/base/json.h>
#include "text/tokenizer_impl.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { MAX_FILE_BYTES = 1 << 29 };

/* ---- sections ---- */

/* A step that turns text into bytes says so by a flag, and the tables of a plain BPE undo the alphabet: the text stays
 * as it is. Where another step follows, or for other models, the alphabet is spelled out. */
static void use_bytes(rt_tokenizer *t) {
    tok_model *m = &t->model;
    for (size_t i = 0; i < t->pretokenizers.size; i++) {
        tok_step *step = &t->pretokenizers.items[i];
        t->needs_origin |= step->kind->needs_origin;
        if (!step->kind->bytes) continue;
        bool plain = m->kind == &rt_tok_model_bpe && !m->byte_fallback && !m->prefix_bytes && !m->suffix_bytes;
        m->byte_level = plain && i + 1 == t->pretokenizers.size;
        step->spell_out = !m->byte_level;
    }
}

static rt_status load_sections(rt_tokenizer *t, const tok_node *root, rt_error *err) {
    RT_TRY(rt_tok_expect(root, JSON_OBJECT, err));
    tok_node normalizer = rt_tok_key(root, "normalizer"), pretokenizer = rt_tok_key(root, "pre_tokenizer");
    tok_node decoder = rt_tok_key(root, "decoder"), post = rt_tok_key(root, "post_processor");
    tok_node model = rt_tok_key(root, "model"), added = rt_tok_key(root, "added_tokens");
    RT_TRY(rt_tok_steps_load(&t->normalizers, &normalizer, rt_tok_normalizers, "normalizers", err));
    RT_TRY(rt_tok_steps_load(&t->pretokenizers, &pretokenizer, rt_tok_pretokenizers, "pretokenizers", err));
    RT_TRY(rt_tok_steps_load(&t->decoders, &decoder, rt_tok_decoders, "decoders", err));
    RT_TRY(rt_tok_load_model(t, &model, err));
    use_bytes(t);
    RT_TRY(rt_tok_load_added(t, &added, err));
    RT_TRY(rt_tok_finish_model(t, &model, err));
    RT_TRY(rt_tok_load_post(t, &post, err));
    RT_TRY(rt_tok_load_config(t, err));
    RT_TRY(rt_tok_load_covers(t, err));
    return rt_tok_make_hash(t, root, err);
}

static rt_status load_json(rt_tokenizer *t, rt_error *err) {
    json_t *tree;
    RT_TRY(rt_json_parse_nul(t->json.data ? t->json.data : "", t->json.size, t->file, &tree, err));
    tok_node root = {tree, t->file, ""};
    rt_status s = load_sections(t, &root, err);
    json_decref(tree);
    return s;
}

static rt_tokenizer *blank(const char *file, rt_error *err) {
    rt_tokenizer *t = rt_zalloc(sizeof *t);
    if (t) t->file = rt_strdup(file);
    if (t && t->file) return t;
    rt_tokenizer_free(t);
    rt_tok_out_of_memory(err);
    return NULL;
}

rt_status rt_tokenizer_from_json(rt_tokenizer **out, const char *json, size_t bytes, const char *name, rt_error *err) {
    *out = NULL;
    rt_tokenizer *t = blank(name, err);
    if (!t) return RT_E_NOMEM;
    rt_buf_add(&t->json, json, bytes);
    rt_status s = t->json.failed ? rt_tok_out_of_memory(err) : load_json(t, err);
    if (s == RT_OK)
        *out = t;
    else
        rt_tokenizer_free(t);
    return s;
}

void rt_tokenizer_free(rt_tokenizer *t) {
    if (!t) return;
    rt_free(t->file);
    rt_buf_free(&t->json);
    rt_buf_free(&t->config);
    rt_buf_free(&t->chat);
    rt_tok_vocab_free(&t->vocab);
    rt_tok_model_free(&t->model);
    rt_tok_steps_free(&t->normalizers);
    rt_tok_steps_free(&t->pretokenizers);
    rt_tok_steps_free(&t->decoders);
    rt_tok_added_free(&t->raw);
    rt_tok_added_free(&t->normalized);
    rt_free(t);
}

/* ---- files ---- */

static rt_status read_all(gzFile in, const char *path, rt_buf *out, rt_error *err) {
    char block[1 << 14];
    int n, code = Z_OK;
    while ((n = gzread(in, block, sizeof block)) > 0) {
        rt_buf_add(out, block, (size_t)n);
        if (out->failed) return rt_tok_out_of_memory(err);
        if (out->size > MAX_FILE_BYTES)
            return rt_fail(err, RT_E_INPUT, "%s: larger than %d bytes", path, MAX_FILE_BYTES);
    }
    const char *text = gzerror(in, &code);
    if (code == Z_OK || code == Z_STREAM_END) return RT_OK;
    return rt_fail(err, code == Z_ERRNO ? RT_E_IO : RT_E_INPUT, "%s: cannot unpack: %s", path, text);
}
/* Plain or gzip, told by the content. */
static rt_status read_file(const char *path, rt_buf *out, rt_error *err) {
    gzFile in = gzopen(path, "rb");
    if (!in) return rt_fail(err, RT_E_INPUT, "%s: %s", path, strerror(errno ? errno : ENOMEM));
    rt_status s = read_all(in, path, out, err);
    gzclose(in);
    return s;
}

static bool is_file(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

/* The tokenizer's file, and the configuration and chat template beside it, NULL when there is none. Paths live in the
 * arena. */
static rt_status find_files(rt_arena *a, const char *path, const char **file, const char **config, const char **chat,
                            rt_error *err) {
    struct stat s;
    if (stat(path, &s) != 0) return rt_fail(err, RT_E_INPUT, "%s: %s", path, strerror(errno));
    const char *slash = strrchr(path, '/');
    if (S_ISDIR(s.st_mode)) {
        *file = rt_arena_printf(a, "%s/tokenizer.json", path);
        if (*file && !is_file(*file)) *file = rt_arena_printf(a, "%s/tokenizer.json.gz", path);
        *config = rt_arena_printf(a, "%s/tokenizer_config.json", path);
        *chat = rt_arena_printf(a, "%s/chat_template.jinja", path);
    } else {
        int folder = slash ? (int)(slash - path) + 1 : 0;
        *file = path;
        *config = rt_arena_printf(a, "%.*stokenizer_config.json", folder, path);
        *chat = rt_arena_printf(a, "%.*schat_template.jinja", folder, path);
    }
    if (!*file || !*config || !*chat) return rt_tok_out_of_memory(err);
    if (!is_file(*file)) return rt_fail(err, RT_E_INPUT, "%s: holds no tokenizer.json (nor tokenizer.json.gz)", path);
    if (!is_file(*config)) *config = NULL;
    if (!is_file(*chat)) *chat = NULL;
    return RT_OK;
}

static rt_status load_files(rt_tokenizer **out, const char *file, const char *config, const char *chat, rt_error *err) {
    rt_tokenizer *t = blank(file, err);
    if (!t) return RT_E_NOMEM;
    rt_status s = read_file(file, &t->json, err);
    t->has_config = config;
    if (s == RT_OK && config) s = read_file(config, &t->config, err);
    t->has_chat = chat;
    if (s == RT_OK && chat) s = read_file(chat, &t->chat, err);
    if (s == RT_OK) s = load_json(t, err);
    if (s == RT_OK)
        *out = t;
    else
        rt_tokenizer_free(t);
    return s;
}

rt_status rt_tokenizer_load(rt_tokenizer **out, const char *path, rt_error *err) {
    rt_arena a = {0};
    const char *file, *config, *chat;
    *out = NULL;
    rt_status s = find_files(&a, path, &file, &config, &chat, err);
    if (s == RT_OK) s = load_files(out, file, config, chat, err);
    rt_arena_free(&a);
    return s;
}

static rt_status write_file(const char *dir, const char *name, const rt_buf *bytes, rt_error *err) {
    rt_buf path = {0};
    rt_buf_printf(&path, "%s/%s", dir, name);
    if (path.failed) return rt_tok_out_of_memory(err);
    FILE *f = fopen(path.data, "wb");
    bool ok = f && fwrite(bytes->data ? bytes->data : "", 1, bytes->size, f) == bytes->size;
    if (f && fclose(f) != 0) ok = false;
    rt_status s = ok ? RT_OK : rt_fail(err, RT_E_IO, "%s: cannot write: %s", path.data, strerror(errno));
    rt_buf_free(&path);
    return s;
}
rt_status rt_tokenizer_save(const rt_tokenizer *t, const char *dir, rt_error *err) {
    RT_TRY(write_file(dir, "tokenizer.json", &t->json, err));
    if (t->has_config) RT_TRY(write_file(dir, "tokenizer_config.json", &t->config, err));
    return t->has_chat ? write_file(dir, "chat_template.jinja", &t->chat, err) : RT_OK;
}
