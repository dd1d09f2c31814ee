/* WordPiece: a token with the prefix goes on, any other begins a word after a space. `cleanup` takes the spaces back
 * that English does not put before punctuation and contractions. */
#include "text/tok_step.h"
#include <string.h>

static const char *const cleaned[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                         {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                         {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    RT_TRY(rt_tok_step_content(s, json, "prefix", "##", err));
    return rt_tok_bool(json, "cleanup", true, &s->flag[0], err);
}

static void replace_all(const rt_buf *in, const char *what, const char *with, rt_buf *out) {
    size_t k = strlen(what);
    for (size_t i = 0; i < in->size;) {
        bool hit = in->size - i >= k && memcmp(in->data + i, what, k) == 0;
        if (hit)
            rt_buf_puts(out, with);
        else
            rt_buf_putc(out, in->data[i]);
        i += hit ? k : 1;
    }
}

/* One rule after the other over the whole token: what one makes the next may change. */
static void clean_up(rt_buf *token) {
    for (size_t i = 0; i < sizeof cleaned / sizeof *cleaned; i++) {
        rt_buf next = {0};
        replace_all(token, cleaned[i][0], cleaned[i][1], &next);
        next.failed |= token->failed;
        rt_buf_free(token);
        *token = next;
    }
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)m;
    bool failed = false;
    for (size_t i = 0, n; i < in->size && !failed; i++) {
        rt_buf text = {0};
        const char *token = rt_tok_list_get(in, i, &n);
        bool goes_on = i && n >= s->content_bytes && memcmp(token, s->content, s->content_bytes) == 0;
        if (i && !goes_on) rt_buf_putc(&text, ' ');
        rt_buf_add(&text, token + (goes_on ? s->content_bytes : 0), n - (goes_on ? s->content_bytes : 0));
        if (s->flag[0]) clean_up(&text);
        rt_tok_list_add(out, text.data ? text.data : "", text.size);
        failed = text.failed;
        rt_buf_free(&text);
    }
    return failed ? rt_tok_out_of_memory(err) : RT_OK;
}

const tok_kind rt_tok_decoder_wordpiece = {.type = "WordPiece", .load = load, .decode = run, .each_token = true};
