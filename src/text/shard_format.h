/* shard_format.h - the numbers of the shard files that reader and writer share. */
#ifndef RETORT_SRC_TEXT_SHARD_FORMAT_H
#define RETORT_SRC_TEXT_SHARD_FORMAT_H
#include <retort/text/shard.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "shards are read in place: little-endian machines only");

enum {
    RT_SHARD_HEADER = 1024, /* bytes: int32 [256] */
    RT_SHARD_MAGIC_16 = 20240520,
    RT_SHARD_VERSION_16 = 1,
    RT_SHARD_MAGIC_32 = 20240801,
    RT_SHARD_VERSION_32 = 7
};

typedef struct rt_spans_header {
    char magic[8]; /* RT_SPANS_MAGIC without its NUL */
    uint64_t count, tokens_hash, spans_hash;
} rt_spans_header;
#define RT_SPANS_MAGIC "RTSPANS1"
#define RT_MASK_MAGIC "RTMASK01" /* the header is that of the spans */

/* Of a mask: FNV-1a over its bytes, in which bits behind the last token are 0. */
uint64_t rt_mask_hash(const uint8_t *bits, size_t bytes);
/* "path" + "suffix", owned by the caller; NULL when out of memory. */
char *rt_path_with(const char *path, const char *suffix);
/* X.bin.json: absent is fine (described stays false). */
rt_status rt_shard_json_load(const char *path, rt_shard_info *info, rt_error *err) RT_NODISCARD;
rt_status rt_shard_json_save(const char *path, const rt_shard_info *info, rt_error *err) RT_NODISCARD;
#endif
