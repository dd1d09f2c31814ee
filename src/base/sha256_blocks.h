/* sha256_blocks.h - the compression function over whole blocks of 64 bytes, FIPS 180-4 section 6.2.2. Shared by sha256.c, where
 * the plain one is, sha256_x86.c, and their test. */
#ifndef RT_BASE_SHA256_BLOCKS_H
#define RT_BASE_SHA256_BLOCKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const uint32_t rt_sha256_constants[64];
void rt_sha256_blocks_plain(uint32_t state[8], const uint8_t *p, size_t blocks);
bool rt_sha256_has_x86(void); /* the processor has the instructions */
void rt_sha256_blocks_x86(uint32_t state[8], const uint8_t *p, size_t blocks);
#endif
