/* layout.h - a document as tokens: the one place where bos and eos are put around it (vocab.h shows the three forms).
 */
#ifndef RETORT_SRC_TEXT_LAYOUT_H
#define RETORT_SRC_TEXT_LAYOUT_H
#include <retort/base/status.h>
#include <retort/text/vocab.h>

/* Receives the laid-out tokens one by one; `span` as in shard.h; masked: never a target. */
typedef rt_status (*rt_token_put)(void *context, int32_t id, uint16_t span, bool masked, rt_error *err);

/* bos and eos are one id, or there is no bos: documents share their boundary token. */
bool rt_vocab_shared(const rt_vocab *v);
/* The id at which documents begin when nothing else says so; -1 = none. */
int32_t rt_vocab_boundary(const rt_vocab *v);
/* Lays out one document. after_boundary: the token put before is the shared boundary already. */
rt_status rt_layout_document(const rt_vocab *v, const rt_tokens *d, bool after_boundary, rt_token_put put,
                             void *context, rt_error *err) RT_NODISCARD;
/* The span word of a token in data that records none. */
uint16_t rt_span_derived(const rt_vocab *v, int32_t id);

/* FNV-1a over 32-bit units (Fowler, Noll, Vo); start with RT_FNV_START. */
#define RT_FNV_START 14695981039346656037ull
static inline uint64_t rt_fnv_add(uint64_t h, uint32_t unit) { return (h ^ unit) * 1099511628211ull; }
#endif
