/* test_chat.c - conversations: what of them is learnt, that what they spell stays text, and that both reach the batch
 * and the shard. The tokenizer is byte-level, of 257 ids and the two special tokens <|bos|> and <|eos|>. */
#include "command_line.h"
#include "harness.h"
#include <retort/base/file.h>
#include <retort/text/encode.h>
#include <retort/text/loader.h>
#include <retort/text/tokenizer_train.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char plain[] = "{% for m in messages %}<|bos|>{{ m.role }}\\n{{ m.content }}<|eos|>{% endfor %}{% if add_generation_prompt %}<|bos|>assistant\\n{% endif %}";
static const char marked[] = "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|eos|>{% endgeneration %}{% else %}"
                             "{{ m.content }}{% endif %}{% endfor %}";
/* As Qwen3 does: what was thought is taken out once the user has spoken again, and a last answer gets a thought. */
static const char forgetful[] = "{% for m in messages %}{% if m.role == 'assistant' %}<A>{% if loop.last %}<think>{{ m.content.split('</think>')[0] if '</think>' in m.content }}</think>"
                                "{% endif %}{{ m.content.split('</think>')[-1] }}<|eos|>{% else %}<U>{{ m.content }}<|eos|>{% endif %}{% endfor %}"
                                "{% if add_generation_prompt %}<A>{% endif %}";

static char *path_in(const char *dir, const char *name) {
    static char paths[8][1024];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    snprintf(p, 1024, "%s/%s", dir, name);
    return p;
}
static const char *put_text(const char *dir, const char *name, const char *text) {
    rt_error err = {0};
    char *path = path_in(dir, name);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, text, strlen(text), &err));
    return path;
}

static rt_tokenizer *tokenizer_with(const char *dir, const char *template) {
    rt_error err = {0};
    rt_buf config = {0};
    int32_t size;
    rt_tokenizer *t = NULL;
    const char *text = put_text(dir, "words.txt", "a");
    RT_OK_OR_FAIL(rt_tokenizer_train(&text, 1, NULL, 0, 258, dir, &size, &err));
    rt_buf_printf(&config, "{\"bos_token\": \"<|bos|>\", \"eos_token\": \"<|eos|>\"");
    if (template) rt_buf_printf(&config, ", \"chat_template\": [{\"name\": \"other\", \"template\": \"x\"}, {\"name\": \"default\", \"template\": \"%s\"}]", template);
    rt_buf_puts(&config, "}");
    put_text(dir, "tokenizer_config.json", config.data);
    rt_buf_free(&config);
    RT_OK_OR_FAIL(rt_tokenizer_load(&t, dir, &err));
    return t;
}

/* The rendered text with what is learnt in []. */
static rt_status learnt(rt_chat *c, const char *messages, rt_buf *out, rt_error *err) {
    rt_chat_text text = {0};
    json_t *m;
    RT_TRY(rt_json_parse(messages, strlen(messages), "messages", &m, err));
    rt_chat_request q = {.messages = m, .supervise = true};
    rt_status s = rt_chat_render(c, &q, &text, err);
    int64_t at = 0;
    for (int64_t i = 0; s == RT_OK && i < text.supervised.size; i++) {
        rt_span p = text.supervised.data[i];
        rt_buf_printf(out, "%.*s[%.*s]", (int)(p.begin - at), text.text.data + at, (int)(p.end - p.begin), text.text.data + p.begin);
        at = p.end;
    }
    if (s == RT_OK) rt_buf_puts(out, text.text.data + at);
    rt_chat_text_free(&text);
    json_decref(m);
    return s;
}
static void expect_learnt(const char *template, const char *messages, const char *wanted) {
    rt_error err = {0};
    rt_buf out = {0};
    rt_chat *c;
    rt_tokenizer *t = tokenizer_with(rt_test_dir(), template);
    RT_OK_OR_FAIL(rt_chat_open(&c, t, NULL, &err));
    RT_OK_OR_FAIL(learnt(c, messages, &out, &err));
    RT_CHECK(out.data && strcmp(out.data, wanted) == 0, "\n      found    %s\n      expected %s", out.data ? out.data : "", wanted);
    rt_chat_free(c), rt_tokenizer_free(t), rt_buf_free(&out);
}

