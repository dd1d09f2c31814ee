/* test_sha256.c - FIPS 180-4 examples, every length around the block boundaries, pieces against the whole. */
#include "base/sha256_blocks.h"
#include "harness.h"
#include <retort/base/sha256.h>
#include <string.h>

static void known_answers(void) {
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqr"
         "stu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[65];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_sha256_hex(cases[i].text, strlen(cases[i].text), hex);
        CU_ASSERT_STRING_EQUAL(hex, cases[i].hex);
    }
}

static void a_million_letters(void) {
    rt_sha256 s;
    char block[1000], hex[65];
    memset(block, 'a', sizeof block);
    rt_sha256_start(&s);
    for (int i = 0; i < 1000; i++) rt_sha256_add(&s, block, sizeof block);
    rt_sha256_end_hex(&s, hex);
    CU_ASSERT_STRING_EQUAL(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* The digest of the digests of all lengths 0..199; the value is Python's hashlib. */
static void every_length_around_a_block(void) {
    rt_sha256 all;
    uint8_t bytes[200], digest[32];
    char hex[65];
    rt_sha256_start(&all);
    for (int i = 0; i < 200; i++) bytes[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n < 200; n++) {
        rt_sha256 s;
        rt_sha256_start(&s);
        rt_sha256_add(&s, bytes, n);
        rt_sha256_end(&s, digest);
        rt_sha256_add(&all, digest, 32);
    }
    rt_sha256_end_hex(&all, hex);
    CU_ASSERT_STRING_EQUAL(hex, "0a716dcd52ebb45d547cf893c2616d1641ae3c122398e759ddeb1d0698a65c1a");
}

static void pieces_equal_the_whole(void) {
    uint8_t bytes[300];
    char whole[65], pieces[65];
    for (int i = 0; i < 300; i++) bytes[i] = (uint8_t)(i ^ i >> 3);
    rt_sha256_hex(bytes, sizeof bytes, whole);
    for (size_t step = 1; step < 150; step += 9) {
        rt_sha256 s;
        rt_sha256_start(&s);
        for (size_t i = 0; i < sizeof bytes; i += step) rt_sha256_add(&s, bytes + i, i + step > 300 ? 300 - i : step);
        rt_sha256_end_hex(&s, pieces);
        CU_ASSERT_STRING_EQUAL(pieces, whole);
    }
}

static void the_processors_instructions_give_the_same(void) {
    uint8_t bytes[64 * 40];
    uint32_t x = 1, a[8], b[8];
    if (!rt_sha256_has_x86()) {
        rt_test_skip("the processor has no SHA instructions");
        return;
    }
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    for (size_t blocks = 0; blocks <= 40; blocks++) {
        for (int i = 0; i < 8; i++) a[i] = b[i] = (x = x * 1664525 + 1013904223);
        rt_sha256_blocks_plain(a, bytes, blocks);
        rt_sha256_blocks_x86(b, bytes, blocks);
        CU_ASSERT_TRUE(memcmp(a, b, sizeof a) == 0);
    }
}

RT_SUITE(sha256) {
    RT_TEST(the_processors_instructions_give_the_same);
    RT_TEST(known_answers);
    RT_TEST(a_million_letters);
    RT_TEST(every_length_around_a_block);
    RT_TEST(pieces_equal_the_whole);
}
