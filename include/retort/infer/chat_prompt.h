/* chat_prompt.h - asking a model in its own form: a prompt in the tokenizer's chat template, and what ends an answer. */
#ifndef RETORT_INFER_CHAT_PROMPT_H
#define RETORT_INFER_CHAT_PROMPT_H
#include <retort/text/chat.h>

typedef struct rt_chat_question {
    const char *system, *user; /* system: NULL, none */
    const char *template;      /* as rt_chat_open's `which` */
    int64_t now;               /* as rt_chat_request's */
} rt_chat_question;
/* Appends the ids of the question, up to where the answer begins. */
rt_status rt_chat_question_ids(const rt_tokenizer *t, const rt_chat_question *q, rt_ids *ids, rt_error *err) RT_NODISCARD;
/* Appends what ends an answer: the first special token that the template puts behind what an assistant says, if there is one. */
rt_status rt_chat_end_of_turn(const rt_tokenizer *t, const char *template, rt_ids *ends, rt_error *err) RT_NODISCARD;
#endif
