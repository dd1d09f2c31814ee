/* test_export_gguf.c - exports as GGUF files: honest numbers for every family and type, refusals, nothing half-written; folders in
 * parts; tokenizers that arrive complete. */
#include "command_line.h"
#include "fixture_models.h"
#include "harness.h"
#include "small_model.h"
#include "export/private.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A folder with a model in `from`, and a free name beside it. */
typedef struct places {
    char root[640], from[700], to[720];
} places;
static void make_places(places *p, int64_t experts, const char *tensor, double x) {
    rt_weights w;
    rt_model_config c = small_config(experts);
    rt_precision policy = rt_precision_student(RT_F32);
    snprintf(p->root, sizeof p->root, "%s", rt_test_dir());
    snprintf(p->from, sizeof p->from, "%s/from", p->root), snprintf(p->to, sizeof p->to, "%s/to.gguf", p->root);
    small_model(&w, &c, &policy, 0.2);
    for (int64_t i = 0; i < w.count && tensor; i++)
        if (strcmp(w.slots[i].name, tensor) == 0) rt_put(&w.slots[i].t, 5, x);
    small_folder(p->from, &w);
    rt_weights_free(&w);
}
static const char *in(const char *folder, const char *file) {
    static char buffers[4][1100];
    static unsigned turn;
    char *b = buffers[turn++ % 4];
    snprintf(b, 1100, "%.1000s/%.90s", folder, file);
    return b;
}
static void put_file(const char *path, const char *text) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_write_atomic(path, text, strlen(text), &err));
}
static int entries(const char *folder) {
    DIR *d = opendir(folder);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    if (d) closedir(d);
    return n;
}
static bool same_file(const char *a, const char *b) {
    uint32_t x = 0, y = 1;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_crc32(a, &x, NULL, &err));
    RT_OK_OR_FAIL(rt_file_crc32(b, &y, NULL, &err));
    return x == y;
}
static rt_export_options gguf(rt_dtype t) { return (rt_export_options){.dtype = t == RT_U8 ? RT_F32 : t, .q8_0 = t == RT_U8, .gguf = true}; } /* u8 stands for q8_0 */
static rt_status export_as(const places *p, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    rt_error_clear(err);
    return rt_export_model(p->from, p->to, o, r, err);
}

/* ----------------------------------------------------------------- numbers */

