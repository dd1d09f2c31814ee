/* generate.c - `retort generate`: continues a text. */
#include <retort/base/command.h>
#include <retort/base/file.h>
#include <retort/base/threads.h>
#include <retort/io/hf_generation.h>
#include <retort/text/text_stream.h>
#include <retort/infer/chat_prompt.h>
#include <retort/infer/expert_report.h>
#include <retort/infer/frozen.h>
#include <retort/infer/generate.h>
#include <string.h>
#include <time.h>

typedef struct arguments {
    const char *model, *prompt, *prompt_file, *system, *chat_template;
    rt_strings stop;
    int64_t tokens, top_k, seed, samples, threads, expert_budget;
    double temperature, top_p, min_p;
    bool greedy, exact, print_ids, json, chat;
    int activations;
} arguments;

static const char *const activations[] = {"stored", "native", "f32", NULL}; /* in the order of rt_activations */
static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a run, a checkpoint or a Hugging Face folder, with its tokenizer", .positional = true, .required = true, .operand = "MODEL"),
    RT_OPT_STRING(arguments, prompt, NULL, "the text to continue; - reads standard input; none: from the beginning of a document", .letter = 'p', .operand = "TEXT"),
    RT_OPT_STRING(arguments, prompt_file, NULL, "the text to continue, in a file; a line end at its end does not count", .letter = 'f', .operand = "FILE"),
    RT_OPT_FLAG(arguments, chat, "no", "the prompt is a message: put it into the tokenizer's chat template, and print the answer", .letter = 'c'),
    RT_OPT_STRING(arguments, system, NULL, "--chat: the system's message", .operand = "TEXT"),
    RT_OPT_STRING(arguments, chat_template, NULL, "--chat: a template's file, or one of the tokenizer's by name", .operand = "TEMPLATE"),
    RT_OPT_INT(arguments, tokens, "100", 1, 1e9, "at most so many new tokens", .letter = 'n'),
    RT_OPT_REAL(arguments, temperature, "1", 1e-3, 1e3, "below 1: likelier tokens more often", .letter = 't'),
    RT_OPT_INT(arguments, top_k, "0", 0, 1e9, "choose among the so many likeliest tokens; 0: among all", .letter = 'k'),
    RT_OPT_REAL(arguments, top_p, "1", 1e-6, 1, "of these, among the likeliest that make up this share of probability"),
    RT_OPT_REAL(arguments, min_p, "0", 0, 1, "of these, among those at least this many times as likely as the likeliest"),
    RT_OPT_INT(arguments, seed, "1", 0, 9e15, "equal seeds, equal texts", .letter = 's'),
    RT_OPT_FLAG(arguments, greedy, "no", "always take the likeliest token", .letter = 'g'),
    RT_OPT_STRINGS(arguments, stop, NULL, "end before this text; may be given again", .operand = "TEXT"),
    RT_OPT_INT(arguments, samples, "1", 1, 256, "so many texts, side by side"),
    RT_OPT_FLAG(arguments, exact, "no", "the bits of `retort logits` on the whole text; slower"),
    RT_OPT_FLAG(arguments, print_ids, "no", "print the ids of the new tokens instead of text, a line for each text"),
    RT_OPT_FLAG(arguments, json, "no", "print ids, texts, why they ended, and rates as JSON"),
    RT_OPT_ENUM(arguments, activations, "stored", activations, "stored: as the checkpoint says, native where it says nothing"),
    RT_OPT_BYTES(arguments, expert_budget, "0", 0, 1e15, "memory for experts; the least recently used leave; 0: no bound", .operand = "BYTES"),
    RT_OPT_INT(arguments, threads, "0", 0, 256, "0: all cores"),
    RT_OPT_END};

/* ------------------------------------------------------------------- prompt */

