/* tok_metaspace.c - old files say add_prefix_space, newer ones prepend_scheme; false can only mean never. */
#include "text/tok_metaspace.h"
#include "text/utf8.h"

rt_status tok_metaspace_load(tok_step *s, const tok_node *json, rt_error *err) {
    static const char *const names[] = {"always", "first", "never", NULL};
    tok_node mark = tok_key(json, "replacement"), scheme = tok_key(json, "prepend_scheme");
    RT_TRY(tok_step_content(s, json, "replacement", NULL, err));
    if (!s->content_bytes || utf8_length((unsigned char)*s->content) != s->content_bytes)
        return tok_fail(&mark, RT_E_INPUT, err, "expected one character");
    bool prefix;
    const char *name;
    RT_TRY(tok_bool(json, "add_prefix_space", true, &prefix, err));
    RT_TRY(tok_string(json, "prepend_scheme", prefix ? "always" : "never", &name, NULL, err));
    RT_TRY(tok_choice(&scheme, name, names, &s->mode, err));
    if (!prefix && s->mode != TOK_PREPEND_NEVER)
        return tok_fail(&scheme, RT_E_INPUT, err, "'%s' contradicts add_prefix_space false", name);
    return RT_OK;
}
