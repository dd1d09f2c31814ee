/* lexer.c - see lexer.h. */
#include "text/template/lexer.h"
#include "text/template/value.h"
#include "text/utf8.h"
#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    const char *s, *name;
    size_t n, at;
    size_t line_start; /* of the line that `counted` lies in */
    size_t counted;    /* position up to which lines are counted */
    int line;
    bool line_starting; /* what was consumed last ended with a line end, or nothing was */
    size_t brackets;    /* open within the present tag */
    rt_arena *arena;
    tpl_token *tokens;
    size_t size, capacity;
    rt_error *err;
} lexer;

static void locate(lexer *l, size_t at, int *line, int *column) {
    for (; l->counted < at; l->counted++)
        if (l->s[l->counted] == '\n') l->line++, l->line_start = l->counted + 1;
    *line = l->line, *column = (int)(at - l->line_start) + 1;
}

static rt_status refuse(lexer *l, size_t at, const char *what) {
    int line, column;
    locate(l, at, &line, &column);
    return rt_fail(l->err, RT_E_INPUT, "%s:%d:%d: %s", l->name, line, column, what);
}

static rt_status add(lexer *l, tpl_token t, size_t at) {
    if (l->size == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 64;
        tpl_token *grown = rt_arena_alloc(l->arena, rt_array_bytes(capacity, sizeof *grown));
        if (!grown) return rt_fail(l->err, RT_E_NOMEM, "%s: out of memory", l->name);
        if (l->size) memcpy(grown, l->tokens, l->size * sizeof *grown);
        l->tokens = grown, l->capacity = capacity;
    }
    locate(l, at, &t.line, &t.column);
    l->tokens[l->size++] = t;
    return RT_OK;
}

/* --------------------------------------------------------------------- text */

static size_t skip_space(const lexer *l, size_t at) {
    for (size_t length; at < l->n && tpl_is_space(rt_utf8_get(l->s + at, l->n - at, &length)); at += length)
        ;
    return at;
}

static rt_status add_text(lexer *l, size_t begin, size_t end, char sign, bool output) {
    const char *s = l->s + begin;
    size_t n = end - begin;
    if (sign == '-') n = tpl_strip(tpl_bytes(s, n, NULL), TPL_NOTHING, false, true).n;
    else if (!output && sign != '+') { /* lstrip_blocks */
        size_t from = n;
        while (from > 0 && s[from - 1] != '\n' && tpl_is_space((unsigned char)s[from - 1])) from--;
        bool at_line_start = from > 0 ? s[from - 1] == '\n' : l->line_starting;
        if (at_line_start) n = from;
    }
    return n ? add(l, (tpl_token){.kind = TPL_T_TEXT, .s = s, .n = n}, begin) : RT_OK;
}

/* Behind the end of a tag. */
static void after_tag(lexer *l, bool strip, bool trim) {
    size_t from = l->at;
    if (strip) l->at = skip_space(l, l->at);
    else if (trim && l->at < l->n && l->s[l->at] == '\n') l->at++;
    l->line_starting = l->at > from && l->s[l->at - 1] == '\n';
}

static rt_status comment(lexer *l, size_t at) {
    const char *end = memmem(l->s + l->at, l->n - l->at, "#}", 2);
    if (!end) return refuse(l, at, "a comment without its end #}");
    l->at = (size_t)(end - l->s) + 2;
    bool strip = end[-1] == '-' && (size_t)(end - l->s) > at + 2;
    after_tag(l, strip, end[-1] != '+');
    return RT_OK;
}

/* ---------------------------------------------------------------- in a tag */

static size_t hexadecimal(const char *s, size_t n, size_t digits, int32_t *c) {
    *c = 0;
    if (n < digits) return 0;
    for (size_t i = 0; i < digits; i++) {
        if (!s[i] || !strchr("0123456789abcdefABCDEF", s[i])) return 0;
        *c = *c * 16 + (s[i] <= '9' ? s[i] - '0' : (s[i] | 32) - 'a' + 10);
        if (*c > 0x10ffff) return 0;
    }
    return *c >= 0xd800 && *c < 0xe000 ? 0 : digits;
}

/* One escape of Python behind the backslash; what is none stays as it stands. Returns the bytes used. */
static size_t unescape(const char *s, size_t n, char *out, size_t *written) {
    static const char from[] = "nrtbfav0\\'\"", to[] = "\n\r\t\b\f\a\v\0\\'\"";
    int32_t c;
    size_t used = 0;
    const char *hit = n && *s ? strchr(from, *s) : NULL;
    if (n && *s == '\n') return *written = 0, 1;
    if (hit) return *out = to[hit - from], *written = 1, 1;
    if (n && *s == 'x') used = hexadecimal(s + 1, n - 1, 2, &c);
    if (n && *s == 'u') used = hexadecimal(s + 1, n - 1, 4, &c);
    if (n && *s == 'U') used = hexadecimal(s + 1, n - 1, 8, &c);
    if (used) return *written = rt_utf8_put(out, c), used + 1;
    return *out = '\\', *written = 1, 0;
}

