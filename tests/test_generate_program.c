/* test_generate_program.c - `retort generate` as a user and as a program meet it. */
#include "command_line.h"
#include "harness.h"
#include <retort/base/json.h>
#include <retort/io/hf_generation.h>
#include <stdio.h>
#include <string.h>

enum { OUT = 1 << 14 };
static const char *stories(void) { return rt_fixture("models/stories260K/hf-f32"); }
static json_t *parsed(const char *out) {
    json_t *o = NULL;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_json_parse(out, strlen(out), "stdout", &o, &err));
    return o;
}
static const json_t *text_of(const json_t *o, size_t i, const char *key) { return json_object_get(json_array_get(json_object_get(o, "texts"), i), key); }

static void json_has_everything(void) {
    char out[OUT], plain[OUT];
    const char *m = stories();
    if (!m) return;
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet -p 'Once upon a time' -g -n 12 --json", m), 0);
    CU_ASSERT_EQUAL(command_line(plain, OUT, "generate %s --quiet -p 'Once upon a time' -g -n 12", m), 0);
    json_t *o = parsed(out);
    if (!o) return;
    CU_ASSERT_EQUAL(json_array_size(json_object_get(o, "prompt_ids")), 5);
    CU_ASSERT_EQUAL(json_array_size(text_of(o, 0, "ids")), 12);
    CU_ASSERT_STRING_EQUAL(json_string_value(text_of(o, 0, "stop")), "tokens");
    char whole[OUT];
    snprintf(whole, OUT, "Once upon a time%s\n", json_string_value(text_of(o, 0, "text")));
    RT_CHECK(strcmp(whole, plain) == 0, "'%s' and '%s'", whole, plain);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(o, "prefill"), "tokens")), 5);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(o, "decode"), "tokens")), 11);
    CU_ASSERT_TRUE(json_number_value(json_object_get(json_object_get(o, "decode"), "tokens_per_s")) > 0);
    CU_ASSERT_TRUE(json_integer_value(json_object_get(json_object_get(o, "memory"), "keys_values")) > 0);
    json_decref(o);
}

/* Text i of several is the text that is written alone; the first is that of one. */
static void samples_are_what_each_is_alone(void) {
    char out[OUT], one[OUT];
    const char *m = stories();
    if (!m) return;
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet -p 'Tom had' -n 20 --seed 5 --top-p 0.9 --samples 3 --json", m), 0);
    CU_ASSERT_EQUAL(command_line(one, OUT, "generate %s --quiet -p 'Tom had' -n 20 --seed 5 --top-p 0.9 --json --threads 1", m), 0);
    json_t *a = parsed(out), *b = parsed(one);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(a, "texts")), 3);
    CU_ASSERT_TRUE(json_equal(text_of(a, 0, "ids"), text_of(b, 0, "ids")));
    CU_ASSERT_FALSE(json_equal(text_of(a, 0, "ids"), text_of(a, 1, "ids")));
    json_decref(a), json_decref(b);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet -p 'Tom had' -n 5 -g --samples 2", m), 0);
    const char *second = strstr(out, "--- 2\nTom had");
    RT_CHECK(strncmp(out, "--- 1\nTom had", 13) == 0 && second, "%s", out);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet -p 'Tom had' -n 5 -g --samples 2 --print-ids", m), 0);
    size_t line = strcspn(out, "\n");
    RT_CHECK(strlen(out) == 2 * (line + 1) && memcmp(out, out + line + 1, line + 1) == 0, "%s", out);
}

static void stop_texts_end_it(void) {
    char out[OUT];
    const char *m = stories();
    if (!m) return;
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet -p 'Once upon a time' -g -n 40 --stop 'Lily. She' --stop nothing", m), 0);
    RT_CHECK(strcmp(out, "Once upon a time, there was a little girl named \n") == 0, "'%s'", out);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet -p 'Once upon a time' -g -n 40 --stop 'Lily. She' --json", m), 0);
    json_t *o = parsed(out);
    RT_CHECK(strcmp(json_string_value(text_of(o, 0, "stop")), "text") == 0 && strcmp(json_string_value(text_of(o, 0, "text")), ", there was a little girl named ") == 0, "%s", out);
    json_decref(o);
}

static void put(const char *path, const char *what) {
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(what, f);
    fclose(f);
}
static void prompts_come_from_files_and_pipes(void) {
    char out[OUT], want[OUT], file[600];
    const char *m = stories();
    if (!m) return;
    snprintf(file, sizeof file, "%s/prompt.txt", rt_test_dir());
    put(file, "Once upon a time\n");
    CU_ASSERT_EQUAL(command_line(want, OUT, "generate %s --quiet -p 'Once upon a time' -g -n 8", m), 0);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet --prompt-file %s -g -n 8", m, file), 0);
    RT_CHECK(strcmp(out, want) == 0, "'%s'", out);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --quiet --prompt - -g -n 8 < %s", m, file), 0);
    RT_CHECK(strcmp(out, want) == 0, "'%s'", out);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --prompt x --prompt-file %s", m, file), 2);
    RT_CHECK(strstr(out, "--prompt and --prompt-file: found both, expected one"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --prompt-file %s.none", m, file), 3);
    CU_ASSERT_EQUAL(command_line(out, OUT, "generate %s --top-p 0", m), 2);
}

static void all_end_ids_are_known(void) {
    char path[600];
    const char *folder = rt_test_dir();
    rt_ids ids = {0};
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_hf_end_ids(folder, &ids, &err));
    CU_ASSERT_EQUAL(ids.size, 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    put(path, "{\"eos_token_id\": 7}");
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    put(path, "{\"eos_token_id\": [7, 9, 4], \"bos_token_id\": 1}");
    RT_OK_OR_FAIL(rt_hf_end_ids(folder, &ids, &err));
    CU_ASSERT_TRUE(ids.size == 3 && ids.data[0] == 7 && ids.data[1] == 9 && ids.data[2] == 4);
    put(path, "{\"eos_token_id\": [7, \"x\"]}");
    CU_ASSERT_EQUAL(rt_hf_end_ids(folder, &ids, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "generation_config.json") && strstr(err.text, "eos_token_id"), "%s", err.text);
    rt_ids_free(&ids);
}

RT_SUITE(generate_program) {
    RT_TEST(json_has_everything);
    RT_TEST(samples_are_what_each_is_alone);
    RT_TEST(stop_texts_end_it);
    RT_TEST(prompts_come_from_files_and_pipes);
    RT_TEST(all_end_ids_are_known);
}
