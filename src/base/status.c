/* status.c - status names, error texts, and the nearest name to a mistyped one. */
#include <retort/base/status.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int exit;
} table[RT_STATUS_COUNT] = {
#define X(name, code, text) {#name, text, code},
    RT_STATUS_LIST(X)
#undef X
};

static unsigned known(rt_status s) { return (unsigned)s < RT_STATUS_COUNT ? (unsigned)s : RT_E_ARG; }
const char *rt_status_name(rt_status s) { return table[known(s)].name; }
const char *rt_status_text(rt_status s) { return table[known(s)].text; }
int rt_status_exit(rt_status s) { return table[known(s)].exit; }

rt_status rt_vfail(rt_error *err, rt_status s, const char *format, va_list args) {
    if (!err || err->status != RT_OK) return s;
    err->status = s;
    vsnprintf(err->text, sizeof err->text, format, args);
    for (char *p = err->text; *p; p++) /* names come from files; the text stays one line */
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    return s;
}

rt_status rt_fail(rt_error *err, rt_status s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    rt_vfail(err, s, format, args);
    va_end(args);
    return s;
}

rt_status rt_error_prefix(rt_error *err, const char *format, ...) {
    if (!err) return RT_OK;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t room = n >= 0 && (size_t)n < sizeof err->text ? sizeof err->text - (size_t)n : 0;
    if (room > 3) snprintf(err->text + n, room, ": %.*s", (int)room - 3, old);
    return err->status;
}

void rt_error_clear(rt_error *err) {
    if (err) *err = (rt_error){0};
}

/* ------------------------------------------------------------ nearest name */

enum { WORD = 64 };

static int least(int a, int b, int c) {
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance with transpositions (Damerau, restricted), case-insensitive, on the first 63 characters. */
static int distance(const char *a, const char *b) {
    int d[WORD + 1][WORD + 1], n = (int)strnlen(a, WORD), m = (int)strnlen(b, WORD);
    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            d[i][j] = least(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (x != y));
            bool swapped = i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && tolower((unsigned char)a[i - 2]) == y;
            if (swapped && d[i - 2][j - 2] + 1 < d[i][j]) d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

const char *rt_nearest(const char *word, const char *const *names) {
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(word) / 2;
    for (; *names; names++) {
        int d = distance(word, *names);
        if (d < best_distance) best_distance = d, best = *names;
    }
    return best;
}