static rt_status string(lexer *l) {
    size_t begin = l->at, end = begin + 1, used = 0, written;
    char quote = l->s[begin];
    while (end < l->n && l->s[end] != quote) end += l->s[end] == '\\' && end + 1 < l->n ? 2 : 1;
    if (end >= l->n) return refuse(l, begin, "a string without its end");
    char *out = rt_arena_alloc(l->arena, end - begin + 8);
    if (!out) return rt_fail(l->err, RT_E_NOMEM, "%s: out of memory", l->name);
    for (size_t i = begin + 1; i < end;)
        if (l->s[i] == '\\') {
            i += 1 + unescape(l->s + i + 1, end - i - 1, out + used, &written);
            used += written;
        } else out[used++] = l->s[i++];
    l->at = end + 1;
    return add(l, (tpl_token){.kind = TPL_T_STRING, .s = out, .n = used}, begin);
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static rt_status number(lexer *l) {
    char text[48];
    size_t begin = l->at, n = 0, dot = 0;
    for (; l->at < l->n && n < sizeof text - 1; l->at++) {
        char c = l->s[l->at];
        bool point = c == '.' && !dot && l->at + 1 < l->n && digit(l->s[l->at + 1]);
        bool power = (c == 'e' || c == 'E') && l->at + 1 < l->n && (digit(l->s[l->at + 1]) || l->s[l->at + 1] == '-');
        if (c == '_') continue;
        if (!digit(c) && !point && !power) break;
        dot |= point || power;
        text[n++] = c;
        if (power) text[n++] = l->s[++l->at];
        if (n >= sizeof text - 2) return refuse(l, begin, "a number with too many digits");
    }
    text[n] = 0;
    tpl_token t = {.kind = dot ? TPL_T_FLOAT : TPL_T_INT, .f = strtod(text, NULL)};
    if (!dot && (n > 18 || l->at - begin > 40)) return refuse(l, begin, "an integer beyond 18 digits");
    t.i = dot ? 0 : strtoll(text, NULL, 10);
    return add(l, t, begin);
}

static rt_status sign(lexer *l) {
    static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**", NULL};
    const char *s = l->s + l->at;
    size_t n = 1;
    for (int i = 0; two[i]; i++)
        if (l->n - l->at >= 2 && memcmp(s, two[i], 2) == 0) n = 2;
    if (n == 1 && (!*s || !strchr("+-*/%~<>()[]{},.:|=", *s))) return refuse(l, l->at, "a character that has no meaning here");
    if (strchr("([{", *s)) l->brackets++;
    if (strchr(")]}", *s)) {
        if (!l->brackets) return refuse(l, l->at, "a bracket that nothing opens");
        l->brackets--;
    }
    l->at += n;
    return add(l, (tpl_token){.kind = TPL_T_SIGN, .s = s, .n = n}, (size_t)(s - l->s));
}

static rt_status word(lexer *l) {
    char c = l->s[l->at];
    size_t begin = l->at;
    if (c == '"' || c == '\'') return string(l);
    if (digit(c)) return number(l);
    if (!letter(c)) return sign(l);
    while (l->at < l->n && (letter(l->s[l->at]) || digit(l->s[l->at]))) l->at++;
    return add(l, (tpl_token){.kind = TPL_T_NAME, .s = l->s + begin, .n = l->at - begin}, begin);
}

/* "%}" or "}}" with its sign: 0 none here, else its bytes. Inside brackets a brace closes the bracket. */
static size_t closes(const lexer *l, const char *close) {
    const char *s = l->s + l->at;
    size_t left = l->n - l->at, sign_bytes = left > 2 && (*s == '-' || *s == '+');
    if (l->brackets && *close == '}') return 0;
    return left >= sign_bytes + 2 && memcmp(s + sign_bytes, close, 2) == 0 ? sign_bytes + 2 : 0;
}

static rt_status tag(lexer *l, size_t at, bool output) {
    const char *close = output ? "}}" : "%}";
    size_t end;
    l->brackets = 0;
    RT_TRY(add(l, (tpl_token){.kind = output ? TPL_T_OPEN_OUTPUT : TPL_T_OPEN_BLOCK}, at));
    while (true) {
        l->at = skip_space(l, l->at);
        if (l->at >= l->n) return refuse(l, at, output ? "{{ without its end }}" : "{% without its end %}");
        if ((end = closes(l, close))) break;
        RT_TRY(word(l));
    }
    char mark = l->s[l->at];
    RT_TRY(add(l, (tpl_token){.kind = output ? TPL_T_CLOSE_OUTPUT : TPL_T_CLOSE_BLOCK}, l->at));
    l->at += end;
    after_tag(l, mark == '-', !output && mark != '+');
    return RT_OK;
}

static size_t next_tag(const lexer *l) {
    for (size_t i = l->at; i + 1 < l->n; i++)
        if (l->s[i] == '{' && strchr("{%#", l->s[i + 1]) && l->s[i + 1]) return i;
    return l->n;
}

rt_status tpl_lex(const char *source, size_t n, const char *name, rt_arena *arena, tpl_token **tokens, rt_error *err) {
    lexer l = {.s = source, .name = name, .n = n, .line = 1, .line_starting = true, .arena = arena, .err = err};
    while (l.at < n) {
        size_t at = next_tag(&l);
        char kind = at < n ? source[at + 1] : 0, mark = at + 2 < n ? source[at + 2] : 0;
        bool marked = at < n && (mark == '-' || mark == '+');
        RT_TRY(add_text(&l, l.at, at, at == n ? '+' : marked ? mark : 0, kind == '{'));
        if (at == n) break;
        l.at = at + 2 + marked;
        RT_TRY(kind == '#' ? comment(&l, at) : tag(&l, at, kind == '{'));
    }
    RT_TRY(add(&l, (tpl_token){.kind = TPL_T_END}, n));
    *tokens = l.tokens;
    return RT_OK;
}
