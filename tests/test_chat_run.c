/* test_chat_run.c - training on conversations: only what assistants say counts, in the loss, in N, in evaluation. */
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/train/run.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char template[] = "{% for m in messages %}<|bos|>{{ m.role[0] }} {{ m.content }}<|eos|>{% endfor %}{% if add_generation_prompt %}<|bos|>a {% endif %}";
static char train_set[700], valid_set[700], template_set[700];

/* 40 conversations of one question and one answer; every tenth has no answer. */
static void make_files(void) {
    rt_error err = {0};
    rt_buf b = {0};
    char path[600];
    const char *dir = rt_test_dir();
    for (int i = 0; i < 40; i++) {
        rt_buf_printf(&b, "{\"messages\": [{\"role\": \"user\", \"content\": \"what is %d and %d\"}", i, 2 * i);
        if (i % 10) rt_buf_printf(&b, ", {\"role\": \"assistant\", \"content\": \"it is %d\"}", 3 * i);
        rt_buf_puts(&b, "]}\n");
    }
    snprintf(path, sizeof path, "%s/chat.jsonl", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    snprintf(train_set, sizeof train_set, "data.train=%s", path);
    snprintf(valid_set, sizeof valid_set, "data.valid=%s", path);
    snprintf(path, sizeof path, "%s/t.jinja", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, template, strlen(template), &err));
    snprintf(template_set, sizeof template_set, "data.chat_template=%s", path);
    rt_buf_free(&b);
}

