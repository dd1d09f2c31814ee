/* layout.c - documents as tokens. See vocab.h for the forms and decision 13 for why. */
#include "text/layout.h"
#include <retort/text/shard.h>

bool rt_vocab_shared(const rt_vocab *v) { return v->eos >= 0 && (v->bos < 0 || v->bos == v->eos); }
int32_t rt_vocab_boundary(const rt_vocab *v) { return rt_vocab_shared(v) ? v->eos : v->bos; }

static rt_status covered(const rt_vocab *v, int32_t id, const uint32_t *bytes, int64_t i, uint32_t *out,
                         rt_error *err) {
    if (id < 0 || (v->size && id >= v->size))
        return rt_fail(err, RT_E_INPUT, "token %lld of a document is %d, the vocabulary has %lld", (long long)i, id,
                       (long long)v->size);
    *out = bytes ? bytes[i] : v->token_bytes ? v->token_bytes[id] : 0;
    if (*out <= RT_SPAN_BYTES) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED,
                   "token %lld of a document (id %d) covers %u bytes of text, at most %d can be recorded", (long long)i,
                   id, *out, RT_SPAN_BYTES);
}

rt_status rt_layout_document(const rt_vocab *v, const rt_tokens *d, bool after_boundary, rt_token_put put,
                             void *context, rt_error *err) {
    bool shared = rt_vocab_shared(v);
    int32_t before = d->as_is ? -1 : rt_vocab_boundary(v);
    if (before >= 0 && !(shared && after_boundary)) RT_TRY(put(context, before, RT_SPAN_FIRST, false, err));
    for (int64_t i = 0; i < d->n; i++) {
        uint32_t count = 0;
        RT_TRY(covered(v, d->ids[i], d->bytes, i, &count, err));
        bool first = i == 0 && before < 0;
        RT_TRY(put(context, d->ids[i], (uint16_t)(count | (first ? RT_SPAN_FIRST : 0)), d->mask && !d->mask[i], err));
    }
    if (v->eos < 0 || d->as_is) return RT_OK;
    return put(context, v->eos, shared ? RT_SPAN_FIRST : 0, false, err);
}

uint16_t rt_span_derived(const rt_vocab *v, int32_t id) {
    uint16_t bytes = v->token_bytes && id < v->size ? v->token_bytes[id] : 0;
    if (bytes > RT_SPAN_BYTES) bytes = RT_SPAN_BYTES;
    return (uint16_t)(bytes | (id == rt_vocab_boundary(v) ? RT_SPAN_FIRST : 0));
}
