/* chat_render.c - a conversation to text, what of it is learnt, and its ids. */
#include "text/chat_impl.h"
#include "text/template/run.h"
#include <string.h>

enum { VARIABLES = 24 };

typedef struct scene {
    const rt_chat *chat;
    const rt_chat_request *q;
    tpl_scene *values;
    tpl_list messages; /* all of them, as the template sees them */
    tpl_binding variables[VARIABLES];
    size_t n;
} scene;

static void bind(scene *s, const char *name, tpl_value v) {
    if (s->n < VARIABLES) s->variables[s->n++] = (tpl_binding){name, v};
}

/* Every "..._token" of the configuration, as the tokenizer's special_tokens_map has it; bos and eos also where only the
 * tokenizer itself knows them. */
static void bind_tokens(scene *s) {
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};
    int32_t ids[] = {rt_tokenizer_bos(s->chat->tokenizer), rt_tokenizer_eos(s->chat->tokenizer), -1, -1, -1, -1, -1};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = json_object_get(s->chat->config, names[i]);
        const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
        if (!text && !v && ids[i] >= 0) text = rt_tokenizer_token(s->chat->tokenizer, ids[i], NULL);
        if (text) bind(s, names[i], tpl_text(text));
    }
}

static tpl_value message(tpl_run *r, const json_t *m, uint16_t mark) {
    if (!json_is_object(m)) return tpl_fail(r, NULL, RT_E_INPUT, "a message must be an object");
    return tpl_from_object(r, m, mark, TPL_DATA);
}

static rt_status open_scene(scene *s, rt_error *err) {
    int64_t now = s->q->now ? s->q->now : RT_CHAT_DATE;
    size_t n = json_array_size(s->q->messages);
    RT_TRY(tpl_scene_new(&s->values, s->chat->template, now, err));
    tpl_run *r = tpl_scene_run(s->values);
    if (n > TPL_MESSAGES) return rt_fail(err, RT_E_INPUT, "a conversation of %zu messages, at most %d are possible", n, TPL_MESSAGES);
    tpl_value all = tpl_list_new(r, n);
    for (size_t i = 0; !tpl_failed(r) && i < n; i++) all.list->items[i] = message(r, json_array_get(s->q->messages, i), (uint16_t)(i + 1));
    if (tpl_failed(r)) return r->status;
    s->messages = *all.list;
    bind(s, "messages", TPL_NOTHING); /* filled in for each rendering */
    bind(s, "add_generation_prompt", TPL_NOTHING);
    bind(s, "tools", s->q->tools && !json_is_null(s->q->tools) ? tpl_from_json(r, s->q->tools, TPL_DATA) : tpl_none());
    bind(s, "documents", tpl_none());
    bind_tokens(s);
    return r->status;
}

/* The first n messages; the text lives until the next rendering. */
static rt_status render(scene *s, size_t n, bool prompt, rt_error *err, tpl_value *out) {
    tpl_list first = {s->messages.items, n};
    s->variables[0].value = (tpl_value){.kind = TPL_LIST, .list = &first};
    s->variables[1].value = tpl_bool(prompt);
    return tpl_render(s->values, s->variables, s->n, err, out);
}

/* ---------------------------------------------------------------- supervised */

typedef struct whole { /* the whole conversation, copied */
    const char *text;
    const uint16_t *marks;
    size_t n;
} whole;

static void add_span(rt_spans *spans, size_t begin, size_t end) {
    rt_span *last = spans->size ? &spans->data[spans->size - 1] : NULL;
    if (begin >= end) return;
    if (last && last->end >= (int64_t)begin) last->end = last->end > (int64_t)end ? last->end : (int64_t)end;
    else rt_spans_add(spans, (rt_span){(int64_t)begin, (int64_t)end});
}

static bool generated(const whole *w, rt_spans *spans) {
    bool any = false;
    for (size_t i = 0; i < w->n; i++)
        if (w->marks[i] & TPL_GENERATED) add_span(spans, i, i + 1), any = true;
    return any;
}

/* [*begin, *end): from the first byte of message i's strings to behind the last; false: none of them is there. */
static bool located(const uint16_t *marks, size_t n, size_t i, size_t *begin, size_t *end) {
    *begin = n, *end = 0;
    for (size_t k = 0; marks && k < n; k++)
        if ((marks[k] & TPL_DATA) == i + 1) *begin = *begin < k ? *begin : k, *end = k + 1;
    return *begin < *end;
}

/* What ends the turn: the text behind message i where it is the last one, as far as the whole goes on alike. */
static size_t turn_end(const whole *w, size_t end, tpl_value alone, size_t i) {
    size_t first, own;
    if (!located(alone.marks, alone.n, i, &first, &own)) return end;
    while (own < alone.n && end < w->n && alone.s[own] == w->text[end]) own++, end++;
    return end;
}

static bool begins_with(const whole *w, tpl_value v) { return v.n <= w->n && (v.n == 0 || memcmp(w->text, v.s, v.n) == 0); }

