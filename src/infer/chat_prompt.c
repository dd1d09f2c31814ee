/* chat_prompt.c - see chat_prompt.h. */
#include <retort/infer/chat_prompt.h>

/* Renders and encodes; mask may be NULL. */
static rt_status encode(const rt_tokenizer *t, rt_chat *c, const rt_chat_request *q, rt_ids *ids, rt_buf *mask, rt_error *err) {
    rt_chat_text text = {0};
    rt_encoder *e;
    RT_TRY(rt_encoder_new(&e, t, err));
    rt_status s = rt_chat_render(c, q, &text, err);
    if (s == RT_OK) s = rt_chat_encode(e, &text, ids, NULL, mask, err);
    rt_chat_text_free(&text);
    rt_encoder_free(e);
    return s;
}

rt_status rt_chat_question_ids(const rt_tokenizer *t, const rt_chat_question *q, rt_ids *ids, rt_error *err) {
    rt_chat *c;
    json_t *messages = rt_chat_prompt(q->system, q->user);
    if (!messages) return rt_fail(err, RT_E_NOMEM, "out of memory: the prompt");
    rt_status s = rt_chat_open(&c, t, q->template, err);
    if (s == RT_OK) {
        s = encode(t, c, &(rt_chat_request){.messages = messages, .add_generation_prompt = true, .now = q->now}, ids, NULL, err);
        rt_chat_free(c);
    }
    json_decref(messages);
    return s;
}

static void add_end(rt_ids *ids, int64_t id) {
    for (int64_t i = 0; i < ids->size; i++)
        if (ids->data[i] == id) return;
    if (id >= 0 && id <= INT32_MAX) rt_ids_add(ids, (int32_t)id);
}

/* The last stretch that is learnt of a made-up exchange is an answer and the end of its turn. */
rt_status rt_chat_end_of_turn(const rt_tokenizer *t, const char *template, rt_ids *ends, rt_error *err) {
    rt_chat *c;
    rt_ids ids = {0};
    rt_buf mask = {0};
    rt_error ignored = {0};
    json_t *messages = rt_chat_prompt(NULL, "a");
    json_t *answer = json_pack("{s:s, s:s}", "role", "assistant", "content", "b");
    if (!messages || json_array_append_new(messages, answer) != 0) return json_decref(messages), rt_fail(err, RT_E_NOMEM, "out of memory: a chat");
    rt_status s = rt_chat_open(&c, t, template, err);
    if (s == RT_OK && encode(t, c, &(rt_chat_request){.messages = messages, .supervise = true}, &ids, &mask, &ignored) == RT_OK)
        for (int64_t i = 0; i < ids.size; i++)
            if (mask.data[i] && rt_tokenizer_is_special(t, ids.data[i])) {
                add_end(ends, ids.data[i]);
                break;
            }
    if (s == RT_OK) rt_chat_free(c);
    json_decref(messages);
    rt_ids_free(&ids), rt_buf_free(&mask);
    return s;
}
