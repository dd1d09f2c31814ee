/* test_job.c - the job's tables, defaults, checks across keys, round trip, truncations, lack of memory. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/train/job.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

static const char example[] = /* the example of the documentation */
    "teacher:  {path: models/teacher, dtype: float16}\n"
    "projector: {kind: shared}\n"
    "student:  {init: random, arch: mixtral, hidden_size: 256, layers: 4, heads: 8, kv_heads: 4, ffn_size: 512, experts: 8, experts_per_token: 2}\n"
    "router:   {policy: topk}\n"
    "data:     {train: [train.bin], valid: [valid.bin], sequence_length: 256, batch: 8, accumulate: 1}\n"
    "objective:\n"
    "  - {loss: forward_kl,   weight: 0.7, temperature: 2.0}\n"
    "  - {loss: next_token,   weight: 0.3}\n"
    "  - {loss: balance,      weight: 1e-2}\n"
    "  - {loss: router_z,     weight: 1e-3}\n"
    "optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.1, betas: [0.9, 0.95], clip: 1.0}\n"
    "schedule: {kind: cosine, warmup: 100, steps: 2000, final: 0.1}\n"
    "precision: {student: f32, teacher: native}\n"
    "run:      {out: runs/a, seed: 1, eval_every: 100, save_every: 500, keep: 3, threads: 0, stop_after: 0}\n";

static const char *write_job(const char *text, size_t size) {
    static char path[600];
    snprintf(path, sizeof path, "%s/job.yaml", rt_test_dir());
    CU_ASSERT_EQUAL(rt_file_write_atomic(path, text, size, NULL), RT_OK);
    return path;
}
static char *text_of(const rt_job *job) {
    rt_buf b = {0};
    json_t *v = rt_job_json(job);
    rt_json_dump(v, 2, &b);
    json_decref(v);
    if (!b.failed) return b.data;
    rt_buf_free(&b);
    return NULL;
}
#define SETS(...) (const char *const[]){__VA_ARGS__}, (int64_t)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *))

static void check_table(const rt_option *table, const char *prefix, int *keys) {
    for (const rt_option *o = table; o->name; o++, ++*keys) {
        char path[200];
        snprintf(path, sizeof path, "%s.%s", prefix, o->name);
        RT_CHECK(o->doc && strlen(o->doc) > 8 && o->doc[strlen(o->doc) - 1] != '.', "%s is not documented", path);
        RT_CHECK(!o->choices || o->choices[0], "%s has no choices", path);
        for (const rt_option *p = table; p < o; p++) RT_CHECK(strcmp(p->name, o->name) != 0, "%s stands twice", path);
        for (const rt_option *p = table; p < o; p++) RT_CHECK(p->offset != o->offset, "%s shares its place with %s", path, p->name);
        if (o->table) check_table(o->table, path, keys);
    }
}
static void every_key_is_documented(void) {
    int keys = 0;
    rt_buf help = {0};
    check_table(rt_job_options(), "job", &keys);
    rt_job_help(&help);
    rt_job_presets(&help);
    CU_ASSERT_TRUE(keys > 70 && !help.failed && strstr(help.data, "  objective.N.temperature ") && strstr(help.data, "  base "));
    rt_buf_free(&help);
}

/* Members of the job's structs that no file but the tables mentions would be keys without effect. */
static char *sources_of_train(void) {
    rt_buf all = {0};
    DIR *d = opendir(RT_SOURCE_DIR "/src/train");
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[1024];
        rt_error err = {0};
        if (!strstr(e->d_name, ".c") || strcmp(e->d_name, "job_tables.c") == 0) continue;
        snprintf(path, sizeof path, "%s/src/train/%s", RT_SOURCE_DIR, e->d_name);
        RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &all, &err));
    }
    if (d) closedir(d);
    return all.data;
}
static void find_readers(const rt_option *table, const char *sources) {
    for (const rt_option *o = table; o->name; o++) {
        char dot[96], arrow[96];
        snprintf(dot, sizeof dot, ".%s", o->name);
        snprintf(arrow, sizeof arrow, "->%s", o->name);
        RT_CHECK(strstr(sources, dot) || strstr(sources, arrow), "no code reads the key '%s'", o->name);
        if (o->table) find_readers(o->table, sources);
    }
}
static void every_key_is_read(void) {
    char *sources = sources_of_train();
    if (sources) find_readers(rt_job_options(), sources);
    else RT_FAILF("no sources were read");
    rt_free(sources);
}

