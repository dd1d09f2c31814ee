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
    rt_bpe_train_options o = {.vocab = 300, .bos_eos = true};
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

RT_SUITE(tokenizer_train) {
    RT_TEST(training_learns_the_frequent_pairs);
    RT_TEST(training_refuses_and_stops);
    RT_TEST(training_runs_out_of_memory_cleanly);
}
