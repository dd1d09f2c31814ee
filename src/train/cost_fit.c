/* cost_fit.c - does a job fit, and if not, which of its keys would make it. Tried in the order of what they cost:
 * computing blocks again, then smaller micro-batches of the same optimizer step (neither changes what is learnt), then
 * what does. */
#include <retort/base/room.h>
#include <retort/base/threads.h>
#include <retort/train/cost.h>
#include <stdio.h>
#include <string.h>

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ------------------------------------------------------------------ bounds */

typedef struct bounds {
    int64_t memory;              /* for `needed`, in all */
    int64_t address_space, data; /* beyond what the process has */
    const char *said;            /* what bounds the memory */
} bounds;

static int64_t plus(int64_t a, int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }
static bounds bounds_of(const rt_job *job) {
    rt_room r = rt_room_now();
    bounds b = {plus(least(r.machine, r.group), rt_resident_now()), r.address_space, r.data,
                r.group < r.machine ? "in its control group" : "on this machine"};
    if (job->run.memory_limit != RT_MEMORY_AUTO) b.memory = job->run.memory_limit, b.said = "by run.memory_limit";
    return b;
}

int64_t rt_cost_granted(const rt_job *job) { return job->run.memory_limit == 0 ? INT64_MAX : bounds_of(job).memory; }

/* What is mapped of the teacher is mapped in the sketch too. */
static int64_t to_allocate(const rt_cost_memory *m) { return m->needed - m->process - m->teacher_pages; }
/* glibc's allocator reserves a piece of address space for each thread (HEAP_MAX_SIZE), mostly unused. */
static int64_t to_map(const rt_cost_memory *m) {
    return to_allocate(m) + m->mapped + rt_threads() * ((int64_t)64 << 20);
}

static bool fits(const rt_cost_memory *m, const bounds *b) {
    return m->needed <= b->memory && to_map(m) <= b->address_space && to_allocate(m) <= b->data;
}

/* ------------------------------------------------------------------- knobs */

typedef struct attempt {
    rt_trainer *t;
    const bounds *b;
    int64_t head_rows;
    rt_buf *found; /* "run.recompute=yes (499 MiB)", ... */
    int count;
} attempt;

/* Whether the job fits with these keys; if so they are noted, in the words of --set. */
static rt_status attempt_job(attempt *a, const rt_job *given, const rt_job *job, bool *does, rt_error *err) {
    rt_cost_memory m;
    RT_TRY(rt_trainer_replan(a->t, job, a->head_rows, err));
    RT_TRY(rt_cost_memory_of(a->t, &m, err));
    *does = fits(&m, a->b);
    if (!*does) return RT_OK;
    rt_buf_puts(a->found, a->count++ ? "; or" : ":");
    if (job->run.recompute != given->run.recompute) rt_buf_puts(a->found, " run.recompute=yes");
    if (job->data.batch != given->data.batch)
        rt_buf_printf(a->found, " data.batch=%lld data.accumulate=%lld", (long long)job->data.batch,
                      (long long)job->data.accumulate);
    if (job->data.sequence_length != given->data.sequence_length)
        rt_buf_printf(a->found, " data.sequence_length=%lld", (long long)job->data.sequence_length);
    if (job->run.head_budget != given->run.head_budget)
        rt_buf_printf(a->found, " run.head_budget=%lldMiB", (long long)(job->run.head_budget >> 20));
    rt_buf_printf(a->found, " (%.0f MiB)", (double)m.needed / 1048576);
    return RT_OK;
}

