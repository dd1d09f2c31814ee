/* chat_impl.h - what chat.c and chat_render.c share. */
#ifndef RETORT_SRC_TEXT_CHAT_IMPL_H
#define RETORT_SRC_TEXT_CHAT_IMPL_H
#include "text/template/template.h"
#include <retort/text/chat.h>

struct rt_chat {
    const rt_tokenizer *tokenizer;
    json_t *config; /* tokenizer_config.json, or NULL */
    rt_template *template;
    rt_buf source; /* its text */
    rt_status state; /* why it cannot be used */
    rt_error why;
};
#endif
