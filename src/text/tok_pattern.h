/* tok_pattern.h - the regular expressions and fixed strings of tokenizer.json, matched by PCRE2 (UTF, UCP, JIT).
 *
 * The files are written for Oniguruma; where the two disagree the expression is rewritten (\s, \S, \w, \W are Unicode's
 * White_Space and word characters; ^ and $ match at lines) or refused (\h, \b, nested classes, (?m)). */
#ifndef TEXT_TOK_PATTERN_H
#define TEXT_TOK_PATTERN_H
#include "text/tok_json.h"
#include "text/tok_text.h"

typedef struct tok_pattern {
    void *code; /* pcre2_code; NULL: none */
} tok_pattern;
typedef struct tok_matcher { /* what a match writes to; one per thread */
    void *data;
} tok_matcher;

rt_status rt_tok_pattern_regex(tok_pattern *p, const char *regex, size_t n, const tok_node *where,
                               rt_error *err) RT_NODISCARD;
rt_status rt_tok_pattern_literal(tok_pattern *p, const char *text, size_t n, const tok_node *where,
                                 rt_error *err) RT_NODISCARD;
/* {"String": ...}, {"Regex": ...} or a plain string, as `pattern` of a component. */
rt_status rt_tok_pattern_load(tok_pattern *p, const tok_node *component, rt_error *err) RT_NODISCARD;
void rt_tok_pattern_free(tok_pattern *p);

rt_status rt_tok_matcher_new(tok_matcher *m, rt_error *err) RT_NODISCARD;
void rt_tok_matcher_free(tok_matcher *m);
/* The first match in s[from..n): *found = false when there is none. s is valid UTF-8. */
rt_status rt_tok_pattern_next(const tok_pattern *p, const tok_matcher *m, const char *s, size_t n, size_t from,
                              tok_range *match, bool *found, rt_error *err) RT_NODISCARD;
#endif