/* The largest micro-batch that fits; the step keeps its windows. */
static rt_status smaller_batches(attempt *a, const rt_job *given, rt_job job, bool *does, rt_error *err) {
    *does = false;
    for (int64_t parts = 2; !*does && parts <= given->data.batch; parts++) {
        if (given->data.batch % parts) continue;
        job.data.batch = given->data.batch / parts, job.data.accumulate = given->data.accumulate * parts;
        RT_TRY(attempt_job(a, given, &job, does, err));
    }
    return RT_OK;
}
enum { SHORTEST = 32, LEAST_BUDGET = 1 << 20 };
static rt_status halves(attempt *a, const rt_job *given, rt_job *job, int64_t *key, int64_t smallest, bool *does,
                        rt_error *err) {
    while (!*does && *key > smallest) {
        *key /= 2;
        RT_TRY(attempt_job(a, given, job, does, err));
    }
    return RT_OK;
}
/* All of the above, and shorter windows, or less of the vocabulary at a time, or both. */
static rt_status last_resorts(attempt *a, const rt_job *given, rt_job job, bool *does, rt_error *err) {
    job.data.accumulate *= job.data.batch, job.data.batch = 1;
    RT_TRY(halves(a, given, &job, &job.data.sequence_length, SHORTEST, does, err));
    int64_t shortest = job.data.sequence_length;
    if (!*does) job.data.sequence_length = given->data.sequence_length;
    RT_TRY(halves(a, given, &job, &job.run.head_budget, LEAST_BUDGET, does, err));
    if (*does) return RT_OK;
    job.data.sequence_length = shortest, job.run.head_budget = given->run.head_budget;
    return halves(a, given, &job, &job.run.head_budget, LEAST_BUDGET, does, err);
}

static rt_status try_all(attempt *a, const rt_job *given, rt_error *err) {
    rt_job again = *given;
    bool recomputed = false, parted = false, both = false;
    again.run.recompute = true;
    if (!given->run.recompute) {
        RT_TRY(attempt_job(a, given, &again, &recomputed, err));
        RT_TRY(smaller_batches(a, given, *given, &parted, err));
        if (recomputed || parted) return RT_OK;
    }
    RT_TRY(smaller_batches(a, given, again, &both, err));
    return both ? RT_OK : last_resorts(a, given, again, &both, err);
}

/* ------------------------------------------------------------------ answer */

static double mib(int64_t bytes) { return (double)bytes / 1048576; }

static rt_status refuse(const rt_cost_memory *m, const bounds *b, const rt_buf *found, rt_error *err) {
    char bound[128], rest[256];
    if (m->needed > b->memory)
        snprintf(bound, sizeof bound, "%.0f MiB of memory, %.0f MiB are granted %s", mib(m->needed), mib(b->memory),
                 b->said);
    else if (to_map(m) > b->address_space)
        snprintf(bound, sizeof bound, "%.0f MiB more of address space, ulimit -v leaves %.0f MiB", mib(to_map(m)),
                 mib(b->address_space));
    else
        snprintf(bound, sizeof bound, "%.0f MiB more of data, ulimit -d leaves %.0f MiB", mib(to_allocate(m)),
                 mib(b->data));
    if (found->size)
        snprintf(rest, sizeof rest, "it would fit with%s", found->data);
    else
        snprintf(rest, sizeof rest,
                 "the student's weights, gradients and moments alone are %.0f MiB: it takes a smaller student",
                 mib(m->weights + m->masters + m->gradients + m->moments));
    return rt_fail(err, RT_E_NOMEM, "this job needs %s; %s (run.memory_limit=0 lets it try)", bound, rest);
}

rt_status rt_cost_fits(rt_trainer *t, int64_t head_rows, rt_error *err) {
    const rt_job *job = t->job;
    bounds b = bounds_of(job);
    rt_cost_memory m;
    rt_buf found = {0};
    if (job->run.memory_limit == 0) return RT_OK;
    RT_TRY(rt_cost_memory_of(t, &m, err));
    if (fits(&m, &b)) return RT_OK;
    rt_error ignored = {0};
    attempt a = {.t = t, .b = &b, .head_rows = head_rows, .found = &found};
    rt_status s = try_all(&a, job, &ignored);
    if (rt_trainer_replan(t, job, head_rows, &ignored) != RT_OK) s = RT_E_NOMEM;
    s = s == RT_E_NOMEM ? rt_fail(err, s, "%s", ignored.text) : refuse(&m, &b, &found, err);
    rt_buf_free(&found);
    return s;
}
