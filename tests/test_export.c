/* test_export.c - exports: exact bits, honest numbers, refusals, and nothing half-written whatever fails. */
#include "command_line.h"
#include "fixture_models.h"
#include "harness.h"
#include "small_model.h"
#include "export/private.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/threads.h>
#include <retort/io/checkpoint.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A folder with a model in `from`, and a free name beside it. */
typedef struct places {
    char from[700], to[720];
} places;
static void make_places(places *p, int64_t experts, rt_dtype t) {
    const char *dir = rt_test_dir();
    rt_weights w;
    rt_model_config c = small_config(experts);
    rt_precision policy = t == RT_F32 ? rt_precision_student(t) : rt_precision_teacher(t, true);
    snprintf(p->from, sizeof p->from, "%s/from", dir), snprintf(p->to, sizeof p->to, "%s/to", dir);
    small_model(&w, &c, &policy, 0.2);
    small_folder(p->from, &w);
    rt_weights_free(&w);
}
static const char *in(const char *folder, const char *file) {
    static char buffers[4][1024];
    static unsigned turn;
    char *b = buffers[turn++ % 4];
    snprintf(b, 1024, "%s/%s", folder, file);
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
static int beside(const places *p) { /* entries of the folder both lie in */
    char parent[700];
    snprintf(parent, sizeof parent, "%s", p->from);
    *strrchr(parent, '/') = 0;
    return entries(parent);
}
static rt_status export_as(const places *p, rt_dtype t, bool force, rt_export_report *r, rt_error *err) {
    rt_error_clear(err);
    return rt_export_model(p->from, p->to, &(rt_export_options){.dtype = t, .force = force}, r, err);
}
static bool same_file(const char *a, const char *b) {
    uint32_t x = 0, y = 1;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_crc32(a, &x, NULL, &err));
    RT_OK_OR_FAIL(rt_file_crc32(b, &y, NULL, &err));
    return x == y;
}

/* ---------------------------------------------------------------- numbers */

static void f32_gives_the_checkpoints_own_bits(void) {
    places p;
    rt_export_report r;
    rt_error err = {0};
    make_places(&p, 4, RT_F32);
    put_file(in(p.from, "optimizer.safetensors"), "x"), put_file(in(p.from, "projector.safetensors"), "x");
    put_file(in(p.from, "tokenizer.json"), "{\"a\": 1}"), put_file(in(p.from, "tokenizer_config.json"), "{}");
    RT_OK_OR_FAIL(export_as(&p, RT_F32, false, &r, &err));
    CU_ASSERT_TRUE(same_file(in(p.from, "model.safetensors"), in(p.to, "model.safetensors")));
    CU_ASSERT_TRUE(same_file(in(p.from, "config.json"), in(p.to, "config.json")));
    CU_ASSERT_TRUE(same_file(in(p.from, "tokenizer.json"), in(p.to, "tokenizer.json")));
    CU_ASSERT_EQUAL(entries(p.to), 6); /* three of the model, two of the tokenizer, the mark */
    CU_ASSERT_TRUE(r.changed == 0 && r.kl == 0 && r.top1_changed == 0 && r.routes_flipped == 0);
    CU_ASSERT_TRUE(r.positions == 512 && r.routes == 512 * 2 * 2);
}

static void check_halves(int64_t experts, rt_dtype t) {
    places p;
    rt_export_report r, again;
    rt_error err = {0};
    rt_hf *a = NULL, *b = NULL;
    make_places(&p, experts, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, t, false, &r, &err));
    RT_OK_OR_FAIL(rt_hf_open(p.from, &a, &err));
    RT_OK_OR_FAIL(rt_hf_open(p.to, &b, &err));
    for (int64_t i = 0; a && b && i < rt_weight_count(rt_hf_config(a)); i++) {
        const rt_tensor *x = rt_hf_weight(a, i), *y = rt_hf_weight(b, i);
        rt_tensor one = rt_tensor_1d(t, (uint16_t[]){0}, 1);
        bool same = y->dtype == t;
        for (int64_t k = 0; same && k < rt_tensor_count(x); k++) {
            rt_put(&one, 0, rt_get(x, k));
            same = ((uint16_t *)one.data)[0] == ((const uint16_t *)y->data)[k];
        }
        RT_CHECK(same, "tensor %lld is not rounded to %s", (long long)i, rt_dtype_name(t));
    }
    rt_hf_close(a), rt_hf_close(b);
    RT_CHECK(r.changed > r.weights / 2 && r.kl > 0 && r.kl < 1e-2 && isfinite(r.kl), "%lld changed, KL %g", (long long)r.changed, r.kl);
    snprintf(p.from, sizeof p.from, "%.690s", p.to); /* what is half already does not change */
    strcat(p.to, "-again");
    RT_OK_OR_FAIL(export_as(&p, t, false, &again, &err));
    CU_ASSERT_EQUAL(again.activations, t); /* the model's own, which is said beside the differences */
    CU_ASSERT_TRUE(again.changed == 0 && same_file(in(p.from, "model.safetensors"), in(p.to, "model.safetensors")));
}
static void halves_are_rounded_to_nearest_even(void) {
    check_halves(0, RT_F16);
    check_halves(4, RT_F16);
    check_halves(4, RT_BF16);
}

