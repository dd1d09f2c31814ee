/* generate.c - the loop around a decoder: the prompt once, then a row of each unfinished text. */
#include <retort/infer/generate.h>
#include <time.h>

const char *rt_stop_name(rt_stop s) {
    static const char *const names[] = {"tokens", "end", "positions", "text"};
    return names[s];
}

typedef struct writer {
    const rt_generation *o;
    int64_t samples, longest, prompt;
    rt_sampler sampler;
    rt_decoder *d;
    rt_ids *ids;
    rt_stop *why;
    int32_t *open, *last; /* [samples]: texts still written, and the id of each that is to be fed */
    int64_t count;
} writer;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_end(const rt_generation *o, int32_t id) {
    for (int64_t i = 0; i < o->ends; i++)
        if (o->end[i] == id) return true;
    return false;
}

/* Why text s is finished; false when it is not. */
static bool finished(writer *r, int64_t s, bool told_to_stop) {
    const rt_ids *ids = &r->ids[s];
    if (is_end(r->o, ids->data[ids->size - 1])) return r->why[s] = RT_STOP_END, true;
    if (told_to_stop) return r->why[s] = RT_STOP_TEXT, true;
    if (ids->size - r->prompt >= r->o->tokens) return r->why[s] = RT_STOP_TOKENS, true;
    if (ids->size > r->longest) return r->why[s] = RT_STOP_POSITIONS, true;
    return false;
}

/* Text s gets an id out of a row of logits; it stays among the open ones unless that finishes it. */
static rt_status choose(writer *r, int64_t s, const rt_tensor *logits, int64_t row, int64_t *open, rt_error *err) {
    rt_ids *ids = &r->ids[s];
    bool stop = false;
    rt_ids_add(ids, rt_sampler_pick(&r->sampler, logits, row, s, ids->size));
    if (ids->failed) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld ids", (long long)ids->size);
    if (r->o->chosen) RT_TRY(r->o->chosen(r->o->context, s, ids, &stop, err));
    if (finished(r, s, stop)) return RT_OK;
    r->open[*open] = (int32_t)s;
    r->last[(*open)++] = ids->data[ids->size - 1];
    return RT_OK;
}

/* Every text begins with the prompt, and with a choice of its own after it. */
static rt_status begin(writer *r, rt_error *err) {
    const rt_tensor *logits;
    RT_TRY(rt_decoder_prefill(r->d, 0, r->ids[0].data, r->prompt, &logits, err));
    for (int64_t s = 1; s < r->samples; s++) {
        rt_decoder_copy(r->d, 0, s);
        r->ids[s].size = 0;
        for (int64_t i = 0; i < r->prompt; i++) rt_ids_add(&r->ids[s], r->ids[0].data[i]);
        if (r->ids[s].failed) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld ids", (long long)r->prompt);
    }
    for (int64_t s = 0; s < r->samples; s++) RT_TRY(choose(r, s, logits, 0, &r->count, err));
    return RT_OK;
}
static rt_status step(writer *r, rt_error *err) {
    const rt_tensor *logits;
    int64_t count = r->count, open = 0;
    RT_TRY(rt_decoder_step(r->d, r->open, r->last, count, &logits, err));
    for (int64_t i = 0; i < count; i++) RT_TRY(choose(r, r->open[i], logits, i, &open, err));
    r->count = open;
    return RT_OK;
}

static rt_status write_on(writer *r, rt_generation_report *report, rt_error *err) {
    double start = now();
    RT_TRY(begin(r, err));
    report->prompt = report->prefilled = r->prompt;
    report->prefill_seconds = now() - start;
    for (start = now(); r->count > 0; report->decode_seconds = now() - start) {
        report->decoded += r->count;
        RT_TRY(step(r, err));
    }
    report->memory = rt_decoder_memory_get(r->d);
    return RT_OK;
}

/* ------------------------------------------------------------------ opening */

static rt_status check(const writer *r, const rt_weights *w, int64_t vocab, rt_error *err) {
    if (vocab < 1 || vocab > w->config.vocab_size || r->o->tokens < 1 || r->samples < 1)
        return rt_fail(err, RT_E_ARG, "%lld new ids of %lld texts, out of %lld of %lld ids", (long long)r->o->tokens, (long long)r->samples,
                       (long long)vocab, (long long)w->config.vocab_size);
    if (r->prompt < 1) return rt_fail(err, RT_E_ARG, "the prompt has no token to begin with");
    if (r->prompt > r->longest)
        return rt_fail(err, RT_E_ARG, "the prompt has %lld tokens, the model has %lld positions", (long long)r->prompt, (long long)r->longest);
    return RT_OK;
}
/* All rows that will be fed: the last id is not. Chunks of equal size, so that the last one has little padding. */
static rt_status open_decoder(writer *r, const rt_weights *w, const rt_precision *p, rt_error *err) {
    int64_t room = r->longest - r->prompt, rows = r->prompt + (r->o->tokens - 1 < room ? r->o->tokens - 1 : room);
    int64_t chunks = (r->prompt + 511) / 512;
    rt_decoder_options o = {.sequences = r->samples, .positions = rows, .chunk = (r->prompt + chunks - 1) / chunks, .exact = r->o->exact};
    return rt_decoder_open(&r->d, w, p, &o, err);
}
static rt_status open_all(writer *r, const rt_weights *w, const rt_precision *p, int64_t vocab, rt_error *err) {
    RT_TRY(rt_sampler_open(&r->sampler, &r->o->sampling, vocab, err));
    r->open = rt_alloc((size_t)r->samples * sizeof *r->open);
    r->last = rt_alloc((size_t)r->samples * sizeof *r->last);
    if (!r->open || !r->last) return rt_fail(err, RT_E_NOMEM, "out of memory");
    return open_decoder(r, w, p, err);
}

rt_status rt_generate(const rt_weights *w, const rt_precision *p, const rt_generation *o, rt_ids *ids, rt_stop *why, rt_generation_report *report, rt_error *err) {
    writer r = {.o = o, .samples = o->samples > 0 ? o->samples : 1, .longest = rt_model_longest(&w->config), .prompt = ids->size, .ids = ids, .why = why};
    int64_t vocab = o->vocab ? o->vocab : w->config.vocab_size;
    rt_generation_report unread, *to = report ? report : &unread;
    *to = (rt_generation_report){0};
    RT_TRY(check(&r, w, vocab, err));
    rt_status s = open_all(&r, w, p, vocab, err);
    if (s == RT_OK) s = write_on(&r, to, err);
    rt_decoder_close(r.d);
    rt_sampler_close(&r.sampler);
    rt_free(r.open), rt_free(r.last);
    return s;
}
