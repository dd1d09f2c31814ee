/* tokenizer.h - Hugging Face `tokenizer.json`: text to token ids and back, exactly as its own library does it.
 *
 * Supported: the models BPE (byte-level, or SentencePiece style with byte_fallback, prefixes and suffixes of words),
 * Unigram, WordPiece and WordLevel; the normalizers, pre-tokenizers and decoders listed in
 * src/text/{normalizers,pretokenizers,decoders}.def; added tokens with all their flags; template post-processors.
 * Sections "truncation" and "padding" are a caller's business and ignored. Whatever else a file asks for is refused
 * when it is loaded (RT_E_UNSUPPORTED), never approximated.
 *
 * One difference on purpose: decoding with skip_special leaves out every special token, also one that normalisation
 * rewrites.
 *
 * A tokenizer never changes after loading: any number of threads may use one. What an encoding needs to write to lies
 * in an rt_encoder, one per thread. Text is UTF-8 and may hold NUL bytes; invalid UTF-8 is refused with its byte
 * offset. */
#ifndef RETORT_TEXT_TOKENIZER_H
#define RETORT_TEXT_TOKENIZER_H
#include <retort/base/mem.h>
#include <retort/base/status.h>

typedef struct rt_tokenizer rt_tokenizer;
typedef struct rt_encoder rt_encoder;

/* Growable arrays; a failed append sets `failed` and is sticky. Start with {0}. */
typedef struct rt_ids {
    int32_t *data;
    int64_t size, capacity;
    bool failed;
} rt_ids;
typedef struct rt_span {
    int64_t begin, end; /* bytes of the original text */
} rt_span;
typedef struct rt_spans {
    rt_span *data;
    int64_t size, capacity;
    bool failed;
} rt_spans;
void rt_ids_add(rt_ids *ids, int32_t id);
void rt_ids_free(rt_ids *ids);
void rt_spans_add(rt_spans *spans, rt_span span);
void rt_spans_free(rt_spans *spans);

/* `path`: a directory with tokenizer.json (or tokenizer.json.gz) and perhaps tokenizer_config.json, or such a file
 * itself (its neighbour tokenizer_config.json is then read too). RT_E_INPUT absent or damaged, RT_E_UNSUPPORTED,
 * RT_E_NOMEM. */
rt_status rt_tokenizer_load(rt_tokenizer **out, const char *path, rt_error *err) RT_NODISCARD;
rt_status rt_tokenizer_from_json(rt_tokenizer **out, const char *json, size_t bytes, const char *name_for_errors,
                                 rt_error *err) RT_NODISCARD;
void rt_tokenizer_free(rt_tokenizer *t);

/* Appends the ids of a text; with add_special also what the post-processor (and add_bos_token/add_eos_token of
 * tokenizer_config.json) puts around it. On failure `ids` and `spans` keep their old size. */
rt_status rt_tokenizer_encode(const rt_tokenizer *t, const char *utf8, size_t bytes, bool add_special, rt_ids *ids,
                              rt_error *err) RT_NODISCARD;
/* The same with reusable working memory and a cache of words (about 1 MiB): several times faster on running text.
 * spans (may be NULL) gets the byte range of the text that each id stands for. The ranges follow one another without
 * gap or overlap from 0 to `bytes`; ids that the tokenizer added (bos, a prepended space) cover nothing, what it
 * removed belongs to the id before, and a special token spelled out in the text covers its spelling. */
rt_status rt_encoder_new(rt_encoder **out, const rt_tokenizer *t, rt_error *err) RT_NODISCARD; /* borrows t */
rt_status rt_encoder_encode(rt_encoder *e, const char *utf8, size_t bytes, bool add_special, rt_ids *ids,
                            rt_spans *spans, rt_error *err) RT_NODISCARD;
/* The same, where data[i] says of byte i of the text that somebody else supplied it (a message within a chat template):
 * no special token is found that takes a byte of it, other than white space beside the token. */
rt_status rt_encoder_encode_data(rt_encoder *e, const char *utf8, size_t bytes, const uint8_t *data, bool add_special,
                                 rt_ids *ids, rt_spans *spans, rt_error *err) RT_NODISCARD;
void rt_encoder_free(rt_encoder *e);

/* Appends the text of n ids: always valid UTF-8 (U+FFFD where the bytes of the ids form none). RT_E_INPUT: no such id.
 */
rt_status rt_tokenizer_decode(const rt_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, rt_buf *out,
                              rt_error *err) RT_NODISCARD;

/* ---- what is in it ---- */
const char *rt_tokenizer_model(const rt_tokenizer *t); /* "BPE over bytes", "Unigram": the kind of its model, for people */
int32_t rt_tokenizer_size(const rt_tokenizer *t); /* V: highest id + 1, added tokens included */
/* The token as the file writes it (byte-level: its visible alphabet), or NULL for an id that is not used. */
const char *rt_tokenizer_token(const rt_tokenizer *t, int32_t id, size_t *bytes);
int32_t rt_tokenizer_find(const rt_tokenizer *t, const char *token, size_t bytes); /* -1: none */
bool rt_tokenizer_is_special(const rt_tokenizer *t, int32_t id);
/* Bytes of text an id stands for when it does not begin the text: 0 for special tokens and unused ids, 1 for a byte. */
int64_t rt_tokenizer_token_bytes(const rt_tokenizer *t, int32_t id);
int32_t rt_tokenizer_bos(const rt_tokenizer *t); /* -1: none */
int32_t rt_tokenizer_eos(const rt_tokenizer *t);
int32_t rt_tokenizer_unk(const rt_tokenizer *t);
bool rt_tokenizer_adds_bos(const rt_tokenizer *t); /* encode(add_special) begins with bos */
bool rt_tokenizer_adds_eos(const rt_tokenizer *t);
/* SHA-256, lower-case hex, over (id, token, special), ranked merges, the model's options and scores, how added tokens
 * are looked for, normalizer, pre-tokenizer, decoder: equal for files that differ only in layout, in the form of their
 * merges, or in gzip. */
const char *rt_tokenizer_hash(const rt_tokenizer *t);
/* The bytes of tokenizer.json (unpacked) and of tokenizer_config.json (NULL when there was none), unchanged. */
const char *rt_tokenizer_json(const rt_tokenizer *t, size_t *bytes);
const char *rt_tokenizer_config_json(const rt_tokenizer *t, size_t *bytes);
/* The file chat_template.jinja beside them; NULL when there was none. */
const char *rt_tokenizer_chat_file(const rt_tokenizer *t, size_t *bytes);
/* Writes these files into an existing directory. */
rt_status rt_tokenizer_save(const rt_tokenizer *t, const char *dir, rt_error *err) RT_NODISCARD;
#endif