static bool silent(const json_t *m) { /* a message that says nothing */
    const json_t *content = json_object_get(m, "content");
    return !content || json_is_null(content) || (json_is_string(content) && json_string_length(content) == 0);
}

/* One assistant message. A rendering that the template refuses (a conversation must begin with the user) is no prefix. */
static rt_status supervise(scene *s, const whole *w, size_t i, rt_spans *spans, rt_error *err) {
    size_t prefix = 0, begin, end, all = s->messages.n;
    tpl_value v;
    rt_error ignored = {0};
    rt_status status = render(s, i, true, &ignored, &v);
    bool prefixed = status == RT_OK && begins_with(w, v);
    prefix = v.n;
    rt_error_clear(&ignored);
    if (status != RT_E_NOMEM) status = render(s, i + 1, false, &ignored, &v);
    if (status == RT_E_NOMEM) return rt_fail(err, status, "out of memory for a conversation");
    bool last = i + 1 == all && !s->q->add_generation_prompt, whole_known = last || (status == RT_OK && begins_with(w, v));
    if (prefixed && whole_known && prefix <= (last ? w->n : v.n)) return add_span(spans, prefix, last ? w->n : v.n), RT_OK;
    if (located(w->marks, w->n, i, &begin, &end)) return add_span(spans, begin, last ? w->n : status == RT_OK ? turn_end(w, end, v, i) : end), RT_OK;
    if (silent(json_array_get(s->q->messages, i))) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: the template shows nothing of message %zu, so it cannot be learnt", rt_template_name(s->chat->template), i + 1);
}

static rt_status supervise_all(scene *s, const whole *w, rt_spans *spans, rt_error *err) {
    if (generated(w, spans)) return RT_OK;
    for (size_t i = 0; i < s->messages.n; i++) {
        const char *role = json_string_value(json_object_get(json_array_get(s->q->messages, i), "role"));
        if (role && strcmp(role, "assistant") == 0) RT_TRY(supervise(s, w, i, spans, err));
    }
    return RT_OK;
}

/* ----------------------------------------------------------------- interface */

static rt_status take(scene *s, tpl_value v, rt_chat_text *out, rt_error *err) {
    rt_buf marks = {0};
    static const uint16_t template_only = 0;
    rt_buf_add(&out->text, v.s, v.n);
    for (size_t i = 0; i < v.n; i++) {
        const uint16_t *mark = v.marks ? &v.marks[i] : &template_only;
        rt_buf_putc(&out->data, (*mark & TPL_DATA) != 0);
        if (s->q->supervise) rt_buf_add(&marks, mark, sizeof *mark);
    }
    whole w = {out->text.data, (const uint16_t *)(void *)marks.data, v.n};
    rt_status status = RT_OK;
    if (out->text.failed || out->data.failed || marks.failed) status = rt_fail(err, RT_E_NOMEM, "out of memory for a conversation");
    if (status == RT_OK && s->q->supervise) status = supervise_all(s, &w, &out->supervised, err);
    if (status == RT_OK && out->supervised.failed) status = rt_fail(err, RT_E_NOMEM, "out of memory for a conversation");
    rt_buf_free(&marks);
    return status;
}

rt_status rt_chat_render(const rt_chat *c, const rt_chat_request *q, rt_chat_text *out, rt_error *err) {
    scene s = {.chat = c, .q = q};
    tpl_value v;
    out->text.size = out->data.size = 0, out->supervised.size = 0;
    RT_TRY(rt_chat_ready(c, err));
    rt_status status = open_scene(&s, err);
    if (status == RT_OK) status = render(&s, s.messages.n, q->add_generation_prompt, err, &v);
    if (status == RT_OK) status = take(&s, v, out, err);
    tpl_scene_free(s.values);
    return status;
}

void rt_chat_text_free(rt_chat_text *t) {
    rt_buf_free(&t->text);
    rt_buf_free(&t->data);
    rt_spans_free(&t->supervised);
}

/* 1 for each id that stands for some byte of a supervised span. Both lists ascend. */
static void add_mask(const rt_chat_text *text, const rt_span *spans, int64_t n, rt_buf *mask) {
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        while (k < text->supervised.size && text->supervised.data[k].end <= spans[i].begin) k++;
        bool inside = k < text->supervised.size && text->supervised.data[k].begin < spans[i].end && spans[i].begin < spans[i].end;
        rt_buf_putc(mask, inside);
    }
}

rt_status rt_chat_encode(rt_encoder *e, const rt_chat_text *text, rt_ids *ids, rt_spans *spans, rt_buf *mask, rt_error *err) {
    rt_spans own = {0}, *to = spans ? spans : &own;
    int64_t before = to->size;
    const char *bytes = text->text.data ? text->text.data : "";
    rt_status s = rt_encoder_encode_data(e, bytes, text->text.size, (const uint8_t *)text->data.data, false, ids, to, err);
    if (s == RT_OK && mask) add_mask(text, to->data + before, to->size - before, mask);
    rt_spans_free(&own);
    return s == RT_OK && mask && mask->failed ? rt_fail(err, RT_E_NOMEM, "out of memory for a conversation") : s;
}
