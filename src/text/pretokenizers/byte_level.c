/* ByteLevel: GPT-2's. A space may be put in front, GPT-2's expression may cut words, and from here on the model sees
 * bytes, each written as one visible character. The tables of a byte-level BPE undo that, and the text itself stays as
 * it is; for other models it is spelled out. Radford et al. 2019. */
#include "text/byte_alphabet.h"
#include "text/tok_step.h"

#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    RT_TRY(rt_tok_cut_load(s, GPT2_WORDS, TOK_ISOLATED, false, json, err));
    RT_TRY(rt_tok_bool(json, "add_prefix_space", true, &s->flag[1], err));
    bool cut;
    RT_TRY(rt_tok_bool(json, "use_regex", true, &cut, err));
    if (!cut) rt_tok_pattern_free(&s->pattern);
    return RT_OK;
}

static rt_status prefix_spaces(tok_pieces *p, rt_error *err) {
    tok_text *out = rt_tok_rewrite_begin(p);
    for (size_t i = 0; i < p->list.size; i++) {
        tok_range r = p->list.data[i];
        size_t begin = out->n;
        int64_t at = rt_tok_origin(&p->view, r.begin);
        if (p->view.s[r.begin] != ' ') rt_tok_text_add(out, " ", 1, at, at);
        rt_tok_text_copy(out, &p->view, r.begin, r.end);
        rt_tok_ranges_add(&p->spare, begin, out->n);
    }
    return rt_tok_rewrite_end(p, out, err);
}

static rt_status spell_out(tok_pieces *p, rt_error *err) {
    tok_text *out = rt_tok_rewrite_begin(p);
    for (size_t i = 0; i < p->list.size; i++) {
        size_t begin = out->n;
        rt_byte_alphabet_spell(&p->view, p->list.data[i].begin, p->list.data[i].end, out);
        rt_tok_ranges_add(&p->spare, begin, out->n);
    }
    return rt_tok_rewrite_end(p, out, err);
}

static rt_status run(const tok_step *s, tok_pieces *p, rt_error *err) {
    if (s->flag[1]) RT_TRY(prefix_spaces(p, err));
    if (s->pattern.code) RT_TRY(rt_tok_cut_run(s, p, err));
    return s->spell_out ? spell_out(p, err) : RT_OK;
}

const tok_kind rt_tok_pretokenizer_byte_level = {.type = "ByteLevel", .load = load, .pretokenize = run, .bytes = true};
