/* chat.h - conversations: a tokenizer's chat template, conversations rendered with it, and what of them is learnt.
 *
 * The template is that of the tokenizer's folder (chat_template.jinja, or chat_template in tokenizer_config.json, which
 * may be a list of named ones), rendered as Hugging Face's apply_chat_template does. Learnt ("supervised") is what the
 * assistant says, with the end of its turn: what the template puts within {% generation %}; in a template without it,
 * for each assistant message i what rendering messages 0..i adds to rendering 0..i-1 with add_generation_prompt. Where a
 * template changes earlier turns afterwards (some take out their thinking), or begins the turn in another way than its
 * generation prompt, these texts are no prefixes of the whole: then it is the text that message i's own strings reach
 * from their first byte to their last, and what ends the turn.
 *
 * What a message spells never becomes a special token, also where it spells one: those are found in the template's own
 * text only. Where no message spells one, the ids are those of tokenizing the rendered text, as Hugging Face does.
 * Tokens that are merely added, without being special (<think>, <tool_call>), are found everywhere, as there. */
#ifndef RETORT_TEXT_CHAT_H
#define RETORT_TEXT_CHAT_H
#include <retort/base/json.h>
#include <retort/text/tokenizer.h>

typedef struct rt_chat rt_chat;

/* `which`: NULL, the tokenizer's own (of several the one named "default"); else the name of one of them, or a file
 * holding a template. A tokenizer without a template opens, too, and so does a template that is not understood: using it
 * is what fails, so that data without conversations need none. RT_E_INPUT: `which` is neither a name nor a file. */
rt_status rt_chat_open(rt_chat **out, const rt_tokenizer *t, const char *which, rt_error *err) RT_NODISCARD; /* borrows t */
void rt_chat_free(rt_chat *c); /* NULL is fine */
/* RT_OK when it can be used; else the reason why not. */
rt_status rt_chat_ready(const rt_chat *c, rt_error *err) RT_NODISCARD;
/* The template's text; NULL: there is none. */
const char *rt_chat_source(const rt_chat *c, size_t *bytes);

typedef struct rt_chat_request {
    const json_t *messages; /* [{"role": ..., "content": ...}, ...] */
    const json_t *tools;    /* a list, or NULL: none */
    bool add_generation_prompt;
    bool supervise; /* find what is learnt */
    int64_t now;    /* for strftime_now: seconds since 1970, read as UTC; 0: RT_CHAT_DATE, so that equal data are equal tomorrow */
} rt_chat_request;
enum { RT_CHAT_DATE = 1721952000 }; /* 26 July 2024, which templates that find no clock write */

typedef struct rt_chat_text { /* start with {0} */
    rt_buf text;         /* as rendered: UTF-8 */
    rt_buf data;         /* of every byte 1 where a message supplied it, 0 where the template did */
    rt_spans supervised; /* bytes, ascending, apart */
} rt_chat_text;
void rt_chat_text_free(rt_chat_text *t);
/* Replaces what `out` held. RT_E_INPUT: the template refuses the conversation, or fails, with its line and column. */
rt_status rt_chat_render(const rt_chat *c, const rt_chat_request *q, rt_chat_text *out, rt_error *err) RT_NODISCARD;

/* Appends the ids of a rendered conversation, without anything around them; spans and mask may be NULL. mask gets a byte
 * for each id: 1 where it stands for some byte that is learnt. `e` belongs to the tokenizer of the chat. */
rt_status rt_chat_encode(rt_encoder *e, const rt_chat_text *text, rt_ids *ids, rt_spans *spans, rt_buf *mask,
                         rt_error *err) RT_NODISCARD;

/* Messages of [{"from": "human" | "gpt" | ..., "value": ...}] as [{"role": "user" | "assistant" | ..., "content": ...}];
 * messages that have roles already are taken over. A new reference; NULL with RT_E_INPUT when it is neither. */
rt_status rt_chat_messages(const json_t *given, json_t **messages, rt_error *err) RT_NODISCARD;
/* [system, user] for a prompt; NULL system: none. A new reference; NULL: out of memory. */
json_t *rt_chat_prompt(const char *system, const char *user);
#endif
