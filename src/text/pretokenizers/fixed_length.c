/* FixedLength: pieces of `length` characters; the last may be shorter. */
#include "text/tok_step.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    tok_node length = rt_tok_key(json, "length");
    s->start = 5;
    return rt_tok_absent(&length) ? RT_OK : rt_tok_integer(json, "length", 1, INT32_MAX, &s->start, err);
}

static void cut(const char *s, tok_range piece, int64_t length, tok_ranges *out) {
    int64_t characters = 0;
    size_t from = piece.begin;
    for (size_t i = piece.begin; i < piece.end; i++) {
        if ((s[i] & 0xC0) == 0x80 || characters++ < length) continue;
        rt_tok_ranges_add(out, from, i);
        from = i;
        characters = 1;
    }
    if (from < piece.end) rt_tok_ranges_add(out, from, piece.end);
}

static rt_status run(const tok_step *s, tok_pieces *p, rt_error *err) {
    p->spare.size = 0;
    for (size_t i = 0; i < p->list.size; i++) cut(p->view.s, p->list.data[i], s->start, &p->spare);
    tok_ranges pieces = p->spare;
    p->spare = p->list;
    p->list = pieces;
    return pieces.failed ? rt_tok_out_of_memory(err) : RT_OK;
}

const tok_kind rt_tok_pretokenizer_fixed_length = {.type = "FixedLength", .load = load, .pretokenize = run};
