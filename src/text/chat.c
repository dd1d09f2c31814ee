/* chat.c - finding a tokenizer's template, and what it is given beside the messages. */
#include "text/chat_impl.h"
#include <retort/base/file.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEMPLATE = 4 << 20 };

static rt_status keep(rt_chat *c, const char *text, size_t n, const char *name) {
    rt_buf_add(&c->source, text, n);
    c->state = c->source.failed ? RT_E_NOMEM : rt_template_parse(&c->template, text, n, name, &c->why);
    return c->state == RT_E_NOMEM ? c->state : RT_OK;
}

/* A template of a list [{"name": ..., "template": ...}], or the one there is under the name "default". */
static const char *named(const json_t *given, const char *name) {
    const json_t *item;
    size_t i;
    if (json_is_string(given)) return strcmp(name, "default") == 0 ? json_string_value(given) : NULL;
    json_array_foreach(given, i, item) {
        const char *is = json_string_value(json_object_get(item, "name"));
        if (is && strcmp(is, name) == 0) return json_string_value(json_object_get(item, "template"));
    }
    return NULL;
}

static rt_status from_file(rt_chat *c, const char *path, rt_error *err) {
    rt_buf text = {0};
    rt_status s = rt_file_read(path, MAX_TEMPLATE, &text, err);
    if (s == RT_OK) s = keep(c, text.data ? text.data : "", text.size, path);
    rt_buf_free(&text);
    return s;
}

/* The file beside the tokenizer takes precedence over tokenizer_config.json, as in transformers. */
static rt_status find(rt_chat *c, const char *which, rt_error *err) {
    size_t n;
    const char *file = rt_tokenizer_chat_file(c->tokenizer, &n), *name = which ? which : "default";
    if (file && strcmp(name, "default") == 0) return keep(c, file, n, "chat_template.jinja");
    const char *text = named(json_object_get(c->config, "chat_template"), name);
    if (text) return keep(c, text, strlen(text), "chat_template");
    if (which) return rt_file_exists(which) ? from_file(c, which, err)
                                            : rt_fail(err, RT_E_INPUT, "chat template '%.200s': no such file, and the tokenizer has none of that name", which);
    c->state = rt_fail(&c->why, RT_E_INPUT,
                       "the tokenizer has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); "
                       "--chat-template or data.chat_template names a file");
    return RT_OK;
}

static rt_status read_config(rt_chat *c, rt_error *err) {
    size_t n;
    const char *text = rt_tokenizer_config_json(c->tokenizer, &n);
    return text ? rt_json_parse_nul(text, n, "tokenizer_config.json", &c->config, err) : RT_OK;
}

rt_status rt_chat_open(rt_chat **out, const rt_tokenizer *t, const char *which, rt_error *err) {
    rt_chat *c = rt_zalloc(sizeof *c);
    *out = NULL;
    if (!c) return rt_fail(err, RT_E_NOMEM, "out of memory for a chat template");
    c->tokenizer = t;
    rt_status s = read_config(c, err);
    if (s == RT_OK) s = find(c, which, err);
    if (s == RT_E_NOMEM) rt_fail(err, s, "out of memory for a chat template");
    if (s != RT_OK) return rt_chat_free(c), s;
    *out = c;
    return RT_OK;
}

void rt_chat_free(rt_chat *c) {
    if (!c) return;
    rt_template_free(c->template);
    rt_buf_free(&c->source);
    json_decref(c->config);
    rt_free(c);
}

const char *rt_chat_source(const rt_chat *c, size_t *bytes) {
    *bytes = c->source.size;
    return c->source.data;
}

rt_status rt_chat_ready(const rt_chat *c, rt_error *err) {
    return c->state == RT_OK ? RT_OK : rt_fail(err, c->state, "%s", c->why.text);
}

/* ------------------------------------------------------------------ messages */

static json_t *message(const char *role, const json_t *content) {
    json_t *o = json_object();
    if (o && json_object_set_new(o, "role", json_string(role)) == 0 && json_object_set(o, "content", (json_t *)content) == 0) return o;
    json_decref(o);
    return NULL;
}

static const char *usual_role(const char *from) {
    static const char *const roles[][2] = {{"human", "user"}, {"gpt", "assistant"}, {"chatgpt", "assistant"}, {"bot", "assistant"}, {"model", "assistant"}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strcmp(roles[i][0], from) == 0) return roles[i][1];
    return from;
}

static rt_status one_message(const json_t *given, size_t i, json_t **out, rt_error *err) {
    const char *from = json_string_value(json_object_get(given, "from"));
    const json_t *value = json_object_get(given, "value");
    if (json_is_string(json_object_get(given, "role"))) *out = json_incref((json_t *)given);
    else if (from && value) *out = message(usual_role(from), value);
    else return rt_fail(err, RT_E_INPUT, "message %zu has neither \"role\" and \"content\" nor \"from\" and \"value\"", i + 1);
    return *out ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory for a conversation");
}

rt_status rt_chat_messages(const json_t *given, json_t **messages, rt_error *err) {
    json_t *list = json_array(), *item, *one = NULL;
    size_t i;
    rt_status s = list ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory for a conversation");
    *messages = NULL;
    if (s == RT_OK && !json_is_array(given)) s = rt_fail(err, RT_E_INPUT, "a conversation must be a list of messages");
    json_array_foreach(given, i, item) {
        if (s == RT_OK) s = one_message(item, i, &one, err);
        if (s == RT_OK && json_array_append_new(list, one) != 0) s = rt_fail(err, RT_E_NOMEM, "out of memory for a conversation");
    }
    if (s == RT_OK && json_array_size(list) == 0) s = rt_fail(err, RT_E_INPUT, "a conversation without messages");
    if (s != RT_OK) return json_decref(list), s;
    *messages = list;
    return RT_OK;
}

json_t *rt_chat_prompt(const char *system, const char *user) {
    json_t *list = json_array(), *texts[] = {system ? json_string(system) : NULL, json_string(user)};
    static const char *const roles[] = {"system", "user"};
    bool ok = list && texts[1] && (!system || texts[0]);
    for (int i = 0; ok && i < 2; i++)
        if (texts[i]) ok = json_array_append_new(list, message(roles[i], texts[i])) == 0;
    json_decref(texts[0]), json_decref(texts[1]);
    if (!ok) json_decref(list), list = NULL;
    return list;
}