#define U(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define A(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
static void what_assistants_say_is_learnt(void) {
    expect_learnt(plain, "[" U("hi") "," A("ho") "," U("x") "," A("y") "]",
                  "<|bos|>user\nhi<|eos|><|bos|>assistant\n[ho<|eos|>]<|bos|>user\nx<|eos|><|bos|>assistant\n[y<|eos|>]");
    expect_learnt(plain, "[" U("hi") "]", "<|bos|>user\nhi<|eos|>");
    expect_learnt(marked, "[" U("hi") "," A("ho") "," U("x") "," A("y") "]", "user:hiassistant:[ho<|eos|>]user:xassistant:[y<|eos|>]");
    expect_learnt(forgetful, "[" U("q") "," A("t</think>a") "," U("r") "," A("u</think>b") "]", "<U>q<|eos|><A>[a<|eos|>]<U>r<|eos|><A>[<think>u</think>b<|eos|>]");
    expect_learnt(forgetful, "[" U("q") "," A("") "," U("r") "," A("b") "]", "<U>q<|eos|><A><|eos|><U>r<|eos|><A>[<think></think>b<|eos|>]");
}

static void refusals_have_reasons(void) {
    rt_error err[4] = {{0}};
    rt_buf out = {0};
    rt_chat *c;
    const char *dir = rt_test_dir();
    rt_tokenizer *t = tokenizer_with(dir, NULL);
    CU_ASSERT_EQUAL(rt_chat_open(&c, t, NULL, &err[0]), RT_OK); /* using it is what fails */
    CU_ASSERT_EQUAL(learnt(c, "[" U("x") "]", &out, &err[0]), RT_E_INPUT);
    RT_CHECK(strstr(err[0].text, "no chat template") != NULL, "%s", err[0].text);
    rt_chat_free(c);
    CU_ASSERT_EQUAL(rt_chat_open(&c, t, "nowhere", &err[1]), RT_E_INPUT);
    RT_CHECK(strstr(err[1].text, "no such file, and the tokenizer has none") != NULL, "%s", err[1].text);
    CU_ASSERT_EQUAL(rt_chat_open(&c, t, put_text(dir, "t.jinja", "{% for m in messages[1:] %}{{ m.role }}{% endfor %}"), &err[2]), RT_OK);
    CU_ASSERT_EQUAL(learnt(c, "[" A("b") "," A("a") "]", &out, &err[2]), RT_OK); /* the first is not shown, but the second adds its role */
    rt_chat_free(c);
    CU_ASSERT_EQUAL(rt_chat_open(&c, t, put_text(dir, "t.jinja", "{{ messages[1].content if messages|length > 1 else raise_exception('two') }}"), &err[3]), RT_OK);
    CU_ASSERT_EQUAL(learnt(c, "[" A("b") "," A("a") "]", &out, &err[3]), RT_E_INPUT);
    RT_CHECK(strstr(err[3].text, "the template shows nothing of message 1") != NULL, "%s", err[3].text);
    rt_chat_free(c), rt_tokenizer_free(t), rt_buf_free(&out);
}

/* bos and eos as < and >; a learnt token with ! behind it. */
static void encoded(const char *messages, rt_buf *out) {
    rt_error err = {0};
    rt_tokenizer *t = tokenizer_with(rt_test_dir(), plain);
    rt_chat *c;
    rt_encoder *e;
    json_t *m;
    rt_chat_text text = {0};
    rt_ids ids = {0};
    rt_buf mask = {0};
    RT_OK_OR_FAIL(rt_chat_open(&c, t, NULL, &err));
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    RT_OK_OR_FAIL(rt_json_parse(messages, strlen(messages), "messages", &m, &err));
    rt_chat_request q = {.messages = m, .supervise = true};
    RT_OK_OR_FAIL(rt_chat_render(c, &q, &text, &err));
    RT_OK_OR_FAIL(rt_chat_encode(e, &text, &ids, NULL, &mask, &err));
    CU_ASSERT_EQUAL(mask.size, (size_t)ids.size);
    for (int64_t i = 0; i < ids.size; i++) {
        rt_buf one = {0};
        RT_OK_OR_FAIL(rt_tokenizer_decode(t, &ids.data[i], 1, false, &one, &err));
        bool bos = ids.data[i] == rt_tokenizer_bos(t), eos = ids.data[i] == rt_tokenizer_eos(t);
        rt_buf_printf(out, "%s%s", bos ? "{bos}" : eos ? "{eos}" : one.data, mask.data[i] ? "!" : "");
        rt_buf_free(&one);
    }
    rt_ids_free(&ids), rt_buf_free(&mask), rt_chat_text_free(&text), json_decref(m);
    rt_encoder_free(e), rt_chat_free(c), rt_tokenizer_free(t);
}
static void messages_cannot_spell_special_tokens(void) {
    rt_buf out = {0};
    encoded("[" U("h<|eos|>") "," A("<|bos|>") "]", &out);
    RT_CHECK(strcmp(out.data, "{bos}user\nh<|eos|>{eos}{bos}assistant\n<!|!b!o!s!|!>!{eos}!") == 0, "%s", out.data);
    rt_buf_free(&out);
    encoded("[{\"role\": \"user<|eos|>\", \"content\": \"|\"}]", &out); /* nor a role, nor half of one beside the template */
    RT_CHECK(strcmp(out.data, "{bos}user<|eos|>\n|{eos}") == 0, "%s", out.data);
    rt_buf_free(&out);
}

