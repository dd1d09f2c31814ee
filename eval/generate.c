/* generate.c - `retort generate`: continues a text. */
#include <retort/base/command.h>
#include <retort/train/expert_report.h>
#include <retort/train/generate.h>
#include <string.h>

typedef struct arguments {
    const char *model, *prompt;
    int64_t tokens, top_k, seed, expert_budget;
    double temperature;
    bool greedy, print_ids;
    int activations;
} arguments;

static const char *const activations[] = {"stored", "native", "f32", NULL}; /* in the order of rt_activations */
static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a run, a checkpoint or a Hugging Face folder, with its tokenizer", .positional = true, .required = true, .operand = "MODEL"),
    RT_OPT_STRING(arguments, prompt, "", "the text to continue; empty: from the beginning of a document", .letter = 'p', .operand = "TEXT"),
    RT_OPT_INT(arguments, tokens, "100", 1, 1e9, "at most so many new tokens", .letter = 'n'),
    RT_OPT_REAL(arguments, temperature, "1", 1e-3, 1e3, "below 1: likelier tokens more often", .letter = 't'),
    RT_OPT_INT(arguments, top_k, "0", 0, 1e9, "choose among the so many likeliest tokens; 0: among all", .letter = 'k'),
    RT_OPT_INT(arguments, seed, "1", 0, 9e15, "equal seeds, equal texts", .letter = 's'),
    RT_OPT_FLAG(arguments, greedy, "no", "always take the likeliest token", .letter = 'g'),
    RT_OPT_FLAG(arguments, print_ids, "no", "print the ids of the new tokens instead of text"),
    RT_OPT_ENUM(arguments, activations, "stored", activations, "stored: as the checkpoint says, native where it says nothing"),
    RT_OPT_BYTES(arguments, expert_budget, "0", 0, 1e15, "memory for experts; the least recently used leave; 0: no bound", .operand = "BYTES"),
    RT_OPT_END};

typedef struct printer {
    rt_context *c;
    const rt_tokenizer *tokenizer;
    int64_t prompt; /* ids that were given */
    size_t printed; /* bytes */
} printer;

/* Prints what the ids so far say beyond what is printed; a character whose last bytes have yet to come waits (U+FFFD). */
static rt_status print_text(printer *p, const rt_ids *ids, bool all, rt_error *err) {
    rt_buf text = {0};
    rt_status s = rt_tokenizer_decode(p->tokenizer, ids->data, ids->size, true, &text, err);
    size_t whole = text.size;
    while (!all && whole >= 3 && memcmp(text.data + whole - 3, "\xEF\xBF\xBD", 3) == 0) whole -= 3;
    if (s == RT_OK && whole > p->printed) {
        s = rt_out(p->c, text.data + p->printed, whole - p->printed, err);
        p->printed = whole;
    }
    if (p->c->terminal) fflush(p->c->out);
    rt_buf_free(&text);
    return s;
}
static rt_status text_grows(void *context, const rt_ids *ids, rt_error *err) { return print_text(context, ids, false, err); }
static rt_status id_comes(void *context, const rt_ids *ids, rt_error *err) {
    const printer *p = context;
    const char *space = ids->size - 1 > p->prompt ? " " : "";
    return rt_out_printf(p->c, err, "%s%d", space, ids->data[ids->size - 1]);
}

/* As the tokenizer begins a text; where it adds nothing to an empty one, with its bos, or else its end-of-text token. */
static rt_status encode_prompt(const rt_tokenizer *t, const char *prompt, rt_ids *ids, rt_error *err) {
    RT_TRY(rt_tokenizer_encode(t, prompt, strlen(prompt), true, ids, err));
    if (rt_tokenizer_adds_eos(t) && ids->size > 0) ids->size--;
    int32_t first = rt_tokenizer_bos(t) >= 0 ? rt_tokenizer_bos(t) : rt_tokenizer_eos(t);
    if (ids->size == 0 && first >= 0) rt_ids_add(ids, first);
    if (ids->size == 0) return rt_fail(err, RT_E_USAGE, "--prompt: the tokenizer makes no token of it");
    return ids->failed ? rt_fail(err, RT_E_NOMEM, "out of memory: the prompt") : RT_OK;
}

static void say_why(rt_stop why, const rt_frozen *m) {
    if (why == RT_STOP_POSITIONS) rt_log(RT_LOG_WARNING, "stopped: all %lld positions of the model are used", (long long)m->weights.config.max_position);
    if (why == RT_STOP_END) rt_log(RT_LOG_INFO, "stopped at the end of the text");
}

static rt_status write_on(rt_context *c, const arguments *a, const rt_frozen *m, const rt_tokenizer *t, rt_ids *ids, rt_error *err) {
    printer p = {.c = c, .tokenizer = t, .prompt = ids->size};
    const rt_model_config *config = &m->weights.config;
    int64_t known = rt_tokenizer_size(t) < config->vocab_size ? rt_tokenizer_size(t) : config->vocab_size;
    rt_generation o = {.sampling = {a->greedy, a->temperature, a->top_k, (uint64_t)a->seed}, .tokens = a->tokens, .vocab = known,
                       .end = rt_tokenizer_eos(t) >= 0 ? rt_tokenizer_eos(t) : (int32_t)config->eos_id,
                       .chosen = a->print_ids ? id_comes : text_grows, .context = &p};
    rt_stop why;
    RT_TRY(rt_generate(&m->weights, &m->precision, &o, ids, &why, err));
    if (!a->print_ids) RT_TRY(print_text(&p, ids, true, err));
    RT_TRY(rt_out(c, "\n", 1, err));
    say_why(why, m);
    return RT_OK;
}

static rt_status with_tokenizer(rt_context *c, const arguments *a, const rt_frozen *m, rt_error *err) {
    rt_tokenizer *t;
    rt_ids ids = {0};
    RT_TRY(rt_tokenizer_load(&t, m->path, err));
    rt_status s = encode_prompt(t, a->prompt, &ids, err);
    if (s == RT_OK) s = write_on(c, a, m, t, &ids, err);
    rt_ids_free(&ids);
    rt_tokenizer_free(t);
    return s;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_frozen model;
    RT_TRY(rt_frozen_open(&model, a->model, (rt_activations)a->activations, err));
    rt_status s = rt_weights_expert_budget(&model.weights, a->expert_budget, err);
    if (s == RT_OK) s = with_tokenizer(c, a, &model, err);
    rt_experts_log("experts", &model.weights);
    rt_frozen_close(&model);
    return s;
}

const rt_command rt_command_generate = {
    "generate", "continues a text", "MODEL [--prompt TEXT] [--tokens N] [--temperature X] [--top-k K] [--seed S] [--greedy] [--print-ids]",
    "Prints the prompt and its continuation, token by token. It ends after --tokens, at the model's end-of-text token, or when the "
    "model has no further position.", options, sizeof(arguments), run};
