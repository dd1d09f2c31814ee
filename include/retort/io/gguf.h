/* gguf.h - the model file of ggml programs (llama.cpp): one file of metadata, a table of tensors, and their data.
 *
 *   "GGUF" u32 version u64 tensors u64 pairs
 *   pairs:   text key, u32 kind, value                    text: u64 length, bytes; array: u32 kind, u64 count, values
 *   tensors: text name, u32 sizes, u64 size (columns first), u32 type, u64 offset
 *   data from the next multiple of general.alignment (32), each tensor at a multiple of it
 * All little-endian. Source: github.com/ggml-org/ggml, docs/gguf.md, version 3 (version 2 has the same layout).
 *
 * Reading and writing share no code but the numbers of kinds and types, so that one checks the other. A file is mapped and
 * believed only after these checks: every count against the bytes that are left before anything is allocated for it; kinds,
 * types, lengths, unique keys and names; every tensor inside the data, none over another. RT_E_INPUT names the byte. */
#ifndef RETORT_IO_GGUF_H
#define RETORT_IO_GGUF_H
#include <retort/base/file.h>

/*      name  number  bytes (0: none of its own) */
#define RT_GGUF_KINDS(X)                                                                                               \
    X(U8, 0, 1) X(I8, 1, 1) X(U16, 2, 2) X(I16, 3, 2) X(U32, 4, 4) X(I32, 5, 4) X(F32, 6, 4) X(BOOL, 7, 1)             \
    X(TEXT, 8, 0) X(ARRAY, 9, 0) X(U64, 10, 8) X(I64, 11, 8) X(F64, 12, 8)
typedef enum rt_gguf_kind {
#define X(name, number, bytes) RT_GGUF_##name = number,
    RT_GGUF_KINDS(X)
#undef X
        RT_GGUF_KIND_COUNT
} rt_gguf_kind;

/*      name  number  numbers and bytes of a block. The data of other types cannot be measured, so their files are refused. */
#define RT_GGUF_TYPES(X)                                                                                               \
    X(F32, 0, 1, 4) X(F16, 1, 1, 2) X(Q4_0, 2, 32, 18) X(Q4_1, 3, 32, 20) X(Q5_0, 6, 32, 22) X(Q5_1, 7, 32, 24)         \
    X(Q8_0, 8, 32, 34) X(Q8_1, 9, 32, 36) X(Q2_K, 10, 256, 84) X(Q3_K, 11, 256, 110) X(Q4_K, 12, 256, 144)              \
    X(Q5_K, 13, 256, 176) X(Q6_K, 14, 256, 210) X(Q8_K, 15, 256, 292) X(I8, 24, 1, 1) X(I16, 25, 1, 2) X(I32, 26, 1, 4) \
    X(I64, 27, 1, 8) X(F64, 28, 1, 8) X(BF16, 30, 1, 2)
typedef enum rt_gguf_type {
#define X(name, number, block, bytes) RT_GGUF_TYPE_##name = number,
    RT_GGUF_TYPES(X)
#undef X
        RT_GGUF_TYPE_END
} rt_gguf_type;
typedef struct rt_gguf_type_info {
    const char *name; /* "Q8_0" */
    int64_t block, bytes;
} rt_gguf_type_info;
const rt_gguf_type_info *rt_gguf_type_find(uint32_t type); /* NULL if it is none of the above */

/* ------------------------------------------------------------------ reading */

typedef struct rt_gguf_value {
    const char *key;
    rt_gguf_kind kind, element;  /* element: of an array */
    uint64_t count;              /* bytes of a text, elements of an array, else 1 */
    const unsigned char *data;   /* in the file, at any address: the text's bytes, the array's first element, the number */
} rt_gguf_value;
typedef struct rt_gguf_tensor {
    const char *name;
    rt_gguf_type type;
    int ndim;
    int64_t dim[4]; /* rows first, as everywhere in Retort; the file has columns first */
    const void *data; /* in the file, aligned to 8 bytes at least */
    size_t bytes;
} rt_gguf_tensor;

typedef struct rt_gguf rt_gguf;
/* RT_E_INPUT: not sound; RT_E_UNSUPPORTED: another version, byte order or tensor type. */
rt_status rt_gguf_open(const char *path, rt_gguf **out, rt_error *err) RT_NODISCARD;
void rt_gguf_close(rt_gguf *g);         /* NULL is fine; ends the life of everything read from the file */
bool rt_gguf_is(const char *path);      /* a regular file that begins with the four letters */
const char *rt_gguf_path(const rt_gguf *g);
const unsigned char *rt_gguf_bytes(const rt_gguf *g, size_t *size); /* the whole file: every pointer below lies in it */

