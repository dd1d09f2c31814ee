/* sha256_x86.c - SHA-256 with the processor's own instructions: about 2 GB/s a core, so that naming a large teacher by its content
 * takes no longer than reading it. Intel SHA Extensions (Gulley et al. 2013): two rounds an instruction, state as ABEF and CDGH. */
#include "base/sha256_blocks.h"

#if defined __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#define TARGET __attribute__((target("sha,sse4.1")))

bool rt_sha256_has_x86(void) {
    unsigned a, b, c, d;
    bool sse41 = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1);
    return sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* Rounds 4i..4i+3, and words 4(i+4).. in the place of those just used. */
TARGET static inline void four_rounds(__m128i s[2], __m128i w[4], int i) {
    __m128i k = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)(const void *)(rt_sha256_constants + 4 * i)));
    s[1] = _mm_sha256rnds2_epu32(s[1], s[0], k);
    s[0] = _mm_sha256rnds2_epu32(s[0], s[1], _mm_shuffle_epi32(k, 0x0e));
    if (i >= 12) return;
    __m128i last = w[(i + 3) & 3], t = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
    w[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(t, _mm_alignr_epi8(last, w[(i + 2) & 3], 4)), last);
}
TARGET static inline void one_block(__m128i s[2], const uint8_t *p) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i before[2] = {s[0], s[1]}, w[4];
    for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), big_endian);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) four_rounds(s, w, i);
    s[0] = _mm_add_epi32(s[0], before[0]);
    s[1] = _mm_add_epi32(s[1], before[1]);
}
TARGET void rt_sha256_blocks_x86(uint32_t state[8], const uint8_t *p, size_t blocks) {
    __m128i *memory = (__m128i *)(void *)state;
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(memory), 0xb1), efgh = _mm_shuffle_epi32(_mm_loadu_si128(memory + 1), 0x1b);
    __m128i s[2] = {_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)};
    for (; blocks > 0; blocks--, p += 64) one_block(s, p);
    __m128i feba = _mm_shuffle_epi32(s[0], 0x1b), dchg = _mm_shuffle_epi32(s[1], 0xb1);
    _mm_storeu_si128(memory, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(memory + 1, _mm_alignr_epi8(dchg, feba, 8));
}
#else
bool rt_sha256_has_x86(void) { return false; }
void rt_sha256_blocks_x86(uint32_t state[8], const uint8_t *p, size_t blocks) { rt_sha256_blocks_plain(state, p, blocks); }
#endif