static void threads_change_no_byte(void) {
    places p;
    rt_export_report r[2];
    rt_error err = {0};
    make_places(&p, 4, RT_F32);
    for (int n = 0; n < 2; n++) {
        rt_threads_set(1 + 2 * n);
        RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &r[n], &err));
        if (n == 0) RT_OK_OR_FAIL(rt_file_rename(p.to, in(p.from, "../first"), &err));
    }
    rt_threads_set(0);
    CU_ASSERT_TRUE(memcmp(&r[0], &r[1], sizeof r[0]) == 0);
    CU_ASSERT_TRUE(same_file(in(p.from, "../first/" RT_EXPORT_MARK), in(p.to, RT_EXPORT_MARK)));
}

static void fixtures_give_the_reference_files(void) {
    static const char *const names[] = {"llama", "llama3", "mistral", "mixtral"};
    for (int i = 0; i < 8; i++) {
        fixture f;
        rt_error err = {0};
        rt_export_report r;
        rt_hf *a = NULL, *b = NULL;
        rt_hf_hash x = {"x"}, y = {"y"};
        const char *half = i % 2 ? "bf16" : "f16";
        if (!fixture_open(&f, names[i / 2])) return;
        const char *out = in(rt_test_dir(), "out");
        RT_OK_OR_FAIL(rt_export_model(fixture_path(&f, "f32"), out, &(rt_export_options){.dtype = i % 2 ? RT_BF16 : RT_F16, .probe = f.ids, .probe_ids = 100}, &r, &err));
        CU_ASSERT_EQUAL(r.positions, 100);
        if (f.last4[i % 2] && err.status == RT_OK) {
            RT_OK_OR_FAIL(rt_hf_open(fixture_path(&f, half), &a, &err));
            RT_OK_OR_FAIL(rt_hf_open(out, &b, &err));
            if (a && b && rt_hf_content_hash(a, &x, &err) == RT_OK) RT_OK_OR_FAIL(rt_hf_content_hash(b, &y, &err));
            RT_CHECK(strcmp(x.hex, y.hex) == 0, "%s in %s is not the reference's", f.name, half);
        }
        rt_hf_close(a), rt_hf_close(b);
        fixture_close(&f);
    }
}

/* --------------------------------------------------------------- refusals */

static const rt_tensor *from_files(void *files, int64_t i) { return rt_hf_weight(files, i); }
static void set_weight(const places *p, const char *tensor, double x) {
    rt_error err = {0};
    rt_frozen f;
    RT_OK_OR_FAIL(rt_frozen_open(&f, p->from, RT_ACTIVATIONS_STORED, &err));
    rt_weights w;
    RT_OK_OR_FAIL(rt_weights_like(&w, &f.weights, RT_F32, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(&w, &err));
    RT_OK_OR_FAIL(rt_weights_copy(&w, from_files, f.files, &err));
    for (int64_t i = 0; i < w.count; i++)
        if (strcmp(w.slots[i].name, tensor) == 0) rt_put(&w.slots[i].t, 5, x);
    rt_frozen_close(&f);
    small_folder(p->from, &w);
    rt_weights_free(&w);
}
static void what_a_half_cannot_hold_is_refused_by_name(void) {
    places p;
    rt_export_report r;
    rt_error err = {0};
    make_places(&p, 4, RT_F32);
    set_weight(&p, "layers.1.experts.down", 65520);
    RT_CHECK(export_as(&p, RT_F16, false, &r, &err) == RT_E_NUMERIC && strstr(err.text, "model.layers.1.block_sparse_moe.experts.0.w2.weight holds a number beyond the range of f16"),
             "%s", err.text);
    CU_ASSERT_EQUAL(beside(&p), 1);
    RT_OK_OR_FAIL(export_as(&p, RT_BF16, false, &r, &err)); /* bf16 can */
    set_weight(&p, "layers.1.experts.down", 65519);          /* rounds to 65504 */
    p.to[strlen(p.to) - 1] = 'x';
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &r, &err));
    set_weight(&p, "model.norm.weight", (double)INFINITY);
    RT_CHECK(export_as(&p, RT_F32, false, &r, &err) == RT_E_NUMERIC && strstr(err.text, "model.norm.weight holds a number that is not finite"), "%s", err.text);
}