int64_t rt_gguf_count(const rt_gguf *g); /* tensors, in the order of names */
const rt_gguf_tensor *rt_gguf_at(const rt_gguf *g, int64_t i);
const rt_gguf_tensor *rt_gguf_tensor_find(const rt_gguf *g, const char *name);
int64_t rt_gguf_value_count(const rt_gguf *g); /* pairs, in the order of keys */
const rt_gguf_value *rt_gguf_value_at(const rt_gguf *g, int64_t i);
const rt_gguf_value *rt_gguf_find(const rt_gguf *g, const char *key);

/* False where the value (which may be NULL) is of another kind or does not fit. */
bool rt_gguf_int(const rt_gguf_value *v, int64_t *out); /* any integer, or a bool */
bool rt_gguf_real(const rt_gguf_value *v, double *out); /* f32, as the shortest decimal that is the same f32; or f64 */
bool rt_gguf_text(const rt_gguf_value *v, const char **text, size_t *bytes);
/* Element i of an array of numbers. */
bool rt_gguf_item_int(const rt_gguf_value *v, uint64_t i, int64_t *out);
bool rt_gguf_item_real(const rt_gguf_value *v, uint64_t i, double *out);
/* The texts of an array, one after the other: start with {0}; false at its end. */
typedef struct rt_gguf_texts {
    uint64_t index; /* of the next */
    const unsigned char *at;
} rt_gguf_texts;
bool rt_gguf_next_text(const rt_gguf_value *v, rt_gguf_texts *place, const char **text, size_t *bytes);

/* n numbers of a tensor from number `first` as f32, exactly (F64 and integers are not read). With blocks both are multiples of a
 * block. False: the type is not one of F32, F16, BF16, Q8_0. */
bool rt_gguf_load(const rt_gguf_tensor *t, int64_t first, int64_t n, float *out);

/* ------------------------------------------------------------------ writing */

typedef struct rt_gguf_meta { /* start with {0}; a failed put is sticky in bytes.failed */
    rt_buf bytes;
    uint64_t count;
} rt_gguf_meta;
void rt_gguf_put_u32(rt_gguf_meta *m, const char *key, uint32_t x);
void rt_gguf_put_f32(rt_gguf_meta *m, const char *key, float x);
void rt_gguf_put_f64(rt_gguf_meta *m, const char *key, double x);
void rt_gguf_put_bool(rt_gguf_meta *m, const char *key, bool x);
void rt_gguf_put_text(rt_gguf_meta *m, const char *key, const char *text, size_t bytes);
/* Then exactly `count` items of the kind. */
void rt_gguf_put_array(rt_gguf_meta *m, const char *key, rt_gguf_kind kind, uint64_t count);
void rt_gguf_item_text(rt_gguf_meta *m, const char *text, size_t bytes);
void rt_gguf_item_f32(rt_gguf_meta *m, float x);
void rt_gguf_item_i32(rt_gguf_meta *m, int32_t x);
void rt_gguf_meta_free(rt_gguf_meta *m);

typedef struct rt_gguf_entry { /* a tensor to be written */
    const char *name;
    rt_gguf_type type;
    int ndim;
    int64_t dim[4]; /* rows first */
} rt_gguf_entry;
int64_t rt_gguf_entry_bytes(const rt_gguf_entry *e);
/* Adds the data of tensor i, in as many pieces as it likes; its bytes are counted. */
typedef rt_status (*rt_gguf_source)(void *context, int64_t i, rt_file_writer *w, rt_error *err);
/* Writes atomically and synced, in the order given; nothing but the header is held. Same input, same bytes. */
rt_status rt_gguf_write(const char *path, const rt_gguf_meta *m, const rt_gguf_entry *entries, int64_t count, rt_gguf_source source, void *context,
                        rt_error *err) RT_NODISCARD;

/* Blocks of 32: d = max |x| / 127 as f16, then 32 signed bytes round(x / d), halves away from zero, d unrounded; as ggml's reference
 * (ggml-quants.c, quantize_row_q8_0_ref). n is a multiple of 32. True when a d is beyond the range of f16. */
enum { RT_Q8_0_BLOCK = 32, RT_Q8_0_BYTES = 34 };
bool rt_q8_0_store(const float *x, int64_t n, void *blocks);
void rt_q8_0_load(const void *blocks, int64_t n, float *x); /* q times d: exact in f32 */
#endif
