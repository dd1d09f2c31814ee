/* test_cli.c - command lines: every form of an option, refusals, help. */
#include "harness.h"
#include <retort/base/cli.h>
#include <string.h>

typedef struct arguments {
    const char *model, *out;
    rt_strings data, rest;
    int64_t sequence_length;
    double temperature;
    bool greedy;
} arguments;
static const rt_option table[] = {
    RT_OPT_STRING(arguments, model, NULL, "the model", .positional = true, .required = true, .operand = "MODEL"),
    RT_OPT_STRINGS(arguments, data, "[x]", "texts", .operand = "FILE..."),
    RT_OPT_STRING(arguments, out, NULL, "where to", .letter = 'o', .operand = "DIR"),
    RT_OPT_INT(arguments, sequence_length, "256", 1, 1e6, "window", .letter = 'T'),
    RT_OPT_REAL(arguments, temperature, "1", -10, 10, "of the samples"),
    RT_OPT_FLAG(arguments, greedy, "no", "take the likeliest", .letter = 'g'),
    RT_OPT_STRINGS(arguments, rest, NULL, "more", .positional = true, .operand = "INPUT..."),
    RT_OPT_END};

#define WORDS(...) (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))
static rt_status parse(const char *const *words, int n, arguments *out, rt_arena *a, bool *help, rt_error *err) {
    *out = (arguments){0};
    rt_error_clear(err);
    return rt_cli_parse(table, n, words, out, a, help, err);
}

static void every_form_is_understood(void) {
    rt_error err = {0};
    rt_arena a = {0};
    arguments s;
    bool help;
    RT_OK_OR_FAIL(parse(WORDS("m", "--data", "a", "b", "--sequence-length=64", "-o", "d", "-g", "--data=c"), &s, &a, &help, &err));
    CU_ASSERT_TRUE(!help && strcmp(s.model, "m") == 0 && strcmp(s.out, "d") == 0 && s.greedy && s.sequence_length == 64);
    CU_ASSERT_TRUE(s.data.count == 3 && strcmp(s.data.item[2], "c") == 0 && s.temperature == 1);
    RT_OK_OR_FAIL(parse(WORDS("-T32", "--temperature", "-0.5", "m", "--greedy", "--no-greedy", "p", "--", "-q"), &s, &a, &help, &err));
    CU_ASSERT_TRUE(s.sequence_length == 32 && s.temperature == -0.5 && !s.greedy && s.rest.count == 2);
    CU_ASSERT_TRUE(s.data.count == 1 && strcmp(s.rest.item[1], "-q") == 0);
    RT_OK_OR_FAIL(parse(WORDS("--sequence_length", "8", "-"), &s, &a, &help, &err));
    CU_ASSERT_TRUE(s.sequence_length == 8 && strcmp(s.model, "-") == 0);
    RT_OK_OR_FAIL(parse(WORDS("--help", "--nonsense"), &s, &a, &help, &err));
    CU_ASSERT_TRUE(help);
    rt_arena_free(&a);
}

static void refused(const char *const *words, int n, const char *text) {
    rt_error err = {0};
    rt_arena a = {0};
    arguments s;
    bool help;
    rt_status status = parse(words, n, &s, &a, &help, &err);
    RT_CHECK(status == RT_E_USAGE && strcmp(err.text, text) == 0, "'%s', expected '%s'", err.text, text);
    rt_arena_free(&a);
}
static void refusals_name_the_nearest(void) {
    refused(WORDS("m", "--temprature", "1"), "unknown option '--temprature' (did you mean '--temperature'?)");
    refused(WORDS("m", "--sequence-lenght=3"), "unknown option '--sequence-lenght' (did you mean '--sequence-length'?)");
    refused(WORDS("m", "-x"), "unknown option '-x'");
    refused(WORDS("m", "-gT"), "unknown option '-gT'");
    refused(WORDS("m", "--no-out"), "unknown option '--no-out' (did you mean '--out'?)");
    refused(WORDS("m", "--out"), "--out: found no value, expected a string");
    refused(WORDS("m", "--out", "--greedy"), "--out: found no value, expected a string");
    refused(WORDS("m", "--sequence-length", "0"), "--sequence-length: found '0', expected an integer, 1 to 1000000");
    refused(WORDS("m", "--greedy=maybe"), "--greedy: found 'maybe', expected true or false");
    refused(WORDS("--greedy"), "missing MODEL");
}

static void help_is_made_from_the_table(void) {
    rt_buf b = {0};
    rt_cli_help(table, "retort x MODEL [options]", "What it does.", &b);
    static const char *const lines[] = {"usage: retort x MODEL [options]\n\nWhat it does.\n\n  MODEL ",
                                        "  --data FILE...              texts ([x])\n",
                                        "  -T, --sequence-length N     window (an integer, 1 to 1000000; 256)\n",
                                        "  -g, --greedy                take the likeliest\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) RT_CHECK(strstr(b.data, lines[i]), "no '%s' in\n%s", lines[i], b.data);
    rt_buf_free(&b);
}

static void help_fits_eighty_columns(void) {
    static const char about[] = "A paragraph whose first line, as it is written here, is longer than any narrow terminal is wide, so it\n"
                                "is broken anew.\n  a row      of a table\n\nThe next.";
    static const char wanted[] = "usage: retort x MODEL [--one A] [--two B] [--three C] [--four D] [--five E]\n"
                                 "       [--six F [--seven G]]\n\n"
                                 "A paragraph whose first line, as it is written here, is longer than any narrow\n"
                                 "terminal is wide, so it is broken anew.\n  a row      of a table\n\nThe next.\n\n"
                                 "  --key NAME                  what it says takes more than one line in a narrow\n"
                                 "                              terminal (one of: a, b; a)\n"
                                 "  -h, --help";
    typedef struct long_one {
        const char *key;
    } long_one;
    static const char *const choices[] = {"a", "b", NULL};
    static const rt_option rows[] = {
        RT_OPT_STRING(long_one, key, "a", "what it says takes more than one line in a narrow terminal", .operand = "NAME", .choices = choices),
        RT_OPT_END};
    rt_buf b = {0};
    rt_cli_help(rows, "retort x MODEL [--one A] [--two B] [--three C] [--four D] [--five E] [--six F [--seven G]]", about, &b);
    RT_CHECK(strncmp(b.data, wanted, sizeof wanted - 1) == 0, "expected\n%s\nfound\n%s", wanted, b.data);
    rt_buf_free(&b);
}

static void out_of_memory_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    int n = 1;
    for (rt_status s = RT_E_NOMEM; s != RT_OK && n < 100; n++) {
        rt_arena a = {0};
        arguments out;
        bool help;
        rt_mem_fail_at(n);
        s = parse(WORDS("m", "--data", "a", "b", "-o", "d"), &out, &a, &help, NULL);
        rt_mem_fail_at(0);
        rt_arena_free(&a);
        CU_ASSERT_TRUE(s == RT_OK || s == RT_E_NOMEM);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
    }
    CU_ASSERT_TRUE(n < 100);
}

RT_SUITE(cli) {
    RT_TEST(every_form_is_understood);
    RT_TEST(refusals_name_the_nearest);
    RT_TEST(help_is_made_from_the_table);
    RT_TEST(help_fits_eighty_columns);
    RT_TEST(out_of_memory_is_clean);
}
