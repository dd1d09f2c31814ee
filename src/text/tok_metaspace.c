/* tok_metaspace.c - old files say add_prefix_space, newer ones prepend_scheme; false can only mean never. */
#include "text/tok_metaspace.h"
#include "text/utf8.h"

rt_status rt_tok_metaspace_load(tok_step *s, const tok_node *json, rt_error *err) {
    static const char *const names[] = {"always", "first", "never", NULL};
    tok_node mark = rt_tok_key(json, "replacement"), scheme = rt_tok_key(json, "prepend_scheme");
    RT_TRY(rt_tok_step_content(s, json, "replacement", NULL, err));
    if (!s->content_bytes || rt_utf8_length((unsigned char)*s->content) != s->content_bytes)
        return rt_tok_fail(&mark, RT_E_INPUT, err, "expected one character");
    bool prefix;
    const char *name;
    RT_TRY(rt_tok_bool(json, "add_prefix_space", true, &prefix, err));
    RT_TRY(rt_tok_string(json, "prepend_scheme", prefix ? "always" : "never", &name, NULL, err));
    RT_TRY(rt_tok_choice(&scheme, name, names, &s->mode, err));
    if (!prefix && s->mode != TOK_PREPEND_NEVER)
        return rt_tok_fail(&scheme, RT_E_INPUT, err, "'%s' contradicts add_prefix_space false", name);
    return RT_OK;
}
