/* rng.c - Philox4x32-10, Salmon, Moraes, Dror, Shaw, SC'11, section 3.3 and table 2. Key = seed; counter = (index, stream). */
#include <retort/base/rng.h>
#include <math.h>

static void philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t c[4]) {
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    c[0] = (uint32_t)index, c[1] = (uint32_t)(index >> 32), c[2] = (uint32_t)stream, c[3] = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[1] = (uint32_t)b, c[3] = (uint32_t)a, c[0] = n0, c[2] = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
}

rt_rng rt_rng_make(uint64_t seed, const char *name, uint64_t index) {
    uint64_t h = 1469598103934665603ull; /* FNV-1a of the name, so that streams are named, not numbered */
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 1099511628211ull;
    return (rt_rng){seed, h + index * 0x9E3779B97F4A7C15ull};
}

uint64_t rt_rng_u64(rt_rng r, uint64_t index) {
    uint32_t c[4];
    philox(r.seed, r.stream, index, c);
    return (uint64_t)c[0] << 32 | c[1];
}
double rt_rng_uniform(rt_rng r, uint64_t index) { return (double)(rt_rng_u64(r, index) >> 11) * 0x1p-53; }

double rt_rng_normal(rt_rng r, uint64_t index) {
    uint32_t c[4];
    philox(r.seed, r.stream, index, c);
    double u = ((double)((uint64_t)c[0] << 21 | c[1] >> 11) + 1) * 0x1p-53; /* (0, 1] */
    double v = (double)((uint64_t)c[2] << 21 | c[3] >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t rt_rng_below(rt_rng r, uint64_t index, uint64_t bound) {
    return (uint64_t)(((unsigned __int128)rt_rng_u64(r, index) * bound) >> 64);
}

/* A balanced Feistel network on 2h bits, 2^(2h) >= n, walked until the result falls in [0, n). */
uint64_t rt_rng_permute(rt_rng r, uint64_t i, uint64_t n) {
    int h = 1;
    while (h < 32 && (1ull << (2 * h)) < n) h++;
    uint64_t mask = (1ull << h) - 1;
    do {
        uint64_t left = i >> h, right = i & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint64_t next = left ^ (rt_rng_u64(r, right << 8 | round) & mask);
            left = right, right = next;
        }
        i = left << h | right;
    } while (i >= n);
    return i;
}
