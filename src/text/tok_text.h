/* tok_text.h - text under transformation. Every byte remembers where in the original text it began, so that tokens can
 * be laid over the original; `at` is only kept when somebody asks for it. */
#ifndef TEXT_TOK_TEXT_H
#define TEXT_TOK_TEXT_H
#include <retort/base/mem.h>

typedef struct tok_view { /* borrowed text; byte i began at at[i], or at base + i when at is NULL; at has n + 1 entries
                           */
    const char *s;
    size_t n;
    const int64_t *at;
    int64_t base;
} tok_view;
int64_t rt_tok_origin(const tok_view *v, size_t i); /* 0 <= i <= n */

typedef struct tok_text { /* growable; a failed append is sticky */
    char *s;
    int64_t *at;
    size_t n, capacity;
    bool track, failed;
} tok_text;
void rt_tok_text_clear(tok_text *t, bool track);
/* Appends bytes that stand for original [begin, end): byte k began at min(begin + k, end). */
void rt_tok_text_add(tok_text *t, const char *s, size_t n, int64_t begin, int64_t end);
void rt_tok_text_copy(tok_text *t, const tok_view *v, size_t begin, size_t end); /* unchanged bytes of a view */
tok_view rt_tok_text_view(tok_text *t, int64_t end); /* the text so far; `end`: where the original ends */
void rt_tok_text_free(tok_text *t);

typedef struct tok_range {
    size_t begin, end;
} tok_range;
typedef struct tok_ranges {
    tok_range *data;
    size_t size, capacity;
    bool failed;
} tok_ranges;
void rt_tok_ranges_add(tok_ranges *r, size_t begin, size_t end);
void rt_tok_ranges_free(tok_ranges *r);

typedef struct tok_list { /* strings: the i-th is bytes [ends[i-1], ends[i]) */
    rt_buf bytes;
    size_t *ends;
    size_t size, capacity;
    bool failed;
} tok_list;
const char *rt_tok_list_get(const tok_list *l, size_t i, size_t *n);
void rt_tok_list_close(tok_list *l); /* what was added to l->bytes since the last close becomes a string */
void rt_tok_list_add(tok_list *l, const char *s, size_t n);
void rt_tok_list_free(tok_list *l);

/* Makes room for one more element: false when out of memory. */
bool rt_tok_grow(void **data, size_t needed, size_t *capacity, size_t element);
#endif