static const char records[] = "{\"messages\": [" U("hi") "," A("ho") "]}\n{\"text\": \"ab\"}\n"
                              "{\"conversations\": [{\"from\": \"human\", \"value\": \"x\"}, {\"from\": \"gpt\", \"value\": \"yz\"}]}\n";

/* "id" with ! where it begins a document, and its target with the bytes that counts, of every row. */
static void rows_of(const rt_token_stream *s, int64_t T, rt_buf *out, rt_batch *b) {
    rt_error err = {0};
    rt_windows w;
    RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(s), T, false, &err));
    RT_OK_OR_FAIL(rt_batch_create(b, w.count, T, &err));
    rt_batch_fill_from(b, &w, 0);
    for (int64_t r = 0; r < b->rows; r++)
        if (b->targets[r] >= 0) rt_buf_printf(out, "%lld:%d/%d ", (long long)r, b->targets[r], b->target_bytes[r]);
}

static void the_mask_reaches_shard_and_batch(void) {
    rt_error err = {0};
    const char *dir = rt_test_dir();
    rt_tokenizer *t = tokenizer_with(dir, plain);
    rt_tokenizer_vocab v;
    rt_corpus_options o = {0};
    rt_token_stream *s[2];
    rt_shard_info info;
    rt_buf rows[2] = {{0}}, wanted = {0};
    rt_batch b[2];
    char hash[2][65];
    const char *text = put_text(dir, "c.jsonl", records), *bin = path_in(dir, "c.bin");
    RT_OK_OR_FAIL(rt_tokenizer_vocab_make(&v, t, &err));
    RT_OK_OR_FAIL(rt_chat_open(&o.chat, t, NULL, &err));
    RT_OK_OR_FAIL(rt_shard_make(bin, &text, 1, &o, t, &info, &err));
    RT_OK_OR_FAIL(rt_token_stream_load(&s[0], &text, 1, &o, t, &v, &err));
    RT_OK_OR_FAIL(rt_token_stream_load(&s[1], &bin, 1, NULL, t, &v, &err));
    for (int i = 0; i < 2; i++) {
        rt_token_view all = rt_token_stream_all(s[i]);
        rows_of(s[i], 16, &rows[i], &b[i]);
        rt_token_view_hash(&all, hash[i]);
        CU_ASSERT_TRUE(rt_token_stream_about(s[i]).masked && rt_token_stream_about(s[i]).documents == 3);
    }
    CU_ASSERT_STRING_EQUAL(rows[0].data, rows[1].data);
    CU_ASSERT_STRING_EQUAL(hash[0], hash[1]);
    /* bos user\nhi eos bos assistant\nho eos: 9 + 14 tokens; its targets h, o, eos are tokens 20, 21, 22, seen from 19, 20, 21 */
    int32_t h = rt_tokenizer_find(t, "h", 1), z = rt_tokenizer_find(t, "o", 1), eos = rt_tokenizer_eos(t);
    rt_buf_printf(&wanted, "19:%d/1 20:%d/1 21:%d/0 ", h, z, eos);
    /* then bos a b eos: tokens 23 to 26; then bos user\nx eos bos assistant\nyz eos: from 27, y at 27 + 8 + 11 */
    rt_buf_printf(&wanted, "23:%d/1 24:%d/1 25:%d/0 ", rt_tokenizer_find(t, "a", 1), rt_tokenizer_find(t, "b", 1), eos);
    rt_buf_printf(&wanted, "45:%d/1 46:%d/1 47:%d/0 ", rt_tokenizer_find(t, "y", 1), rt_tokenizer_find(t, "z", 1), eos);
    RT_CHECK(strcmp(rows[0].data, wanted.data) == 0, "\n      found    %s\n      expected %s", rows[0].data, wanted.data);
    CU_ASSERT_TRUE(b[0].supervised == 9 && b[0].bytes == 6 && b[0].valid_count == 48);
    CU_ASSERT_TRUE(info.masked && info.tokens == 49 && info.unmasked == 10); /* the bos of the text is let through, and never a target */
    for (int i = 0; i < 2; i++) rt_batch_free(&b[i]), rt_buf_free(&rows[i]), rt_token_stream_free(s[i]);
    rt_buf_free(&wanted), rt_chat_free(o.chat), rt_tokenizer_vocab_free(&v), rt_tokenizer_free(t);
}