static void every_type_is_checked(void) {
    static const rt_dtype types[] = {RT_F32, RT_F16, RT_BF16, RT_U8};
    static const double most[] = {0, 1e-4, 1e-2, 1e-2};
    for (int64_t experts = 0; experts <= 4; experts += 4)
        for (int i = 0; i < 4; i++) {
            places p;
            rt_error err = {0};
            rt_export_report r = {0};
            rt_export_options o = gguf(types[i]);
            make_places(&p, experts, NULL, 0);
            RT_OK_OR_FAIL(export_as(&p, &o, &r, &err));
            RT_CHECK(r.kl <= most[i] && (r.changed > 0) == (i > 0) && (r.kl > 0) == (i > 0), "type %d: KL %g, %lld changed", i, r.kl, (long long)r.changed);
            CU_ASSERT_TRUE(r.positions == 512 && r.routes == (experts ? 512 * 2 * 2 : 0) && r.files == 1 && (r.routes_flipped == 0 || i > 0));
            CU_ASSERT_EQUAL(r.kept_f16, i == 3 ? 2 * (experts ? experts : 1) : 0); /* down, whose rows are 48 */
            CU_ASSERT_EQUAL(entries(p.root), 2);
        }
}
static void fixtures_of_every_family_pass(void) {
    static const char *const names[] = {"llama", "llama3", "mistral", "mixtral", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "olmoe"};
    for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
        fixture f;
        rt_error err = {0};
        rt_export_report r;
        rt_export_options o = gguf(i % 2 ? RT_BF16 : RT_F32);
        if (!fixture_open(&f, names[i / 2])) return;
        o.probe = f.ids, o.probe_ids = 100;
        RT_OK_OR_FAIL(rt_export_model(fixture_path(&f, "f32"), in(rt_test_dir(), "m.gguf"), &o, &r, &err));
        RT_CHECK(i % 2 ? r.changed > 0 && r.kl < 5e-3 : r.changed == 0 && r.kl == 0, "%s: %lld changed, KL %g", f.name, (long long)r.changed, r.kl);
        fixture_close(&f);
    }
}
/* A student in bf16 has an f32 router: in a GGUF file it stays, in a folder it is rounded. */
static void the_router_of_a_bf16_student_keeps_its_bits(void) {
    places p;
    rt_weights w;
    rt_error err = {0};
    rt_export_report r;
    rt_export_options o = gguf(RT_BF16), folder = {.dtype = RT_BF16};
    rt_model_config c = small_config(4);
    rt_precision policy = rt_precision_student(RT_BF16);
    make_places(&p, 4, NULL, 0);
    small_model(&w, &c, &policy, 0.2);
    small_folder(p.from, &w);
    rt_weights_free(&w);
    RT_OK_OR_FAIL(export_as(&p, &o, &r, &err));
    CU_ASSERT_EQUAL(r.changed, 0);
    RT_OK_OR_FAIL(rt_export_model(p.from, in(p.root, "folder"), &folder, &r, &err));
    CU_ASSERT_TRUE(r.changed > 2 * 4 * 30 && r.changed <= 2 * 4 * 32);
}
static void a_file_gives_the_folder_back(void) {
    places p;
    rt_error err = {0};
    rt_export_report r;
    rt_export_options o = gguf(RT_F32), plain = {.dtype = RT_F32};
    char direct[720], back[720];
    make_places(&p, 4, NULL, 0);
    snprintf(direct, sizeof direct, "%s/direct", p.root), snprintf(back, sizeof back, "%s/back", p.root);
    RT_OK_OR_FAIL(export_as(&p, &o, &r, &err));
    RT_OK_OR_FAIL(rt_export_model(p.from, direct, &plain, &r, &err));
    RT_OK_OR_FAIL(rt_export_model(p.to, back, &plain, &r, &err));
    RT_OK_OR_FAIL(rt_export_model(p.to, in(p.root, "again.gguf"), &o, &r, &err)); /* without a tokenizer, as it is */
    CU_ASSERT_TRUE(same_file(in(direct, "model.safetensors"), in(back, "model.safetensors")) && same_file(in(direct, "config.json"), in(back, "config.json")));
}
static void a_changed_bit_is_found(void) {
    places p;
    rt_error err = {0};
    rt_frozen source;
    rt_rounded rounded;
    rt_export_report r;
    rt_export_options o = gguf(RT_U8);
    rt_model_config held;
    make_places(&p, 4, NULL, 0);
    RT_OK_OR_FAIL(export_as(&p, &o, &r, &err));
    RT_OK_OR_FAIL(rt_frozen_open(&source, p.from, RT_ACTIVATIONS_STORED, &err));
    RT_OK_OR_FAIL(rt_gguf_config(rt_hf_config(source.files), NULL, &held, &err));
    RT_OK_OR_FAIL(rt_rounded_plan(&rounded, &held, &o, &err));
    RT_OK_OR_FAIL(rt_rounded_fill(&rounded, source.files, &err));
    RT_OK_OR_FAIL(rt_export_check(p.to, &source, &rounded, &o, &r, &err));
    FILE *f = fopen(p.to, "r+b");
    fseek(f, -40, SEEK_END); /* before 30 bytes of padding: a signed byte of the last matrix's last block */
    int c = fgetc(f);
    fseek(f, -40, SEEK_END);
    fputc(c ^ 1, f);
    fclose(f);
    RT_CHECK(rt_export_check(p.to, &source, &rounded, &o, &r, &err) == RT_E_CHECK && strstr(err.text, "in the export, expected"), "%s", err.text);
    rt_rounded_free(&rounded);
    rt_frozen_close(&source);
}

/* ---------------------------------------------------------------- refusals */

static void what_a_type_cannot_hold_is_refused_by_name(void) {
    places p;
    rt_error err = {0};
    rt_export_report r;
    rt_export_options f16 = gguf(RT_F16), q8_0 = gguf(RT_U8);
    make_places(&p, 4, "layers.1.experts.gate_up", 65520);
    RT_CHECK(export_as(&p, &f16, &r, &err) == RT_E_NUMERIC && strstr(err.text, "w1.weight holds a number beyond the range of f16"), "%s", err.text);
    CU_ASSERT_EQUAL(entries(p.root), 1);
    RT_OK_OR_FAIL(export_as(&p, &q8_0, &r, &err)); /* its scale is small */
    make_places(&p, 4, "layers.1.experts.gate_up", 127.0 * 65520);
    RT_CHECK(export_as(&p, &q8_0, &r, &err) == RT_E_NUMERIC && strstr(err.text, "beyond the range of q8_0"), "%s", err.text);
    make_places(&p, 4, "model.layers.0.block_sparse_moe.gate.weight", 1e30);
    RT_OK_OR_FAIL(export_as(&p, &f16, &r, &err)); /* the router stays f32 */
}
static void other_peoples_files_are_left_alone(void) {
    places p;
    rt_error err = {0};
    rt_export_report r;
    rt_export_options o = gguf(RT_F16);
    make_places(&p, 0, NULL, 0);
    RT_OK_OR_FAIL(export_as(&p, &o, &r, &err));
    RT_OK_OR_FAIL(export_as(&p, &o, &r, &err)); /* an export of ours */
    put_file(p.to, "GGUF and more");
    RT_CHECK(export_as(&p, &o, &r, &err) == RT_E_USAGE && strstr(err.text, "is no export of ours (--force replaces it)"), "%s", err.text);
    o.force = true;
    RT_OK_OR_FAIL(export_as(&p, &o, &r, &err));
    snprintf(p.from, sizeof p.from, "%.690s", p.to);
    RT_CHECK(export_as(&p, &o, &r, &err) == RT_E_USAGE && strstr(err.text, "is the model to export"), "%s", err.text);
    snprintf(p.to, sizeof p.to, "%s", p.root);
    RT_CHECK(export_as(&p, &o, &r, &err) == RT_E_USAGE && strstr(err.text, "is a folder"), "%s", err.text);
    o.gguf = false, o.q8_0 = true;
    CU_ASSERT_EQUAL(export_as(&p, &o, &r, &err), RT_E_ARG);
}

