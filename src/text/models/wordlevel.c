/* WordLevel: a piece is a token as it stands, or unknown. */
#include "text/tokenizer_impl.h"

static rt_status load(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    RT_TRY(rt_tok_load_vocab(t, model, err));
    return rt_tok_load_unk(t, model, "<unk>", err);
}

static rt_status encode(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) {
    int32_t id = rt_tok_vocab_find_model(&t->vocab, s, n);
    if (id < 0) id = t->model.unk;
    if (id < 0) return rt_tok_no_unk(t, err);
    return rt_tok_work_push(w, id, n) ? RT_OK : rt_tok_out_of_memory(err);
}

const tok_model_kind rt_tok_model_wordlevel = {.type = "WordLevel", .load = load, .encode = encode};