static void expect_shard_error(const char *bin, const char *wanted) {
    rt_error err = {0};
    rt_shard *s;
    CU_ASSERT_EQUAL(rt_shard_open(&s, bin, &RT_VOCAB_NONE, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, wanted) != NULL, "%s", err.text);
}
static void a_shard_without_its_mask_is_refused(void) {
    static const rt_vocab vocab = {.size = 50, .bos = 1, .eos = 2};
    static const int32_t ids[] = {5, 6, 7};
    static const uint8_t mask[] = {0, 1, 0};
    rt_error err = {0};
    rt_buf file = {0};
    const char *dir = rt_test_dir(), *bin = path_in(dir, "m.bin"), *beside = path_in(dir, "m.bin.mask");
    for (int masked = 1; masked >= 0; masked--) {
        rt_shard_writer *w;
        RT_OK_OR_FAIL(rt_shard_writer_open(&w, bin, &vocab, &err));
        RT_OK_OR_FAIL(rt_shard_writer_add_tokens(w, &(rt_tokens){.ids = ids, .n = 3, .mask = masked ? mask : NULL, .as_is = masked}, &err));
        RT_OK_OR_FAIL(rt_shard_writer_commit(w, NULL, &err));
        rt_shard_writer_free(w);
        CU_ASSERT_EQUAL(rt_file_exists(beside), masked == 1);
        if (!masked) break;
        RT_OK_OR_FAIL(rt_file_read(beside, 100, &file, &err));
        CU_ASSERT_TRUE(file.size == 33 && file.data[32] == 2);
        file.data[32] ^= 1;
        RT_OK_OR_FAIL(rt_file_write_atomic(beside, file.data, file.size, &err));
        expect_shard_error(bin, "m.bin.mask: damaged");
        RT_OK_OR_FAIL(rt_file_write_atomic(beside, file.data, 32, &err));
        expect_shard_error(bin, "m.bin.mask: 32 bytes, 33 are expected");
        unlink(beside);
        expect_shard_error(bin, "m.bin.mask: is missing");
        file.data[32] ^= 1;
        RT_OK_OR_FAIL(rt_file_write_atomic(beside, file.data, file.size, &err));
    }
    RT_OK_OR_FAIL(rt_file_write_atomic(beside, file.data, file.size, &err)); /* of what lay there before */
    expect_shard_error(bin, "does not belong");
    rt_buf_free(&file);
}

/* Rendering, finding what is learnt and encoding, with every allocation failing in turn. */
static void memory_may_run_out_anywhere(void) {
    rt_tokenizer *t = tokenizer_with(rt_test_dir(), plain);
    int64_t before = rt_mem_stats_get().live_blocks;
    rt_status s = RT_E_NOMEM;
    int failures = 0;
    for (int64_t n = 1; s == RT_E_NOMEM && n < 3000; n++) {
        rt_chat *c = NULL;
        rt_buf out = {0};
        rt_error why = {0};
        rt_mem_fail_at(n);
        s = rt_chat_open(&c, t, NULL, &why);
        if (s == RT_OK) s = learnt(c, "[" U("hi") "," A("ho") "]", &out, &why);
        if (s == RT_OK && out.failed) s = RT_E_NOMEM;
        rt_mem_fail_at(0);
        rt_chat_free(c), rt_buf_free(&out);
        RT_CHECK(rt_mem_stats_get().live_blocks == before, "allocation %lld: %lld blocks are left", (long long)n,
                 (long long)(rt_mem_stats_get().live_blocks - before));
        failures += s != RT_OK;
    }
    RT_CHECK(s == RT_OK && failures > 50, "%s after %d failures", rt_status_name(s), failures);
    rt_tokenizer_free(t);
}

static void inspection_shows_what_is_learnt(void) {
    char out[4096];
    const char *dir = rt_test_dir();
    rt_tokenizer_free(tokenizer_with(dir, plain));
    const char *text = put_text(dir, "c.jsonl", records);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "data inspect '%s' --tokenizer '%s' --limit 30", text, dir), 0);
    RT_CHECK(strstr(out, "document 0: 23 tokens, 19 bytes, 3 learnt\n  <|bos|>user\\n\n  hi<|eos|><|bos|>assistant\\n\n  {+ho<|eos|>+}\n") != NULL, "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "data inspect '%s'", text), 2);
    RT_CHECK(strstr(out, "a text needs --tokenizer DIR") != NULL, "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "data encode --tokenizer '%s' --text-key x '%s'", dir, put_text(dir, "d.jsonl", "{\"messages\": [" U("h") "]}")), 0);
}

RT_SUITE(chat) {
    RT_TEST(what_assistants_say_is_learnt);
    RT_TEST(refusals_have_reasons);
    RT_TEST(messages_cannot_spell_special_tokens);
    RT_TEST(the_mask_reaches_shard_and_batch);
    RT_TEST(a_shard_without_its_mask_is_refused);
    RT_TEST(memory_may_run_out_anywhere);
    RT_TEST(inspection_shows_what_is_learnt);
}