static void other_peoples_folders_are_left_alone(void) {
    places p;
    rt_export_report r;
    rt_error err = {0};
    make_places(&p, 0, RT_F32);
    RT_OK_OR_FAIL(rt_dir_make(p.to, &err));
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &r, &err)); /* empty */
    RT_OK_OR_FAIL(export_as(&p, RT_F32, false, &r, &err)); /* an export */
    put_file(in(p.to, "notes.txt"), "mine");
    RT_CHECK(export_as(&p, RT_F16, false, &r, &err) == RT_E_USAGE && strstr(err.text, "holds notes.txt, which the export before did not write"), "%s", err.text);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, true, &r, &err));
    CU_ASSERT_FALSE(rt_file_exists(in(p.to, "notes.txt")));
    unlink(in(p.to, RT_EXPORT_MARK));
    RT_CHECK(export_as(&p, RT_F16, false, &r, &err) == RT_E_USAGE && strstr(err.text, "--force"), "%s", err.text);
    RT_OK_OR_FAIL(rt_dir_make(in(p.to, "sub"), &err));
    RT_CHECK(export_as(&p, RT_F16, true, &r, &err) == RT_E_USAGE && strstr(err.text, "holds the folder sub"), "%s", err.text);
    snprintf(p.to, sizeof p.to, "%s", p.from);
    RT_CHECK(export_as(&p, RT_F16, true, &r, &err) == RT_E_USAGE && strstr(err.text, "the model to export lies there"), "%s", err.text);
    *strrchr(p.to, '/') = 0; /* the folder above the model */
    RT_CHECK(export_as(&p, RT_F16, true, &r, &err) == RT_E_USAGE && strstr(err.text, "the model to export lies there"), "%s", err.text);
    snprintf(p.to, sizeof p.to, "%s/config.json", p.from);
    CU_ASSERT_EQUAL(export_as(&p, RT_F16, true, &r, &err), RT_E_USAGE);
    CU_ASSERT_EQUAL(export_as(&p, RT_F64, true, &r, &err), RT_E_ARG);
}

static void a_crash_between_two_renames_is_mended(void) {
    places p;
    char old[800], building[800];
    rt_export_report r;
    rt_error err = {0};
    make_places(&p, 0, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &r, &err));
    snprintf(old, sizeof old, "%s/../.to.replaced", p.from), snprintf(building, sizeof building, "%s/../.to.export", p.from);
    RT_OK_OR_FAIL(rt_file_rename(p.to, old, &err));
    RT_OK_OR_FAIL(rt_dir_make(building, &err));
    put_file(in(p.from, "model.safetensors"), "damaged"); /* this export fails, and finds the old one again */
    CU_ASSERT_EQUAL(export_as(&p, RT_F16, false, &r, &err), RT_E_INPUT);
    make_places(&p, 0, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &r, &err));
    CU_ASSERT_EQUAL(beside(&p), 2);
}

/* ------------------------------------------------------------ differences */