/* ---------------------------------------------------------------- failures */

static void every_failed_write_leaves_the_old_file(void) {
    places p;
    rt_error err = {0};
    rt_export_report r;
    rt_export_options f32 = gguf(RT_F32), f16 = gguf(RT_F16);
    rt_status s = RT_E_IO;
    char old[720];
    make_places(&p, 4, NULL, 0);
    RT_OK_OR_FAIL(export_as(&p, &f32, &r, &err));
    snprintf(old, sizeof old, "%s/old", p.root);
    CU_ASSERT_EQUAL(link(p.to, old), 0);
    int64_t n = 1;
    for (; s != RT_OK && n < 400; n++) {
        rt_file_fail_at(n);
        s = export_as(&p, &f16, &r, &err);
        rt_file_fail_at(0);
        RT_CHECK(s == RT_OK || (s == RT_E_IO && entries(p.root) == 3), "write %lld: %s, %d files", (long long)n, rt_status_name(s), entries(p.root));
    }
    CU_ASSERT_TRUE(n > 20 && n < 400 && entries(p.root) == 3 && !same_file(p.to, old));
}
static void out_of_memory_is_clean(void) {
    places p;
    rt_error err = {0};
    rt_export_report r;
    rt_export_options o = gguf(RT_U8);
    rt_status s = RT_E_NOMEM;
    make_places(&p, 4, NULL, 0);
    int64_t n = 1, step = 1, before = rt_mem_stats_get().live_blocks;
    for (; s != RT_OK && n < 20000; n += step) {
        step = n < 40 ? 1 : 23;
        rt_mem_fail_at(n);
        s = export_as(&p, &o, &r, &err);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || (s == RT_E_NOMEM && entries(p.root) == 1), "allocation %lld: %s %s", (long long)n, rt_status_name(s), err.text);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
    }
    CU_ASSERT_EQUAL(s, RT_OK);
}

/* ------------------------------------------------------------------- parts */

static void a_folder_in_parts_is_the_same_model(void) {
    places p;
    rt_error err = {0};
    rt_export_report one, many;
    rt_hf_hash x = {"x"}, y = {"y"};
    rt_hf *a = NULL, *b = NULL;
    json_t *index = NULL;
    char parts[720];
    make_places(&p, 4, NULL, 0);
    snprintf(parts, sizeof parts, "%s/parts", p.root), snprintf(p.to, sizeof p.to, "%s/one", p.root);
    RT_OK_OR_FAIL(rt_export_model(p.from, p.to, &(rt_export_options){.dtype = RT_BF16}, &one, &err));
    RT_OK_OR_FAIL(rt_export_model(p.from, parts, &(rt_export_options){.dtype = RT_BF16, .part_bytes = 20000}, &many, &err));
    CU_ASSERT_TRUE(one.files == 1 && many.files > 3 && many.changed == one.changed && many.kl == one.kl);
    CU_ASSERT_EQUAL(entries(parts), many.files + 4); /* the index, two configurations, the mark */
    RT_OK_OR_FAIL(rt_hf_open(p.to, &a, &err));
    RT_OK_OR_FAIL(rt_hf_open(parts, &b, &err));
    if (a && b && rt_hf_content_hash(a, &x, &err) == RT_OK) RT_OK_OR_FAIL(rt_hf_content_hash(b, &y, &err));
    CU_ASSERT_STRING_EQUAL(x.hex, y.hex);
    RT_OK_OR_FAIL(rt_json_load(in(parts, RT_HF_INDEX), 0, &index, &err));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), b ? rt_hf_weight_bytes(b) : -1);
    json_decref(index);
    rt_hf_close(a), rt_hf_close(b);
    RT_OK_OR_FAIL(rt_export_model(p.from, parts, &(rt_export_options){.dtype = RT_BF16}, &one, &err)); /* its parts are ours to replace */
    CU_ASSERT_TRUE(entries(parts) == 4 && rt_file_exists(in(parts, "model.safetensors")));
}

