/* sha256.c - SHA-256, FIPS 180-4 section 6.2. Plain C, about 250 MB/s, where the processor has no instructions for it. */
#include "base/sha256_blocks.h"
#include <retort/base/sha256.h>
#include <string.h>

const uint32_t rt_sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint32_t read_be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void compress(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) w[i] = read_be(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] =
            w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t a = v[0], e = v[4];
        uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + rt_sha256_constants[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

void rt_sha256_blocks_plain(uint32_t state[8], const uint8_t *p, size_t blocks) {
    for (; blocks > 0; blocks--, p += 64) compress(state, p);
}
static void compress_blocks(uint32_t state[8], const uint8_t *p, size_t blocks) {
    static int instructions = -1; /* asked once; threads that ask together get the same answer */
    int here = __atomic_load_n(&instructions, __ATOMIC_RELAXED);
    if (here < 0) __atomic_store_n(&instructions, here = rt_sha256_has_x86(), __ATOMIC_RELAXED);
    if (here) rt_sha256_blocks_x86(state, p, blocks);
    else rt_sha256_blocks_plain(state, p, blocks);
}

void rt_sha256_start(rt_sha256 *s) {
    *s = (rt_sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void rt_sha256_add(rt_sha256 *s, const void *data, size_t bytes) {
    const uint8_t *p = data;
    while (bytes) {
        size_t used = s->bytes % 64, n = 64 - used < bytes ? 64 - used : bytes;
        if (n == 64) {
            n = bytes / 64 * 64;
            compress_blocks(s->state, p, n / 64);
        } else {
            memcpy(s->block + used, p, n);
            if (used + n == 64) compress_blocks(s->state, s->block, 1);
        }
        s->bytes += n;
        p += n;
        bytes -= n;
    }
}

void rt_sha256_end(rt_sha256 *s, uint8_t digest[32]) {
    uint64_t bits = s->bytes * 8;
    uint8_t length[8], zeros[64] = {0x80};
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
    rt_sha256_add(s, zeros, 1 + (119 - s->bytes % 64) % 64);
    rt_sha256_add(s, length, 8);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(s->state[i / 4] >> (24 - i % 4 * 8));
}

void rt_sha256_end_hex(rt_sha256 *s, char hex[65]) {
    uint8_t digest[32];
    rt_sha256_end(s, digest);
    for (int i = 0; i < 32; i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    hex[64] = 0;
}

void rt_sha256_hex(const void *data, size_t bytes, char hex[65]) {
    rt_sha256 s;
    rt_sha256_start(&s);
    rt_sha256_add(&s, data, bytes);
    rt_sha256_end_hex(&s, hex);
}
