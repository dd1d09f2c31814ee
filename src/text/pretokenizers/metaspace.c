/* Metaspace: SentencePiece's. A space becomes a visible mark, a mark may be put in front (always, or only where the
 * text begins), and a piece begins at every mark unless `split` is false. Kudo & Richardson 2018. */
#include "text/tok_metaspace.h"
#include "text/tok_step.h"
#include <string.h>

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    RT_TRY(rt_tok_metaspace_load(s, json, err));
    RT_TRY(rt_tok_bool(json, "split", true, &s->flag[1], err));
    if (!s->flag[1]) return RT_OK;
    return rt_tok_pattern_literal(&s->pattern, s->content, s->content_bytes, json, err);
}

static void mark_spaces(const tok_step *s, const tok_view *v, tok_range r, tok_text *out) {
    for (size_t i = r.begin, from = r.begin; i <= r.end; i++) {
        if (i < r.end && v->s[i] != ' ') continue;
        rt_tok_text_copy(out, v, from, i);
        if (i < r.end) rt_tok_text_add(out, s->content, s->content_bytes, rt_tok_origin(v, i), rt_tok_origin(v, i + 1));
        from = i + 1;
    }
}

static bool begins_with_mark(const tok_step *s, const tok_view *v, tok_range r) {
    size_t n = r.end - r.begin;
    return v->s[r.begin] == ' ' || (n >= s->content_bytes && memcmp(v->s + r.begin, s->content, s->content_bytes) == 0);
}

static rt_status run(const tok_step *s, tok_pieces *p, rt_error *err) {
    tok_text *out = rt_tok_rewrite_begin(p);
    for (size_t i = 0; i < p->list.size; i++) {
        tok_range r = p->list.data[i];
        size_t begin = out->n;
        int64_t at = rt_tok_origin(&p->view, r.begin);
        bool prepend = s->mode == TOK_PREPEND_ALWAYS || (s->mode == TOK_PREPEND_FIRST && at == 0);
        if (prepend && !begins_with_mark(s, &p->view, r)) rt_tok_text_add(out, s->content, s->content_bytes, at, at);
        mark_spaces(s, &p->view, r, out);
        rt_tok_ranges_add(&p->spare, begin, out->n);
    }
    RT_TRY(rt_tok_rewrite_end(p, out, err));
    tok_step split = *s; /* its own mode is the prepend scheme */
    split.mode = TOK_MERGED_WITH_NEXT;
    split.flag[0] = false;
    return s->flag[1] ? rt_tok_cut_run(&split, p, err) : RT_OK;
}

const tok_kind rt_tok_pretokenizer_metaspace = {
    .type = "Metaspace", .load = load, .pretokenize = run, .needs_origin = true};
