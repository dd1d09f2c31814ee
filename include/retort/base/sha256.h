/* sha256.h - SHA-256 (FIPS 180-4): names data, tokenizers and checkpoints by content. Not used for secrets. */
#ifndef RETORT_BASE_SHA256_H
#define RETORT_BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

typedef struct rt_sha256 {
    uint32_t state[8];
    uint64_t bytes; /* hashed so far */
    uint8_t block[64];
} rt_sha256;

void rt_sha256_start(rt_sha256 *s);
void rt_sha256_add(rt_sha256 *s, const void *data, size_t bytes);
void rt_sha256_end(rt_sha256 *s, uint8_t digest[32]);
void rt_sha256_end_hex(rt_sha256 *s, char hex[65]); /* lower case, NUL-terminated */
void rt_sha256_hex(const void *data, size_t bytes, char hex[65]);
#endif