static void the_example_is_the_default(void) {
    rt_error err = {0};
    rt_job a, b;
    RT_OK_OR_FAIL(rt_job_load(write_job(example, strlen(example)), NULL, 0, &a, &err));
    RT_OK_OR_FAIL(rt_job_load(NULL, SETS("teacher.path=models/teacher", "teacher.dtype=float16", "data.train=train.bin",
                                         "data.valid=[valid.bin]", "run.out=runs/a"), &b, &err));
    char *x = text_of(&a), *y = text_of(&b);
    CU_ASSERT_STRING_EQUAL(x, y);
    const rt_job_objective *o = rt_job_objectives(&a);
    CU_ASSERT_TRUE(a.objective.count == 4 && o[0].temperature == 2 && o[3].weight == 1e-3 && a.student.head_dim == 32);
    CU_ASSERT_TRUE(rt_job_lr(&a, 99) == 1e-3 && rt_job_weight(&a, o, 7) == 0.7 && a.run.head_budget == 96 << 20);
    CU_ASSERT_TRUE(rt_job_optim_config(&a).beta2 == 0.95);
    rt_free(x), rt_free(y);
    rt_job_free(&a), rt_job_free(&b);
}

static void what_is_unset_follows_the_rest(void) {
    rt_error err = {0};
    rt_job j;
    RT_OK_OR_FAIL(rt_job_load(NULL, SETS("data.train=[a, b]", "student.arch=llama"), &j, &err));
    CU_ASSERT_TRUE(j.student.experts == 0 && j.student.experts_per_token == 0 && j.objective.count == 1);
    CU_ASSERT_TRUE(j.projector.kind == RT_PROJECTOR_NONE && strcmp(rt_job_objectives(&j)->loss, "next_token") == 0);
    rt_job_free(&j);
    RT_OK_OR_FAIL(rt_job_load(NULL, SETS("objective.0.final_weight=0.1", "objective.0.final_temperature=1", "data.train=a",
                                         "teacher.path=t", "schedule.steps=100", "data.sequence_length=4096", "precision.student=bf16"),
                              &j, &err));
    const rt_job_objective *o = rt_job_objectives(&j);
    CU_ASSERT_TRUE(j.objective.count == 4 && j.student.max_position == 4096 && j.projector.kind == RT_PROJECTOR_SHARED);
    CU_ASSERT_DOUBLE_EQUAL(rt_job_weight(&j, o, 50), 0.4, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(rt_job_temperature(&j, o, 50), 1.5, 1e-15);
    CU_ASSERT_TRUE(rt_job_role_dtype(&j, RT_ROLE_EXPERT) == RT_BF16 && rt_job_role_dtype(&j, RT_ROLE_ROUTER) == RT_F32);
    CU_ASSERT_TRUE(rt_job_role_dtype(&j, RT_ROLE_PROJECTOR) == RT_NONE && rt_job_role_dtype(&j, RT_ROLE_LOSS) == RT_F32);
    rt_job_free(&j);
    RT_OK_OR_FAIL(rt_job_load(NULL, SETS("data.train=a", "objective.0.weight=0.25", "teacher.path=t"), &j, &err)); /* of the default objective */
    CU_ASSERT_TRUE(j.objective.count == 4 && rt_job_objectives(&j)->weight == 0.25 && rt_job_objectives(&j)->temperature == 2);
    rt_job_free(&j);
}

static void presets_fit(void) {
    static const char *const sizes[] = {"tiny", "small", "base"};
    for (int i = 0; i < 9; i++) {
        static const char *const archs[] = {"student.arch=auto", "student.arch=qwen3_moe", "student.arch=qwen3"};
        rt_error err = {0};
        rt_job j;
        rt_model_config c;
        RT_OK_OR_FAIL(rt_job_init(&j, &err));
        RT_OK_OR_FAIL(rt_job_set(&j, archs[i / 3], &err));
        RT_OK_OR_FAIL(rt_job_preset(&j, sizes[i % 3], &err));
        RT_OK_OR_FAIL(rt_job_set(&j, "data.train=a", &err));
        RT_OK_OR_FAIL(rt_job_finish(&j, &err));
        RT_OK_OR_FAIL(rt_job_student_config(&j, 1000, &c, &err));
        CU_ASSERT_TRUE(c.vocab_size == 1000 && c.experts == j.student.experts && (c.experts > 0) == (i < 6) && c.norm_topk == (i < 6) && rt_model_parameters(&c).total > 0);
        CU_ASSERT_EQUAL(rt_job_preset(&j, "smal", &err), RT_E_USAGE);
        CU_ASSERT_STRING_EQUAL(err.text, "--student: found 'smal', expected one of: tiny, small, base; did you mean 'small'?");
        rt_job_free(&j);
    }
}

static void jobs_that_make_no_sense_are_refused(void) {
    static const struct {
        const char *sets[4], *error;
    } cases[] = {
        {{"seed=1"}, "--set seed=1: unknown key 'seed'"},
        {{"run.sead=1"}, "did you mean 'seed'?"},
        {{"data.train=[]"}, "data.train: no training files are given"},
        {{"projector.kind=shared"}, "projector.kind needs a teacher, and teacher.path is not set"},
        {{"objective=[{loss: forward_kl}]"}, "objective[0] (forward_kl): needs a teacher, and teacher.path is not set"},
        {{"teacher.path=t", "projector.kind=none"}, "objective[0] (forward_kl): needs the teacher's logits, and projector.kind is none"},
        {{"student.arch=llama", "objective=[{loss: next_token}, {loss: balance}]"}, "objective[1] (balance): needs experts, and student.arch is a dense family"},
        {{"student.arch=llama", "student.experts=4"}, "student: "},
        {{"student.arch=mixtral", "student.experts=0"}, "student: "},
        {{"student.experts=2", "student.experts_per_token=3"}, "student: "},
        {{"student.kv_heads=3"}, "student: "},
        {{"student.hidden_size=100"}, "student.hidden_size 100 is no multiple of student.heads 8; set student.head_dim"},
        {{"student.arch=mixtrall"}, "student.arch: found 'mixtrall', expected a model family; did you mean 'mixtral'?"},
        {{"student.arch=olmoe"}, "student.arch: found olmoe, which is read as a teacher only, expected llama, mistral"},
        {{"student.init=upcycle"}, "student.init is upcycle, and student.from is not set"},
        {{"student.granularity=2"}, "student.granularity is set, and belongs to student.init: upcycle"},
        {{"student.upcycle_noise=0.1"}, "student.upcycle_noise is set, and belongs to student.init: upcycle"},
        {{"student.init=checkpoint"}, "student.init is checkpoint, and student.from is not set"},
        {{"student.from=x"}, "student.from is set, and student.init is random; set it to checkpoint or upcycle"},
        {{"student.max_position=64"}, "data.sequence_length 256 is longer than student.max_position 64"},
        {{"objective=[{loss: next_token, final_weight: -0.5}]"}, "objective[0]: final_weight -0.5, final_temperature 1: expected >= 0"},
        {{"objective=[{weight: 1}]"}, "objective[0]: 'loss' is not set"},
        {{"objective=[{loss: next_token, weight: 0}]"}, "objective: every weight is 0"},
        {{"objective=[{loss: next_token, temperature: 2}]"}, "objective[0] (next_token): has no temperature"},
        {{"objective=[{loss: balance, label_smoothing: 0.1}]"}, "objective[0] (balance): has no label_smoothing; next_token has"},
        {{"objective=[{loss: balance, beta: 0.1}]"}, "objective[0] (balance): has no beta; jsd has"},
        {{"objective=[{loss: next_tokn}]"}, "objective[0].loss: found 'next_tokn', expected one of:"},
        {{"schedule.warmup=3000"}, "schedule.warmup 3000 is longer than schedule.steps 2000: set both"},
        {{"optimizer.betas=[0.9]"}, "optimizer.betas: found 1 numbers, expected 2"},
        {{"optimizer.eps=1e-45"}, "--set optimizer.eps=1e-45: found '1e-45', expected a number"},
        {{"data.valid_fraction=0"}, "nothing to validate on"},
        {{"data.batch=1000000", "data.sequence_length=4096"}, "found 1000000 x 4096 tokens"},
        {{"precision.router=bf16"}, "expected one of: inherit, f32, f64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *sets[5] = {"data.train=a"};
        int64_t n = 1;
        for (; n < 5 && cases[i].sets[n - 1]; n++) sets[n] = cases[i].sets[n - 1];
        rt_error err = {0};
        rt_job j;
        rt_status s = rt_job_load(NULL, sets, n, &j, &err);
        RT_CHECK(s == RT_E_CONFIG && strstr(err.text, cases[i].error), "%s: %s '%s', expected '%s'", sets[n - 1], rt_status_name(s),
                 err.text, cases[i].error);
        if (s == RT_OK) rt_job_free(&j);
    }
}

static void a_resolved_job_reads_back_the_same(void) {
    rt_error err = {0};
    rt_job a, b, c;
    RT_OK_OR_FAIL(rt_job_load(write_job(example, strlen(example)), SETS("optimizer.lr=0.3333333333333333", "run.seed=9000000000000000"), &a, &err));
    char *x = text_of(&a);
    json_t *v = rt_job_json(&a);
    RT_OK_OR_FAIL(rt_job_from_json(v, "MANIFEST.json", &b, &err));
    RT_OK_OR_FAIL(rt_job_load(write_job(x, strlen(x)), NULL, 0, &c, &err));
    char *y = text_of(&b), *z = text_of(&c);
    CU_ASSERT_STRING_EQUAL(x, y);
    CU_ASSERT_STRING_EQUAL(x, z);
    CU_ASSERT_TRUE(b.optimizer.lr == a.optimizer.lr && b.run.seed == 9000000000000000);
    json_object_set_new(json_object_get(v, "run"), "sead", json_integer(1));
    rt_job_free(&b);
    CU_ASSERT_EQUAL(rt_job_from_json(v, "MANIFEST.json", &b, &err), RT_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.text, "MANIFEST.json: unknown key 'sead' in run (did you mean 'seed'?)");
    json_decref(v);
    rt_free(x), rt_free(y), rt_free(z);
    rt_job_free(&a), rt_job_free(&c);
}

static void every_truncation_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    const char *path = write_job("", 0);
    for (size_t n = 0; n < strlen(example); n += 3) {
        rt_error err = {0};
        rt_job j;
        FILE *f = fopen(path, "w");
        fwrite(example, 1, n, f);
        fclose(f);
        rt_status s = rt_job_load(path, NULL, 0, &j, &err);
        if (s == RT_OK) rt_job_free(&j);
        else if (s != RT_E_CONFIG || !*err.text) RT_FAILF("at %zu: %s", n, rt_status_name(s));
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
}

static void out_of_memory_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    const char *path = write_job(example, strlen(example));
    int n = 1;
    for (rt_status s = RT_E_NOMEM; s != RT_OK && n < 2000; n++) {
        rt_job j = {0};
        rt_mem_fail_at(n);
        s = rt_job_load(path, SETS("run.seed=3"), &j, NULL);
        json_t *v = s == RT_OK ? rt_job_json(&j) : NULL;
        if (s == RT_OK && !v) s = RT_E_NOMEM;
        rt_mem_fail_at(0);
        json_decref(v);
        rt_job_free(&j);
        if (s != RT_OK && s != RT_E_NOMEM) RT_FAILF("allocation %d: %s", n, rt_status_name(s));
        if (rt_mem_stats_get().live_blocks != before) RT_FAILF("allocation %d: leak", n);
    }
    CU_ASSERT_TRUE(n > 100 && n < 2000);
}

RT_SUITE(job) {
    RT_TEST(every_key_is_documented);
    RT_TEST(every_key_is_read);
    RT_TEST(the_example_is_the_default);
    RT_TEST(what_is_unset_follows_the_rest);
    RT_TEST(presets_fit);
    RT_TEST(jobs_that_make_no_sense_are_refused);
    RT_TEST(a_resolved_job_reads_back_the_same);
    RT_TEST(every_truncation_is_clean);
    RT_TEST(out_of_memory_is_clean);
}