/* Changes one byte of the folder's weights, then checks it. */
static void a_changed_bit_is_found(void) {
    places p;
    rt_error err = {0};
    rt_frozen source;
    rt_rounded rounded;
    rt_export_report r;
    rt_export_options o = {.dtype = RT_F16, .part_bytes = INT64_MAX};
    make_places(&p, 4, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &r, &err));
    RT_OK_OR_FAIL(rt_frozen_open(&source, p.from, RT_ACTIVATIONS_STORED, &err));
    RT_OK_OR_FAIL(rt_rounded_plan(&rounded, rt_hf_config(source.files), &o, &err));
    RT_OK_OR_FAIL(rt_rounded_fill(&rounded, source.files, &err));
    RT_OK_OR_FAIL(rt_export_check(p.to, &source, &rounded, &o, &r, &err));
    FILE *f = fopen(in(p.to, "model.safetensors"), "r+b");
    fseek(f, -2, SEEK_END);
    int c = fgetc(f);
    fseek(f, -2, SEEK_END);
    fputc(c ^ 1, f);
    fclose(f);
    RT_CHECK(rt_export_check(p.to, &source, &rounded, &o, &r, &err) == RT_E_CHECK && strstr(err.text, "in the export, expected"), "%s", err.text);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, true, &r, &err));
    ((rt_f16 *)rounded.tensors[0].data)[40].bits ^= 0x3c00; /* the weights in memory are no longer those of the folder */
    for (int i = 0; i < SMALL_V; i++) ((rt_f16 *)rounded.tensors[0].data)[i * 32].bits ^= 0x200;
    RT_CHECK(rt_export_check(p.to, &source, &rounded, &o, &r, &err) == RT_E_CHECK && strstr(err.text, "logits are not those"), "%s", err.text);
    rt_rounded_free(&rounded);
    rt_frozen_close(&source);
}

/* ------------------------------------------------------------- checkpoints */

static rt_status copy(const char *path, void *context, rt_error *err) {
    rt_buf b = {0};
    rt_status s = rt_file_read(context, 1 << 24, &b, err);
    if (s == RT_OK) s = rt_file_write_atomic(path, b.data, b.size, err);
    rt_buf_free(&b);
    return s;
}
/* p->from becomes a checkpoint of what it holds, with the policy in its manifest. */
static void make_checkpoint(places *p, const rt_precision *policy) {
    rt_error err = {0};
    rt_buf text = {0};
    char model[1024], config[1024], *path;
    snprintf(model, sizeof model, "%s/model.safetensors", p->from), snprintf(config, sizeof config, "%s/config.json", p->from);
    rt_checkpoint_file files[] = {{"model.safetensors", copy, model}, {"config.json", copy, config}, {"optimizer.safetensors", copy, config}};
    rt_precision_text(policy, &text);
    json_t *facts = json_pack("{s:s}", "precision", text.data);
    RT_OK_OR_FAIL(rt_checkpoint_save(p->from, 7, files, 3, facts, &err));
    path = rt_checkpoint_path(p->from, 7);
    snprintf(p->from, sizeof p->from, "%.690s", path);
    rt_free(path), rt_buf_free(&text), json_decref(facts);
}
static void checkpoints_are_verified_and_keep_their_policy(void) {
    places p;
    rt_export_report plain, stored;
    rt_error err = {0};
    rt_precision policy = rt_precision_student(RT_F32);
    make_places(&p, 4, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &plain, &err));
    for (int r = 0; r < RT_ROLE_COUNT; r++) policy.act[r] = r == rt_role_router ? RT_F32 : RT_BF16; /* the unrounded model runs so */
    make_checkpoint(&p, &policy);
    RT_OK_OR_FAIL(export_as(&p, RT_F16, false, &stored, &err));
    RT_CHECK(stored.changed == plain.changed && stored.kl > 2 * plain.kl, "KL %g and %g", stored.kl, plain.kl);
    CU_ASSERT_EQUAL(entries(p.to), 4);
    put_file(in(p.from, "optimizer.safetensors"), "damaged");
    RT_CHECK(export_as(&p, RT_F16, false, &stored, &err) == RT_E_INPUT && strstr(err.text, "optimizer.safetensors"), "%s", err.text);
}

/* ---------------------------------------------------------------- failures */

