/* test_tokenizer_train.c - learning a byte-level BPE. */
#include "tokenizer_kit.h"
#include <retort/base/mem.h>
#include <retort/text/bpe_train.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

static void training_learns_the_frequent_pairs(void) {
    rt_buf json = {0};
    rt_tokenizer *t = tok_trained(275, &json);
    CU_ASSERT_EQUAL(rt_tokenizer_size(t), 275);
    CU_ASSERT_STRING_EQUAL(rt_tokenizer_token(t, 258, NULL), "at"); /* 15 times */
    CU_ASSERT(rt_tokenizer_find(t, "\u0120the", 5) > 0 && rt_tokenizer_find(t, "\u0120cat", 5) > 0);
    CU_ASSERT_EQUAL(rt_tokenizer_token_bytes(t, rt_tokenizer_find(t, "\u0120the", 5)), 4);
    CU_ASSERT(rt_tokenizer_bos(t) == 0 && rt_tokenizer_eos(t) == 1 && rt_tokenizer_adds_bos(t) &&
              rt_tokenizer_adds_eos(t));
    rt_buf again = {0};
    rt_tokenizer *u = tok_trained(275, &again);
    CU_ASSERT(again.size == json.size && memcmp(again.data, json.data, json.size) == 0);
    rt_encoder *e = NULL;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    CU_ASSERT(tok_check_text(e, t, tok_rhyme, strlen(tok_rhyme), NULL, tok_rhyme));
    rt_encoder_free(e), rt_tokenizer_free(t), rt_tokenizer_free(u), rt_buf_free(&json), rt_buf_free(&again);
}

static void training_refuses_and_stops(void) {
    rt_buf json = {0};
    rt_bpe_train_options o = {.vocab = 200};
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_bpe_train("a", 1, &o, &json, &err), RT_E_ARG);
    o.vocab = 300;
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_bpe_train("a\xff", 2, &o, &json, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "byte 1"));
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_bpe_train("", 0, &o, &json, &err));
    rt_tokenizer *t = tok_from_text(json.data);
    CU_ASSERT_EQUAL(rt_tokenizer_size(t), 256);
    rt_tokenizer_free(t), rt_buf_free(&json);
}

static void training_runs_out_of_memory_cleanly(void) {
    static const char *const special[] = {"<|user|>"};
    rt_bpe_train_options o = {
        .vocab = 300, .bos_eos = true, .pattern = RT_WORDS_LLAMA3, .special = special, .special_count = 1};
    rt_mem_stats before = rt_mem_stats_get();
    rt_buf json = {0};
    int64_t calls = 1;
    for (int64_t n = 0; n <= calls; n++) { /* n = 0: none fails, to count them */
        rt_error_clear(&err);
        rt_mem_fail_at(n);
        rt_status s = rt_bpe_train(tok_rhyme, strlen(tok_rhyme), &o, &json, &err);
        rt_mem_fail_at(0);
        if (n == 0) calls = rt_mem_stats_get().calls - before.calls;
        rt_buf_free(&json);
        if (s != RT_OK && (s != RT_E_NOMEM || n == 0)) RT_FAILF("allocation %d: %s", (int)n, err.text);
        if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("allocation %d leaks", (int)n);
    }
    CU_ASSERT(calls > 50);
}

static rt_tokenizer *with_pattern(rt_word_pattern pattern) {
    static const char text[] = "in 12345 of 12345, or 12345 and 12345";
    rt_bpe_train_options o = {.vocab = 400, .pattern = pattern};
    rt_buf json = {0};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_bpe_train(text, strlen(text), &o, &json, &err));
    rt_tokenizer *t = tok_from_text(json.data);
    rt_buf_free(&json);
    return t;
}
static bool learned(const rt_tokenizer *t, const char *token) {
    return rt_tokenizer_find(t, token, strlen(token)) >= 0;
}
static void training_cuts_words_by_the_pattern(void) { /* digits in a run, three at most, one by one */
    rt_tokenizer *gpt2 = with_pattern(RT_WORDS_GPT2), *llama3 = with_pattern(RT_WORDS_LLAMA3),
                 *qwen2 = with_pattern(RT_WORDS_QWEN2);
    CU_ASSERT(learned(gpt2, "\u012012345"));
    CU_ASSERT(learned(llama3, "123") && learned(llama3, "45") && !learned(llama3, "\u01201") && !learned(llama3, "34"));
    CU_ASSERT(!learned(qwen2, "12") && !learned(qwen2, "45") && learned(qwen2, "1"));
    rt_tokenizer_free(gpt2), rt_tokenizer_free(llama3), rt_tokenizer_free(qwen2);
}

static void training_takes_special_tokens(void) {
    static const char *const special[] = {"<|user|>", "<|tool|>"};
    rt_bpe_train_options o = {.vocab = 270, .bos_eos = true, .special = special, .special_count = 2};
    rt_buf json = {0};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_bpe_train(tok_rhyme, strlen(tok_rhyme), &o, &json, &err));
    rt_tokenizer *t = tok_from_text(json.data);
    CU_ASSERT(rt_tokenizer_size(t) == 270 && rt_tokenizer_find(t, "<|tool|>", 8) == 3);
    CU_ASSERT(rt_tokenizer_is_special(t, 2) && rt_tokenizer_is_special(t, 3) && !rt_tokenizer_is_special(t, 4));
    CU_ASSERT_STRING_EQUAL(tok_ids(t, "<|tool|><|user|>", false), "3 2");
    rt_tokenizer_free(t), rt_buf_free(&json);
}

static void special_tokens_are_checked(void) {
    static const struct {
        const char *token, *part;
    } cases[] = {
        {"", "is empty"}, {"\xff", "not valid UTF-8"}, {"<|eos|>", "given twice"}, {"a", "character of a byte"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_bpe_train_options o = {.vocab = 300, .bos_eos = true, .special = &cases[i].token, .special_count = 1};
        rt_buf json = {0};
        rt_error_clear(&err);
        CU_ASSERT_EQUAL(rt_bpe_train("a", 1, &o, &json, &err), RT_E_ARG);
        RT_CHECK(strstr(err.text, cases[i].part), "'%s', expected '%s'", err.text, cases[i].part);
        rt_buf_free(&json);
    }
}

RT_SUITE(tokenizer_train) {
    RT_TEST(training_learns_the_frequent_pairs);
    RT_TEST(training_cuts_words_by_the_pattern);
    RT_TEST(training_takes_special_tokens);
    RT_TEST(special_tokens_are_checked);
    RT_TEST(training_refuses_and_stops);
    RT_TEST(training_runs_out_of_memory_cleanly);
}