static rt_trainer *opened(rt_job *job, const char *batch, const char *accumulate) {
    rt_error err = {0};
    rt_trainer *t = NULL;
    RT_TINY_JOB(job, NULL, train_set, valid_set, template_set, batch, accumulate, "projector.kind=factored",
                "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}, {loss: router_z, weight: 0.1}]");
    RT_OK_OR_FAIL(rt_trainer_open(&t, job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_begin(t, NULL, NULL, &err));
    return t;
}

static void accumulation_is_the_same_with_a_mask(void) {
    rt_job wide, long_one;
    rt_error err = {0};
    rt_step_report x, y;
    double length = 0, difference = 0;
    make_files();
    rt_trainer *a = opened(&wide, "data.batch=8", "data.accumulate=1"), *b = opened(&long_one, "data.batch=1", "data.accumulate=8");
    RT_OK_OR_FAIL(rt_trainer_step(a, &x, &err));
    RT_OK_OR_FAIL(rt_trainer_step(b, &y, &err));
    for (int64_t i = 0; i < a->student.grads.count; i++)
        for (int64_t k = 0; k < rt_tensor_count(&a->student.grads.slots[i].t); k++) {
            double g = rt_get(&a->student.grads.slots[i].t, k), d = g - rt_get(&b->student.grads.slots[i].t, k);
            length += g * g, difference += d * d;
        }
    RT_CHECK(x.tokens == y.tokens && x.tokens > 0 && x.tokens < 4 * 32, "%lld, %lld tokens", (long long)x.tokens, (long long)y.tokens);
    CU_ASSERT_DOUBLE_EQUAL(x.total, y.total, 1e-6 * x.total);
    RT_CHECK(length > 0 && difference < 1e-10 * length, "gradients of squared length %g differ by %g", length, difference);
    rt_trainer_close(a), rt_trainer_close(b);
    rt_job_free(&wide), rt_job_free(&long_one);
}

/* Counted by hand: an answer "it is N" has its ids and the end token; bytes are those of "it is N". */
static void evaluation_counts_the_answers_alone(void) {
    rt_job job;
    rt_error err = {0};
    rt_evaluation v;
    int64_t tokens = 0, bytes = 0;
    make_files();
    rt_trainer *t = opened(&job, "data.batch=4", "data.accumulate=1");
    for (int i = 0; i < 40; i++) {
        char answer[32];
        rt_ids ids = {0};
        int n = snprintf(answer, sizeof answer, "a it is %d", 3 * i);
        if (i % 10 == 0) continue;
        RT_OK_OR_FAIL(rt_tokenizer_encode(t->data.tokenizer, answer, (size_t)n, false, &ids, &err));
        int64_t before = 0; /* ids of "a ": those that are not learnt */
        for (rt_buf text = {0}; before < ids.size; before++) {
            RT_OK_OR_FAIL(rt_tokenizer_decode(t->data.tokenizer, ids.data, before + 1, false, &text, &err));
            size_t reached = text.size;
            rt_buf_free(&text);
            if (reached > 2) break;
        }
        for (int64_t k = before; k < ids.size; k++) bytes += rt_tokenizer_token_bytes(t->data.tokenizer, ids.data[k]);
        tokens += ids.size - before + 1;
        rt_ids_free(&ids);
    }
    RT_OK_OR_FAIL(rt_trainer_evaluate(t, &v, &err));
    RT_CHECK(v.tokens == tokens && v.bytes == (double)bytes, "%lld tokens of %g bytes, expected %lld of %lld", (long long)v.tokens, v.bytes,
             (long long)tokens, (long long)bytes);
    CU_ASSERT_DOUBLE_EQUAL(v.bits_per_byte, v.ce * (double)tokens / (log(2) * (double)bytes), 1e-12 * v.bits_per_byte);
    rt_trainer_close(t);
    rt_job_free(&job);
}

/* A step of questions alone has nothing to learn from, and must not poison the weights. */
static void a_step_without_targets_is_harmless(void) {
    rt_job job;
    rt_error err = {0};
    rt_step_report r;
    rt_buf b = {0};
    char path[600], set[700];
    make_files();
    for (int i = 0; i < 40; i++) rt_buf_printf(&b, "{\"messages\": [{\"role\": \"user\", \"content\": \"what is %d\"}]}\n", i);
    snprintf(path, sizeof path, "%s/questions.jsonl", rt_test_dir());
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    snprintf(set, sizeof set, "data.train=%s", path);
    RT_TINY_JOB(&job, NULL, set, valid_set, template_set);
    rt_trainer *t = NULL;
    RT_OK_OR_FAIL(rt_trainer_open(&t, &job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_begin(t, NULL, NULL, &err));
    RT_OK_OR_FAIL(rt_trainer_step(t, &r, &err));
    CU_ASSERT_TRUE(r.tokens == 0 && isfinite(r.total) && isfinite(r.optim.grad_norm));
    rt_trainer_close(t);
    rt_job_free(&job);
    rt_buf_free(&b);
}

/* Weights of sources and a mask, interrupted and continued: the same bits, the same log. */
static void a_weighted_run_is_resumed_exactly(void) {
    char out[2][600], two[1500], run_a[4096], path[4200];
    make_files();
    snprintf(two, sizeof two, "data.train=['%s', '%s']", train_set + 11, rt_tiny_files()->train);
    for (int i = 0; i < 2; i++) snprintf(out[i], sizeof out[i], "%s/run", rt_test_dir());
    snprintf(run_a, sizeof run_a, "%s", RT_TINY_RUN(out[0], two, valid_set, template_set, "data.weights=[2.5, 0.3]", "schedule.steps=12"));
    RT_TINY_RUN(out[1], two, valid_set, template_set, "data.weights=[2.5, 0.3]", "schedule.steps=12", "run.stop_after=7");
    rt_buf kept = {0};
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/chat_template.jinja", run_a);
    RT_OK_OR_FAIL(rt_file_read(path, 10000, &kept, &err)); /* the template goes with the model */
    CU_ASSERT_TRUE(kept.size == strlen(template) && memcmp(kept.data, template, kept.size) == 0);
    rt_buf_free(&kept);
    rt_same_checkpoint(run_a, RT_TINY_RESUME(out[1], two, valid_set, template_set, "data.weights=[2.5, 0.3]", "schedule.steps=12"), NULL);
    json_t *runs = rt_log_records(out[0], "run"), *sources = json_object_get(json_array_get(runs, 0), "sources");
    json_t *second = json_array_get(sources, 1);
    int64_t windows = json_integer_value(json_object_get(second, "windows"));
    CU_ASSERT_TRUE(windows > 10 && json_integer_value(json_object_get(second, "windows_per_epoch")) == llround(0.3 * (double)windows));
    json_decref(runs);
}

RT_SUITE(chat_run) {
    RT_TEST(accumulation_is_the_same_with_a_mask);
    RT_TEST(evaluation_counts_the_answers_alone);
    RT_TEST(a_step_without_targets_is_harmless);
    RT_TEST(a_weighted_run_is_resumed_exactly);
}