enum { PROMPT_LIMIT = 64 << 20 };
static rt_status read_stdin(rt_buf *text, rt_error *err) {
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, stdin)) > 0 && text->size <= PROMPT_LIMIT;) rt_buf_add(text, piece, n);
    if (ferror(stdin)) return rt_fail(err, RT_E_INPUT, "standard input cannot be read");
    return text->size > PROMPT_LIMIT ? rt_fail(err, RT_E_INPUT, "standard input: more than %d bytes of prompt", PROMPT_LIMIT) : RT_OK;
}
static rt_status read_prompt(const arguments *a, rt_buf *text, rt_error *err) {
    const char *file = a->prompt_file ? a->prompt_file : a->prompt && strcmp(a->prompt, "-") == 0 ? "-" : NULL;
    if (a->prompt && a->prompt_file) return rt_fail(err, RT_E_USAGE, "--prompt and --prompt-file: found both, expected one");
    if (!file) return rt_buf_puts(text, a->prompt ? a->prompt : ""), RT_OK;
    RT_TRY(strcmp(file, "-") == 0 ? read_stdin(text, err) : rt_file_read(file, PROMPT_LIMIT, text, err));
    if (text->size > 0 && text->data[text->size - 1] == '\n') text->size--;
    return RT_OK;
}

/* As the tokenizer begins a text; where it adds nothing to an empty one, with its bos, or else its end-of-text token. */
static rt_status encode_prompt(const rt_tokenizer *t, const rt_buf *prompt, rt_ids *ids, rt_error *err) {
    RT_TRY(rt_tokenizer_encode(t, prompt->data ? prompt->data : "", prompt->size, true, ids, err));
    if (rt_tokenizer_adds_eos(t) && ids->size > 0) ids->size--;
    int32_t first = rt_tokenizer_bos(t) >= 0 ? rt_tokenizer_bos(t) : rt_tokenizer_eos(t);
    if (ids->size == 0 && first >= 0) rt_ids_add(ids, first);
    if (ids->size == 0) return rt_fail(err, RT_E_USAGE, "--prompt: the tokenizer makes no token of it");
    return ids->failed ? rt_fail(err, RT_E_NOMEM, "out of memory: the prompt") : RT_OK;
}

static rt_status begin(const arguments *a, const rt_tokenizer *t, const rt_buf *text, rt_ids *ids, rt_error *err) {
    if (!a->chat && (a->system || a->chat_template)) return rt_fail(err, RT_E_USAGE, "--system and --chat-template need --chat");
    if (!a->chat) return encode_prompt(t, text, ids, err);
    rt_chat_question q = {a->system, text->size > 0 ? text->data : "", a->chat_template, (int64_t)time(NULL)};
    return rt_chat_question_ids(t, &q, ids, err);
}

/* ------------------------------------------------------------------- output */

typedef struct voice { /* one text */
    rt_text_stream stream;
    rt_buf text;   /* prompt and continuation, as far as it may be shown */
    size_t prompt; /* bytes of it */
} voice;
typedef struct choir {
    rt_context *c;
    const arguments *a;
    voice *voices;
    rt_ids *ids;
    rt_stop *why;
    int64_t count, prompt; /* texts; ids of the prompt */
    bool live;             /* what comes is printed at once */
} choir;

static rt_status print_live(const choir *h, const char *bytes, size_t n, rt_error *err) {
    RT_TRY(rt_out(h->c, bytes, n, err));
    if (n > 0) fflush(h->c->out); /* also into a pipe: whoever reads wants it now */
    return RT_OK;
}
static rt_status chosen(void *context, int64_t sample, const rt_ids *ids, bool *stop, rt_error *err) {
    choir *h = context;
    voice *v = &h->voices[sample];
    size_t shown = v->text.size;
    RT_TRY(rt_text_stream_add(&v->stream, &ids->data[ids->size - 1], 1, true, &v->text, err));
    *stop = v->stream.stopped;
    if (!h->live) return RT_OK;
    char id[16];
    int n = snprintf(id, sizeof id, "%s%d", ids->size - 1 > h->prompt ? " " : "", ids->data[ids->size - 1]);
    return h->a->print_ids ? print_live(h, id, (size_t)n, err) : print_live(h, v->text.data + shown, v->text.size - shown, err);
}

