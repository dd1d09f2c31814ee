/* doctor.c - `retort doctor`: this machine, the libraries, measured speeds, and what to do about what is wrong. */
#include "cli/libraries.h"
#include "cli/machine.h"
#include "kernels/convert.h"
#include "kernels/gemm.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/measure.h"
#include <retort/base/command.h>
#include <retort/base/threads.h>
#include <strings.h>
#include <time.h>

typedef struct arguments {
    bool json, fast;
} arguments;

static const rt_option options[] = {RT_OPT_FLAG(arguments, json, "no", "print JSON"),
                                    RT_OPT_FLAG(arguments, fast, "no", "measure nothing"), RT_OPT_END};

typedef struct speeds { /* 0: not measured */
    double product, panel, f64, fma_core, copy, f16, bf16_product, f16_product;
} speeds;
enum { WARNINGS = 8 };
typedef struct report {
    rt_machine machine;
    speeds speed;
    char warning[WARNINGS][256];
    int warnings;
} report;

/* -------------------------------------------------------------- measuring */

enum { CONVERT_TASKS = 16, CONVERT_EACH = 1 << 20, REPEATS = 5 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A block fits the second-level cache, as the panels do that the products are fed with. */
static void convert_task(void *context, int64_t task, int worker) {
    const uint16_t *half = (const uint16_t *)context + task * 4096;
    float *out = rt_scratch(worker);
    for (int64_t done = 0; done < CONVERT_EACH; done += 4096) rt_rows_load_f32(RT_F16, half, out, 4096);
}

static rt_status f16_rate(double *elements, rt_error *err) {
    double best = 1e30;
    void *half = rt_zalloc(CONVERT_TASKS * 4096 * 2);
    rt_status s = half ? rt_scratch_reserve(4096 * sizeof(float), err)
                       : rt_fail(err, RT_E_NOMEM, "out of memory while measuring conversions");
    for (int i = 0; s == RT_OK && i < REPEATS; i++) {
        double start = now();
        rt_parallel(CONVERT_TASKS, convert_task, half);
        double took = now() - start;
        best = took < best ? took : best;
    }
    rt_free(half);
    *elements = (double)CONVERT_TASKS * CONVERT_EACH / best * 1e-9;
    return s;
}

static rt_status measure(speeds *s, rt_error *err) {
    rt_log(RT_LOG_PROGRESS, "measuring (a few seconds) ...");
    s->fma_core = rt_measure_fma_peak();
    RT_TRY(rt_measure_product_rate(&s->product, err));
    RT_TRY(rt_measure_panel_rate(&s->panel, err));
    RT_TRY(rt_measure_half_rate(RT_BF16, &s->bf16_product, err));
    RT_TRY(rt_measure_half_rate(RT_F16, &s->f16_product, err));
    RT_TRY(rt_measure_f64_rate(&s->f64, err));
    RT_TRY(rt_measure_copy_rate(&s->copy, err));
    return f16_rate(&s->f16, err);
}

/* --------------------------------------------------------------- judging */

static void warn(report *r, const char *format, ...) RT_PRINTF(2, 3);
static void warn(report *r, const char *format, ...) {
    va_list args;
    if (r->warnings == WARNINGS) return;
    va_start(args, format);
    vsnprintf(r->warning[r->warnings++], sizeof r->warning[0], format, args);
    va_end(args);
}

static bool outdated_kernels(void) {
    return strncasecmp(rt_openblas_core(), "Prescott", 8) == 0 || strncasecmp(rt_openblas_core(), "Core2", 5) == 0 ||
           strncasecmp(rt_openblas_core(), "generic", 7) == 0;
}

static void judge_cpu(report *r) {
    const rt_machine *m = &r->machine;
    if (rt_isa_level() == RT_ISA_LOWEST)
        warn(r, "no AVX2 and FMA: row kernels run at the lowest level, several times slower; use a newer machine");
    if (outdated_kernels())
        warn(r,
             "OpenBLAS does not know this processor and runs its %s kernels (LAPACK, at the start of a run, is slow; "
             "results are "
             "right); set OPENBLAS_CORETYPE=%s before starting retort",
             rt_openblas_core(), rt_isa_level() == RT_ISA_HIGHEST ? "SKYLAKEX" : "HASWELL");
    if (m->cores_granted > 0 && m->cores_granted < m->cores_usable)
        warn(r, "the container grants %.1f cores but %d threads would start; set run.threads=%d", m->cores_granted,
             m->cores_usable, m->cores_granted < 1 ? 1 : (int)m->cores_granted);
    if (m->cores_usable < m->cores_online)
        warn(r, "%d of %d cores may be used (affinity: taskset or the container)", m->cores_usable, m->cores_online);
}

static void judge_rest(report *r) {
    const rt_machine *m = &r->machine;
    const speeds *s = &r->speed;
    double peak = s->fma_core * m->cores_usable;
    if (m->memory_available && m->memory_available < (int64_t)2 << 30)
        warn(r, "%.1f GiB of memory are free; a small distillation wants 2 GiB",
             (double)m->memory_available / (1 << 30));
    if (m->disk_free >= 0 && m->disk_free < (int64_t)1 << 30)
        warn(r, "%.2f GiB of disk are free here; checkpoints go to run.out: choose another place or lower run.keep",
             (double)m->disk_free / (1 << 30));
    bool busy = m->load > 0.5 * m->cores_usable + 0.5;
    if (busy)
        warn(r, "the machine is busy (load %.1f on %d cores): the speeds are lower than they could be", m->load,
             m->cores_usable);
    else if (s->panel > 0 && s->panel < 0.4 * peak)
        warn(r,
             "f32 products reach only %.0f %% of the multiply-add peak (60 to 90 is usual); does 'libraries' name "
             "oneDNN?",
             100 * s->panel / peak);
}

/* -------------------------------------------------------------- reporting */

static void row(rt_buf *out, const char *name, const char *format, ...) RT_PRINTF(3, 4);
static void row(rt_buf *out, const char *name, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rt_buf_printf(out, "  %-20s %s\n", name, text);
}

static double gib(int64_t bytes) { return (double)bytes / (1 << 30); }

static void add_machine(const rt_machine *m, rt_buf *out) {
    rt_buf_puts(out, "machine\n");
    row(out, "processor", "%s", m->cpu);
    row(out, "features", "%s", m->features);
    row(out, "row kernels", "%s level", rt_isa_name(rt_isa_level()));
    row(out, "half products", "%s", rt_half_summary());
    row(out, "cores", "%d usable of %d", m->cores_usable, m->cores_online);
    row(out, "memory", "%.1f GiB free of %.1f", gib(m->memory_available), gib(m->memory));
    if (m->memory_limit) row(out, "memory limit", "%.1f GiB (control group)", gib(m->memory_limit));
    row(out, "disk, here", "%.1f GiB free", gib(m->disk_free));
    row(out, "load", "%.2f", m->load);
    row(out, "system", "%s", m->system);
    rt_buf_puts(out, "\nlibraries\n");
    for (const rt_library *l = rt_libraries(); l->name; l++) row(out, l->use, "%s %s", l->name, l->version);
}

static void add_speeds(const speeds *s, int cores, rt_buf *out) {
    double peak = s->fma_core * cores;
    rt_buf_printf(out, "\nspeeds, %d thread%s\n", cores, cores == 1 ? "" : "s");
    row(out, "multiply-add peak", "%7.1f GFLOP/s f32 (%.1f a core)", peak, s->fma_core);
    row(out, "f32 products", "%7.1f GFLOP/s (%.0f %% of the peak), weights as in files", s->product,
        100 * s->product / peak);
    row(out, "f32 products, panels", "%7.1f GFLOP/s (%.0f %% of the peak), weights as retort packs them", s->panel,
        100 * s->panel / peak);
    if (s->bf16_product > 0) row(out, "bf16 products", "%7.1f GFLOP/s (%.2f x f32 panels)", s->bf16_product, s->bf16_product / s->panel);
    if (s->f16_product > 0) row(out, "f16 products", "%7.1f GFLOP/s (%.2f x f32 panels)", s->f16_product, s->f16_product / s->panel);
    row(out, "f64 products", "%7.1f GFLOP/s", s->f64);
    row(out, "f16 to f32", "%7.1f G elements/s", s->f16);
    row(out, "memory copy", "%7.1f GB/s, read and written", s->copy);
}

static void add_warnings(const report *r, bool colour, rt_buf *out) {
    rt_buf_puts(out, r->warnings ? "\nwarnings\n" : "\nNothing to complain about.\n");
    for (int i = 0; i < r->warnings; i++)
        rt_buf_printf(out, "  %s%s%s\n", colour ? "\033[33m" : "", r->warning[i], colour ? "\033[0m" : "");
}

static rt_status report_text(rt_context *c, const report *r, rt_error *err) {
    rt_buf page = {0};
    add_machine(&r->machine, &page);
    if (r->speed.product > 0) add_speeds(&r->speed, r->machine.cores_usable, &page);
    add_warnings(r, c->colour, &page);
    return rt_out_buf(c, &page, err);
}

static json_t *machine_json(const rt_machine *m) {
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:I, s:I, s:I, s:I, s:s}", "processor", m->cpu, "features",
                     m->features, "row_kernels", rt_isa_name(rt_isa_level()), "half_products", rt_half_summary(), "cores_usable", m->cores_usable,
                     "cores_online", m->cores_online, "cores_granted", m->cores_granted, "load", m->load, "memory",
                     (json_int_t)m->memory, "memory_available", (json_int_t)m->memory_available, "memory_limit",
                     (json_int_t)m->memory_limit, "disk_free", (json_int_t)m->disk_free, "system", m->system);
}
static json_t *speeds_json(const speeds *s) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "fma_peak_core_gflops", s->fma_core, "f32_product_gflops",
                     s->product, "f32_panel_gflops", s->panel, "f64_product_gflops", s->f64, "f16_to_f32_gelements",
                     s->f16, "copy_gbytes", s->copy, "bf16_product_gflops", s->bf16_product, "f16_product_gflops", s->f16_product);
}
static json_t *libraries_json(void) {
    json_t *object = json_object();
    for (const rt_library *l = rt_libraries(); l->name && object; l++)
        if (json_object_set_new(object, l->name, json_string(l->version)) != 0) json_decref(object), object = NULL;
    return object;
}
static json_t *warnings_json(const report *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->warnings && list; i++)
        if (json_array_append_new(list, json_string(r->warning[i])) != 0) json_decref(list), list = NULL;
    return list;
}

static rt_status report_json(rt_context *c, const report *r, rt_error *err) {
    return rt_out_json(c,
                       json_pack("{s:s, s:o, s:o, s:o*, s:o}", "version", RT_VERSION, "machine",
                                 machine_json(&r->machine), "libraries", libraries_json(), "speeds",
                                 r->speed.product > 0 ? speeds_json(&r->speed) : NULL, "warnings", warnings_json(r)),
                       err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    report r = {.machine = rt_machine_read()};
    if (!a->fast) RT_TRY(measure(&r.speed, err));
    judge_cpu(&r);
    judge_rest(&r);
    return a->json ? report_json(c, &r, err) : report_text(c, &r, err);
}

const rt_command rt_command_doctor = {"doctor",
                                      "this machine, the libraries, measured speeds, and warnings",
                                      "[--json] [--fast]",
                                      NULL,
                                      options,
                                      sizeof(arguments),
                                      run};