/* --------------------------------------------------------------- tokenizers */

static void a_tokenizer_arrives_complete(void) {
    char out[4096], to[700], again[700], from[1024], file[700];
    json_t *config = NULL;
    rt_error err = {0};
    const char *model = rt_fixture("models/stories260K/hf-f32"), *dir = rt_test_dir();
    if (!model) return;
    snprintf(from, sizeof from, "%s", model), snprintf(to, sizeof to, "%s/to", dir), snprintf(again, sizeof again, "%s/again", dir);
    snprintf(file, sizeof file, "%s/m.gguf", dir);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --dtype f32 --out %s", from, to), 0);
    CU_ASSERT_TRUE(same_file(in(from, "tokenizer_config.json"), in(to, "tokenizer_config.json")) && rt_file_exists(in(to, "tokenizer.model")));
    unlink(in(to, "tokenizer_config.json"));
    put_file(in(to, "chat_template.jinja"), "{{ chat }}");
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --dtype f32 --out %s", to, again), 0);
    CU_ASSERT_TRUE(rt_file_exists(in(again, "chat_template.jinja")));
    RT_OK_OR_FAIL(rt_json_load(in(again, "tokenizer_config.json"), 0, &config, &err));
    static const char *const expected[][2] = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"tokenizer_class", "PreTrainedTokenizerFast"}};
    for (int i = 0; i < 4; i++) {
        const char *found = json_string_value(json_object_get(config, expected[i][0]));
        RT_CHECK(found && strcmp(found, expected[i][1]) == 0, "%s: %s", expected[i][0], found ? found : "missing");
    }
    json_decref(config);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --format gguf --dtype f16 --out %s --json", to, file), 0);
    rt_gguf *g = NULL;
    const char *text = "";
    size_t n = 0;
    RT_OK_OR_FAIL(rt_gguf_open(file, &g, &err));
    CU_ASSERT_TRUE(rt_gguf_text(rt_gguf_find(g, "tokenizer.chat_template"), &text, &n) && n == 10 && memcmp(text, "{{ chat }}", 10) == 0);
    rt_gguf_close(g);
}
static void a_file_is_a_model_for_every_command(void) {
    char out[4096], twin[4096], file[700], ids[700];
    const char *model = rt_fixture("models/stories260K-moe4x/hf-f32"), *dir = rt_test_dir();
    if (!model) return;
    snprintf(file, sizeof file, "%s/m.gguf", dir), snprintf(ids, sizeof ids, "%s/ids.txt", dir);
    put_file(ids, "1 403 407 261 378\n");
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --format gguf --dtype f32 --out %s", model, file), 0);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --prompt 'Once upon a time' --greedy --tokens 20 --print-ids --quiet", file), 0);
    CU_ASSERT_EQUAL(command_line(twin, sizeof twin, "generate %s --prompt 'Once upon a time' --greedy --tokens 20 --print-ids --quiet", model), 0);
    CU_ASSERT_STRING_EQUAL(out, twin);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "logits %s --ids %s --out %s", file, ids, in(dir, "a")), 0);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "logits %s --ids %s --out %s", model, ids, in(dir, "b")), 0);
    CU_ASSERT_TRUE(same_file(in(dir, "a"), in(dir, "b")));
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --format gguf --dtype q8_0 --no-tokenizer --out %s", model, file), 0);
    RT_CHECK(strstr(out, "kept in f16: their rows are no multiple of 32") && strstr(out, "holds no tokenizer"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --prompt x", file), 3);
    RT_CHECK(strstr(out, "has no tokenizer.huggingface.json"), "%s", out);
}

RT_SUITE(export_gguf) {
    RT_TEST(every_type_is_checked);
    RT_TEST(fixtures_of_every_family_pass);
    RT_TEST(the_router_of_a_bf16_student_keeps_its_bits);
    RT_TEST(a_file_gives_the_folder_back);
    RT_TEST(a_changed_bit_is_found);
    RT_TEST(what_a_type_cannot_hold_is_refused_by_name);
    RT_TEST(other_peoples_files_are_left_alone);
    RT_TEST(every_failed_write_leaves_the_old_file);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(a_folder_in_parts_is_the_same_model);
    RT_TEST(a_tokenizer_arrives_complete);
    RT_TEST(a_file_is_a_model_for_every_command);
}
