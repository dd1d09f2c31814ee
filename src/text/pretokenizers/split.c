/* Split: cuts pieces at the matches of a string or an expression. What becomes of a match is the behaviour:
 *   removed; isolated (a piece of its own); merged with the previous or the next piece; contiguous (neighbouring
 * matches become one piece). `invert`: what lies between the matches counts as the match. */
#include "text/tok_step.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    static const char *const names[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};
    const char *name;
    tok_node behavior = rt_tok_key(json, "behavior");
    RT_TRY(rt_tok_text_of(&behavior, &name, NULL, err));
    RT_TRY(rt_tok_choice(&behavior, name, names, &s->mode, err));
    RT_TRY(rt_tok_bool(json, "invert", false, &s->flag[0], err));
    return rt_tok_pattern_load(&s->pattern, json, err);
}

rt_status rt_tok_cut_load(tok_step *s, const char *regex, tok_cut how, bool invert, const tok_node *json,
                          rt_error *err) {
    s->mode = (int)how;
    s->flag[0] = invert;
    size_t n = 0;
    while (regex[n]) n++;
    return rt_tok_pattern_regex(&s->pattern, regex, n, json, err);
}

typedef struct cutter {
    tok_cut how;
    tok_ranges *out;
    size_t first;  /* index in out of the piece's first part */
    bool previous; /* the part before was a match */
} cutter;

/* A part of a piece, match or not, joins the part before it or stands alone. */
static void add_part(cutter *c, size_t begin, size_t end, bool match) {
    bool has_last = c->out->size > c->first;
    bool join = (c->how == TOK_MERGED_WITH_PREVIOUS && match && !c->previous) ||
                (c->how == TOK_CONTIGUOUS && match == c->previous) ||
                (c->how == TOK_MERGED_WITH_NEXT && !match && c->previous);
    c->previous = match;
    if (c->how == TOK_REMOVED && match) return;
    if (begin == end) return;
    if (join && has_last)
        c->out->data[c->out->size - 1].end = end;
    else
        rt_tok_ranges_add(c->out, begin, end);
}

static rt_status cut_piece(const tok_step *s, tok_pieces *p, tok_range piece, rt_error *err) {
    const char *text = p->view.s + piece.begin;
    size_t n = piece.end - piece.begin, done = 0, from = 0;
    cutter c = {(tok_cut)s->mode, &p->spare, p->spare.size, false};
    while (from <= n) {
        tok_range hit;
        bool found;
        RT_TRY(rt_tok_pattern_next(&s->pattern, &p->matcher, text, n, from, &hit, &found, err));
        if (!found) break;
        if (hit.begin > done) add_part(&c, piece.begin + done, piece.begin + hit.begin, s->flag[0]);
        if (hit.end > hit.begin) add_part(&c, piece.begin + hit.begin, piece.begin + hit.end, !s->flag[0]);
        done = from = hit.end;
        if (hit.begin == hit.end)
            for (from++; from < n && (text[from] & 0xC0) == 0x80;) from++;
    }
    if (done < n) add_part(&c, piece.begin + done, piece.end, s->flag[0]);
    return RT_OK;
}

rt_status rt_tok_cut_run(const tok_step *s, tok_pieces *p, rt_error *err) {
    p->spare.size = 0;
    for (size_t i = 0; i < p->list.size; i++) RT_TRY(cut_piece(s, p, p->list.data[i], err));
    tok_ranges cut = p->spare;
    p->spare = p->list;
    p->list = cut;
    return cut.failed ? rt_tok_out_of_memory(err) : RT_OK;
}

tok_text *rt_tok_rewrite_begin(tok_pieces *p) {
    tok_text *out = &p->text[p->view.s == p->text[0].s && p->text[0].s];
    rt_tok_text_clear(out, p->track);
    p->spare.size = 0;
    return out;
}
rt_status rt_tok_rewrite_end(tok_pieces *p, tok_text *out, rt_error *err) {
    p->view = rt_tok_text_view(out, p->end);
    tok_ranges cut = p->spare;
    p->spare = p->list;
    p->list = cut;
    return out->failed || cut.failed ? rt_tok_out_of_memory(err) : RT_OK;
}

const tok_kind rt_tok_pretokenizer_split = {.type = "Split", .load = load, .pretokenize = rt_tok_cut_run};