static rt_status open_voices(choir *h, const rt_tokenizer *t, rt_error *err) {
    for (int64_t i = 0; i < h->count; i++) {
        voice *v = &h->voices[i];
        rt_buf_puts(&v->text, "");
        rt_text_stream_open(&v->stream, t, h->a->stop.item, h->a->stop.count);
        if (!h->a->chat) RT_TRY(rt_text_stream_add(&v->stream, h->ids[0].data, h->prompt, false, &v->text, err));
        v->prompt = v->text.size;
    }
    return h->live && !h->a->print_ids ? print_live(h, h->voices[0].text.data, h->voices[0].text.size, err) : RT_OK;
}
static rt_status close_voices(choir *h, rt_error *err) {
    for (int64_t i = 0; i < h->count; i++) {
        voice *v = &h->voices[i];
        size_t shown = v->text.size;
        RT_TRY(rt_text_stream_end(&v->stream, &v->text, err));
        if (h->live && !h->a->print_ids) RT_TRY(print_live(h, v->text.data + shown, v->text.size - shown, err));
    }
    return h->live ? print_live(h, "\n", 1, err) : RT_OK;
}

static rt_status print_texts(const choir *h, rt_error *err) {
    for (int64_t i = 0; i < h->count; i++) {
        if (!h->a->print_ids) {
            RT_TRY(rt_out_printf(h->c, err, "--- %lld\n", (long long)i + 1));
            RT_TRY(rt_out(h->c, h->voices[i].text.data, h->voices[i].text.size, err));
            RT_TRY(rt_out(h->c, "\n", 1, err));
            continue;
        }
        for (int64_t k = h->prompt; k < h->ids[i].size; k++) RT_TRY(rt_out_printf(h->c, err, "%s%d", k > h->prompt ? " " : "", h->ids[i].data[k]));
        RT_TRY(rt_out(h->c, "\n", 1, err));
    }
    return RT_OK;
}

static json_t *json_ids(const rt_ids *ids, int64_t from, int64_t to) {
    json_t *list = json_array();
    for (int64_t i = from; i < to; i++) json_array_append_new(list, json_integer(ids->data[i]));
    return list;
}
static double rate(int64_t tokens, double seconds) { return seconds > 0 ? (double)tokens / seconds : 0; }
static json_t *json_rate(int64_t tokens, double seconds) {
    return json_pack("{sI so so}", "tokens", (json_int_t)tokens, "seconds", rt_json_number(seconds), "tokens_per_s", rt_json_number(rate(tokens, seconds)));
}
static rt_status print_json(const choir *h, const rt_generation_report *r, rt_error *err) {
    json_t *texts = json_array();
    for (int64_t i = 0; i < h->count; i++) {
        const voice *v = &h->voices[i];
        json_array_append_new(texts, json_pack("{so ss% ss}", "ids", json_ids(&h->ids[i], h->prompt, h->ids[i].size), "text", v->text.data + v->prompt,
                                               v->text.size - v->prompt, "stop", rt_stop_name(h->why[i])));
    }
    json_t *memory = json_pack("{sI sI sI}", "keys_values", (json_int_t)r->memory.keys_values, "activations", (json_int_t)r->memory.activations,
                               "packed_weights", (json_int_t)r->memory.packed);
    return rt_out_json(h->c, json_pack("{so so so so so}", "prompt_ids", json_ids(&h->ids[0], 0, h->prompt), "texts", texts, "prefill",
                       json_rate(r->prefilled, r->prefill_seconds), "decode", json_rate(r->decoded, r->decode_seconds), "memory", memory), err);
}

static void say(const choir *h, const rt_generation_report *r, int64_t positions) {
    rt_log(RT_LOG_INFO, "prompt: %lld tokens, %.1f tokens/s; text: %lld tokens, %.1f tokens/s; %.1f MiB of keys and values", (long long)r->prefilled,
           rate(r->prefilled, r->prefill_seconds), (long long)r->decoded, rate(r->decoded, r->decode_seconds), (double)r->memory.keys_values / (1 << 20));
    for (int64_t i = 0; i < h->count; i++)
        if (h->why[i] == RT_STOP_POSITIONS) rt_log(RT_LOG_WARNING, "stopped: all %lld positions of the model are used", (long long)positions);
    if (h->live && h->why[0] == RT_STOP_END) rt_log(RT_LOG_INFO, "stopped at the end of the text");
    if (h->live && h->why[0] == RT_STOP_TEXT) rt_log(RT_LOG_INFO, "stopped before a stop text");
}

/* ---------------------------------------------------------------------- run */