/* After each failed attempt the old export is whole and nothing lies beside it. */
static void check_untouched(const places *p, int64_t n, const char *what) {
    RT_CHECK(entries(p->to) == 4 && beside(p) == 2, "%s %lld: %d files, %d beside", what, (long long)n, entries(p->to), beside(p));
}
static void every_failed_write_leaves_the_old_export(void) {
    places p;
    rt_export_report r;
    rt_error err = {0};
    rt_status s = RT_E_IO;
    make_places(&p, 0, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F32, false, &r, &err));
    int64_t n = 1;
    for (; s != RT_OK && n < 200; n++) {
        rt_file_fail_at(n);
        s = export_as(&p, RT_F16, false, &r, &err);
        rt_file_fail_at(0);
        CU_ASSERT_TRUE(s == RT_OK || (s == RT_E_IO && !strchr(err.text, '\n')));
        check_untouched(&p, n, "write");
    }
    CU_ASSERT_TRUE(n > 8 && n < 200);
    p.to[strlen(p.to) - 1] = 'x'; /* a free name stays free */
    for (s = RT_E_IO, n = 1; s != RT_OK && n < 200; n++) {
        rt_file_fail_at(n);
        s = export_as(&p, RT_F16, false, &r, &err);
        rt_file_fail_at(0);
        RT_CHECK(beside(&p) == 2 + (s == RT_OK), "write %lld: %d beside", (long long)n, beside(&p));
    }
    CU_ASSERT_EQUAL(s, RT_OK);
}
static void out_of_memory_is_clean(void) {
    places p;
    rt_export_report r;
    rt_error err = {0};
    rt_status s = RT_E_NOMEM;
    make_places(&p, 4, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F32, false, &r, &err));
    int64_t n = 1, step = 1, before = rt_mem_stats_get().live_blocks;
    for (; s != RT_OK && n < 20000; n += step) {
        step = n < 60 ? 1 : 17;
        rt_mem_fail_at(n);
        s = export_as(&p, RT_F16, false, &r, &err);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s %s", (long long)n, rt_status_name(s), err.text);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
        check_untouched(&p, n, "allocation");
    }
    CU_ASSERT_EQUAL(s, RT_OK);
}

static int limited_child(const places *p) {
    rt_error err = {0};
    rt_export_report r;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){20000, 20000});
    if (export_as(p, RT_F16, false, &r, &err) != RT_E_IO) return 2;
    if (!strstr(err.text, "model.safetensors: cannot write: ") || strchr(err.text, '\n')) return 3;
    return entries(p->to) == 4 && beside(p) == 2 ? 0 : 4;
}
static void a_file_size_limit_is_a_clean_error(void) {
    places p;
    rt_export_report r;
    rt_error err = {0};
    int status;
    make_places(&p, 0, RT_F32);
    RT_OK_OR_FAIL(export_as(&p, RT_F32, false, &r, &err));
    rt_threads_set(1); /* a fork keeps only this thread */
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(limited_child(&p));
    waitpid(child, &status, 0);
    rt_threads_set(0);
    RT_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

/* ----------------------------------------------------------------- command */

static void the_command_reports(void) {
    places p;
    char out[4096];
    json_t *report;
    rt_error err = {0};
    make_places(&p, 4, RT_F32);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --format onnx --dtype f16 --out %s", p.from, p.to), 2);
    RT_CHECK(strstr(out, "gguf"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --dtype q8_0 --out %s", p.from, p.to), 2);
    RT_CHECK(strstr(out, "f32, f16, bf16"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --format hf --dtype f16 --out %s", p.from, p.to), 0);
    RT_CHECK(strstr(out, "routes of 2048 flipped"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --dtype float32 --out %s/ --json", p.from, p.to), 0);
    RT_OK_OR_FAIL(rt_json_parse(out, strlen(out), "report", &report, &err));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(report, "weights_changed")), 0);
    json_decref(report);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s/nowhere --dtype f16 --out %s", p.from, p.to), 3);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --prompt x", p.to), 3); /* it has no tokenizer */
}
static void a_text_may_be_the_probe(void) {
    char out[4096];
    const char *model = rt_fixture("models/stories260K-moe4x/hf-f32"), *text = model ? rt_fixture("text/tinystories_heldin.txt") : NULL;
    const char *to = in(rt_test_dir(), "to");
    if (!text) return;
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "export %s --dtype f16 --out %s --probe %s", model, to, text), 0);
    RT_CHECK(strstr(out, "4096 probe ids"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --prompt 'Once upon a time' --greedy --tokens 10 --activations f32", to), 0);
    RT_CHECK(strstr(out, "Once upon a time, there was"), "%s", out);
}

RT_SUITE(export) {
    RT_TEST(f32_gives_the_checkpoints_own_bits);
    RT_TEST(halves_are_rounded_to_nearest_even);
    RT_TEST(threads_change_no_byte);
    RT_TEST(fixtures_give_the_reference_files);
    RT_TEST(what_a_half_cannot_hold_is_refused_by_name);
    RT_TEST(other_peoples_folders_are_left_alone);
    RT_TEST(a_crash_between_two_renames_is_mended);
    RT_TEST(a_changed_bit_is_found);
    RT_TEST(checkpoints_are_verified_and_keep_their_policy);
    RT_TEST(every_failed_write_leaves_the_old_export);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(a_file_size_limit_is_a_clean_error);
    RT_TEST(the_command_reports);
    RT_TEST(a_text_may_be_the_probe);
}
