/* tok_pattern.c - PCRE2 behind a small interface, and the dialect of the files made ours. */
#include "text/tok_pattern.h"
#include <stdio.h>
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static void *allocate(size_t bytes, void *unused) {
    (void)unused;
    return rt_alloc(bytes);
}
static void release(void *block, void *unused) {
    (void)unused;
    rt_free(block);
}

/* ---- dialect ---- */

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* What an escape becomes, NULL when it means the same in both dialects, "" when it cannot be said in PCRE2 here. */
static const char *escape(char c, bool in_class) {
    switch (c) {
    case 's':
        return "\\p{White_Space}";
    case 'S':
        return "\\P{White_Space}";
    case 'w':
        return in_class ? WORD : "[" WORD "]";
    case 'W':
        return in_class ? "" : "[^" WORD "]";
    case 'b':
    case 'B':
    case 'h':
    case 'H':
    case 'X':
    case 'Z':
        return "";
    default:
        return NULL;
    }
}

static bool starts(const char *s, size_t n, const char *word) {
    return n >= strlen(word) && memcmp(s, word, strlen(word)) == 0;
}

static rt_status translate(const char *regex, size_t n, rt_buf *out, const tok_node *where, rt_error *err) {
    bool in_class = false;
    for (size_t i = 0; i < n; i++) {
        char c = regex[i];
        const char *became = c == '\\' && i + 1 < n ? escape(regex[i + 1], in_class) : NULL;
        bool nested = in_class && ((c == '[' && !starts(regex + i, n - i, "[:")) || starts(regex + i, n - i, "&&"));
        if (nested || (became && !*became) || (!in_class && starts(regex + i, n - i, "(?m")))
            return rt_tok_fail(where, RT_E_UNSUPPORTED, err, "the expression uses '%.2s', which is not supported",
                               regex + i);
        if (became)
            rt_buf_puts(out, became), i++;
        else if (c == '\\' && i + 1 < n)
            rt_buf_add(out, regex + i++, 2);
        else {
            rt_buf_putc(out, c);
            size_t open = i + 1 + (i + 1 < n && regex[i + 1] == '^');
            if (c == '[' && !in_class) {
                in_class = true;
                if (open < n && regex[open] == ']') { /* a leading ] is literal */
                    rt_buf_add(out, regex + i + 1, open - i);
                    i = open;
                }
            } else if (starts(regex + i, n - i, "[:")) {
                rt_buf_putc(out, regex[++i]);
                while (i + 1 < n && regex[i] != ']') rt_buf_putc(out, regex[++i]);
            } else if (c == ']')
                in_class = false;
        }
    }
    return out->failed ? rt_tok_fail(where, RT_E_NOMEM, err, "out of memory") : RT_OK;
}

/* ---- compiling ---- */

static rt_status compile(tok_pattern *p, const char *text, size_t n, uint32_t options, const tok_node *where,
                         rt_error *err) {
    pcre2_general_context *memory = pcre2_general_context_create(allocate, release, NULL);
    pcre2_compile_context *context = memory ? pcre2_compile_context_create(memory) : NULL;
    int code = PCRE2_ERROR_NOMEMORY;
    size_t at = 0;
    if (context) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        p->code = pcre2_compile((PCRE2_SPTR)text, n, options | PCRE2_UTF, &code, &at, context);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    if (p->code) {
        pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* a failure only costs speed */
        return RT_OK;
    }
    if (code == PCRE2_ERROR_NOMEMORY || code == 121 /* heap */)
        return rt_tok_fail(where, RT_E_NOMEM, err, "out of memory");
    PCRE2_UCHAR text_of[128];
    pcre2_get_error_message(code, text_of, sizeof text_of);
    return rt_tok_fail(where, RT_E_UNSUPPORTED, err, "the expression does not compile at byte %zu: %s", at,
                       (char *)text_of);
}

rt_status rt_tok_pattern_regex(tok_pattern *p, const char *regex, size_t n, const tok_node *where, rt_error *err) {
    rt_buf ours = {0};
    rt_status s = translate(regex, n, &ours, where, err);
    if (s == RT_OK) s = compile(p, ours.data ? ours.data : "", ours.size, PCRE2_UCP | PCRE2_MULTILINE, where, err);
    rt_buf_free(&ours);
    return s;
}
rt_status rt_tok_pattern_literal(tok_pattern *p, const char *text, size_t n, const tok_node *where, rt_error *err) {
    if (n == 0) return rt_tok_fail(where, RT_E_INPUT, err, "the pattern is empty");
    return compile(p, text, n, PCRE2_LITERAL, where, err);
}

rt_status rt_tok_pattern_load(tok_pattern *p, const tok_node *component, rt_error *err) {
    tok_node pattern = rt_tok_key(component, "pattern"), regex = rt_tok_key(&pattern, "Regex"),
             string = rt_tok_key(&pattern, "String");
    const char *text;
    size_t n;
    if (json_is_string(pattern.json))
        string = pattern;
    else
        RT_TRY(rt_tok_expect(&pattern, JSON_OBJECT, err));
    tok_node *given = regex.json ? &regex : &string;
    RT_TRY(rt_tok_text_of(given, &text, &n, err));
    return regex.json ? rt_tok_pattern_regex(p, text, n, given, err) : rt_tok_pattern_literal(p, text, n, given, err);
}

void rt_tok_pattern_free(tok_pattern *p) {
    pcre2_code_free(p->code);
    p->code = NULL;
}

/* ---- matching ---- */

rt_status rt_tok_matcher_new(tok_matcher *m, rt_error *err) {
    pcre2_general_context *memory = pcre2_general_context_create(allocate, release, NULL);
    m->data = memory ? pcre2_match_data_create(1, memory) : NULL;
    pcre2_general_context_free(memory);
    return m->data ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory for a pattern's matches");
}
void rt_tok_matcher_free(tok_matcher *m) {
    pcre2_match_data_free(m->data);
    m->data = NULL;
}

rt_status rt_tok_pattern_next(const tok_pattern *p, const tok_matcher *m, const char *s, size_t n, size_t from,
                              tok_range *match, bool *found, rt_error *err) {
    PCRE2_SPTR text = (PCRE2_SPTR)s;
    int rc = pcre2_match(p->code, text, n, from, PCRE2_NO_UTF_CHECK, m->data, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(p->code, text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, NULL);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH) return RT_OK;
    if (rc == PCRE2_ERROR_NOMEMORY || rc == PCRE2_ERROR_HEAPLIMIT)
        return rt_fail(err, RT_E_NOMEM, "out of memory in a pattern");
    if (rc < 0)
        return rt_fail(err, RT_E_INPUT, "a pattern gave up at byte %zu of a piece of text (PCRE2 error %d)", from, rc);
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(m->data);
    *match = (tok_range){bounds[0], bounds[1]};
    return RT_OK;
}