static rt_status sing(choir *h, const rt_frozen *m, const rt_tokenizer *t, const rt_ids *ends, rt_error *err) {
    const arguments *a = h->a;
    const rt_model_config *config = &m->weights.config;
    int64_t known = rt_tokenizer_size(t) < config->vocab_size ? rt_tokenizer_size(t) : config->vocab_size;
    rt_generation o = {.sampling = {a->greedy, a->temperature, a->top_k, a->top_p, a->min_p, (uint64_t)a->seed}, .tokens = a->tokens, .vocab = known,
                       .end = ends->data, .ends = ends->size, .samples = h->count, .exact = a->exact, .chosen = chosen, .context = h};
    rt_generation_report report;
    RT_TRY(open_voices(h, t, err));
    RT_TRY(rt_generate(&m->weights, &m->precision, &o, h->ids, h->why, &report, err));
    RT_TRY(close_voices(h, err));
    if (a->json) RT_TRY(print_json(h, &report, err));
    else if (!h->live) RT_TRY(print_texts(h, err));
    say(h, &report, rt_model_longest(config));
    return RT_OK;
}

static rt_status with_choir(rt_context *c, const arguments *a, const rt_frozen *m, const rt_tokenizer *t, rt_ids *prompt, const rt_ids *ends, rt_error *err) {
    size_t n = (size_t)a->samples;
    choir h = {.c = c, .a = a, .count = a->samples, .prompt = prompt->size, .live = a->samples == 1 && !a->json};
    h.voices = rt_arena_alloc(c->arena, n * sizeof *h.voices);
    h.ids = rt_arena_alloc(c->arena, n * sizeof *h.ids);
    h.why = rt_arena_alloc(c->arena, n * sizeof *h.why);
    if (!h.voices || !h.ids || !h.why) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld texts", (long long)a->samples);
    h.ids[0] = *prompt;
    *prompt = (rt_ids){0};
    rt_status s = sing(&h, m, t, ends, err);
    for (size_t i = 0; i < n; i++) rt_text_stream_close(&h.voices[i].stream), rt_buf_free(&h.voices[i].text), rt_ids_free(&h.ids[i]);
    return s;
}

static rt_status with_tokenizer(rt_context *c, const arguments *a, const rt_frozen *m, const rt_buf *text, rt_error *err) {
    rt_tokenizer *t;
    rt_ids ids = {0}, ends = {0};
    RT_TRY(rt_model_tokenizer(&t, m->path, err));
    rt_status s = begin(a, t, text, &ids, err);
    if (s == RT_OK && rt_tokenizer_eos(t) >= 0) rt_ids_add(&ends, rt_tokenizer_eos(t));
    if (s == RT_OK) s = rt_hf_end_ids(m->path, &ends, err);
    if (s == RT_OK && a->chat) s = rt_chat_end_of_turn(t, a->chat_template, &ends, err);
    if (s == RT_OK) s = with_choir(c, a, m, t, &ids, &ends, err);
    rt_ids_free(&ids), rt_ids_free(&ends);
    rt_tokenizer_free(t);
    return s;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_frozen model = {0};
    rt_buf text = {0};
    rt_threads_set((int)a->threads);
    rt_status s = read_prompt(a, &text, err);
    if (s == RT_OK) s = rt_frozen_open(&model, a->model, (rt_activations)a->activations, err);
    if (s == RT_OK) s = rt_weights_expert_budget(&model.weights, a->expert_budget, err);
    if (s == RT_OK) s = with_tokenizer(c, a, &model, &text, err);
    rt_experts_log("experts", &model.weights);
    rt_frozen_close(&model);
    rt_buf_free(&text);
    return s;
}

const rt_command rt_command_generate = {
    "generate", "continues a text", "MODEL [--prompt TEXT] [--chat [--system TEXT]] [--tokens N] [--temperature X] [--top-k K] [--top-p P] [--seed S] [--greedy] [--stop TEXT] [--json]",
    "Prints the prompt and its continuation, token by token. It ends after --tokens, at one of the model's end-of-text tokens, before a --stop text, or when "
    "the model has no further position. With --chat the prompt is what a user says, only the answer is printed, and the end of the turn ends it. "
    "Rates for the prompt and for the new tokens are said at the end.", options, sizeof(arguments), run};
