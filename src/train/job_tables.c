/* job_tables.c - every key of a job: name, type, default, range, one line of documentation. */
#include "train/job_private.h"

#define KiB 1024.0
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)

static const char *const file_dtypes[] = {"any", "float16", "bfloat16", "float32", "f16", "bf16", "f32", NULL};
static const rt_option teacher[] = {
    RT_OPT_STRING(rt_job_teacher, path, NULL, "model directory of the teacher; without it: plain next-token training"),
    RT_OPT_NAME(rt_job_teacher, dtype, "any", file_dtypes, "asserts the dtype of the teacher's matrices; never converts"),
    RT_OPT_BYTES(rt_job_teacher, pack_budget, "1GiB", 0, 1024 * GiB, "memory for packed panels of teacher weights; beyond it they are made on the fly"),
    RT_OPT_FLAG(rt_job_teacher, cache_panels, "no", "packed panels of half weights in f32: twice their memory, nothing is converted in a step"),
    RT_OPT_BYTES(rt_job_teacher, expert_budget, "0", 0, 1024 * GiB, "memory for the teacher's experts; the least recently used leave; 0: no bound"),
    RT_OPT_END};

static const char *const projector_kinds[] = {"auto", "none", "shared", "factored", NULL};
static const char *const projector_updates[] = {"always", "prefit", NULL};
static const rt_option projector[] = {
    RT_OPT_ENUM(rt_job_projector, kind, "auto", projector_kinds, "from teacher states to logits; auto: shared with a teacher, else none"),
    RT_OPT_ENUM(rt_job_projector, update, "always", projector_updates, "factored: keep fitting it during training, or only before"),
    RT_OPT_INT(rt_job_projector, prefit_steps, "200", 0, 1e9, "factored: steps of fitting before the first training step"),
    RT_OPT_REAL(rt_job_projector, lambda, "1e-3", 0, 1e6, "factored: ridge term of the closed-form start"),
    RT_OPT_END};

static const char *const inits[] = {"random", "checkpoint", "upcycle", NULL};
static const rt_option student[] = {
    RT_OPT_ENUM(rt_job_student, init, "random", inits, "where the student's weights come from; upcycle: experts from a dense model's feed-forward layers"),
    RT_OPT_STRING(rt_job_student, from, NULL, "init checkpoint, upcycle: the model directory, or a run; its sizes then hold, and a size that is set must be its"),
    RT_OPT_STRING(rt_job_student, arch, "auto", "model family, as in config.json's model_type; auto: mixtral, or what 'from' needs; otherwise asserted"),
    RT_OPT_INT(rt_job_student, granularity, "1", 1, 256, "upcycle: slices of the dense feed-forward layer; experts and experts_per_token are multiples of it"),
    RT_OPT_REAL(rt_job_student, upcycle_noise, "0", 0, 10, "upcycle: noise on the experts' weights, relative to the root mean square of the dense matrix"),
    RT_OPT_INT(rt_job_student, vocab_size, "0", 0, 16777216, "rows of the embedding; 0: highest token id + 1"),
    RT_OPT_INT(rt_job_student, hidden_size, "0", 0, 65536, "width of the residual stream; 0: 256"),
    RT_OPT_INT(rt_job_student, layers, "0", 0, 1024, "number of blocks; 0: 4"),
    RT_OPT_INT(rt_job_student, heads, "0", 0, 1024, "query heads; 0: 8"),
    RT_OPT_INT(rt_job_student, kv_heads, "0", 0, 1024, "key and value heads; divides heads; 0: 4"),
    RT_OPT_INT(rt_job_student, head_dim, "0", 0, 1024, "width of a head; 0: hidden_size / heads"),
    RT_OPT_INT(rt_job_student, ffn_size, "0", 0, 1048576, "inner width of the feed-forward layer, or of each expert; 0: 512"),
    RT_OPT_INT(rt_job_student, experts, "-1", -1, 4096, "experts per block; -1: 8 (times granularity) in an MoE family, 0 in a dense one"),
    RT_OPT_INT(rt_job_student, experts_per_token, "-1", -1, 4096, "experts a token is sent to; -1: 2 (times granularity) in an MoE family"),
    RT_OPT_INT(rt_job_student, max_position, "0", 0, 16777216, "longest context it is declared for; 0: 2048, or data.sequence_length if longer"),
    RT_OPT_REAL(rt_job_student, rope_theta, "0", 0, 1e12, "base of the rotary angles; 0: 10000"),
    RT_OPT_REAL(rt_job_student, norm_eps, "0", 0, 1e-1, "epsilon of RMSNorm; 0: 1e-5"),
    RT_OPT_FLAG(rt_job_student, tie, "no", "use the embedding as output matrix"),
    RT_OPT_END};

static const char *const policies[] = {"topk", NULL};
static const rt_option router[] = {
    RT_OPT_NAME(rt_job_router, policy, "topk", policies, "how tokens are given to experts"), RT_OPT_END};

static const rt_option data[] = {
    RT_OPT_STRINGS(rt_job_data, train, NULL, "training files: .bin shards, .txt, .jsonl (texts or conversations), .csv, .tsv, also .gz"),
    RT_OPT_REALS(rt_job_data, weights, NULL, 0, 1e6, "of each training file: how often an epoch sees its windows; none: once"),
    RT_OPT_STRINGS(rt_job_data, valid, NULL, "validation files; none: the end of the training tokens is held out"),
    RT_OPT_STRING(rt_job_data, tokenizer, NULL, "directory with tokenizer.json; none: the teacher's, or the checkpoint's"),
    RT_OPT_STRING(rt_job_data, separator, "none", "what parts the documents of a text file: none, line, blank_line, or a string"),
    RT_OPT_STRING(rt_job_data, text_key, "text", "the member of a .jsonl record that holds the text, a.b for b within a; without it messages"),
    RT_OPT_STRING(rt_job_data, csv_column, "text", "the column of a .csv or .tsv that holds the text: its name, or its number from 1"),
    RT_OPT_FLAG(rt_job_data, csv_header, "yes", "a .csv or .tsv begins with the names of its columns"),
    RT_OPT_STRING(rt_job_data, chat_template, NULL, "for conversations: a file, or one of the tokenizer's by name; none: the tokenizer's own"),
    RT_OPT_INT(rt_job_data, sequence_length, "256", 1, 1048576, "tokens in a window (T)"),
    RT_OPT_INT(rt_job_data, batch, "8", 1, 1048576, "windows in a micro-batch"),
    RT_OPT_INT(rt_job_data, accumulate, "1", 1, 1048576, "micro-batches in an optimizer step"),
    RT_OPT_REAL(rt_job_data, valid_fraction, "0.05", 0, 0.5, "share of the training tokens held out when there is no data.valid"),
    RT_OPT_END};

static const rt_option objective[] = {
    RT_OPT_NAME(rt_job_objective, loss, NULL, rt_job_loss_names, "which loss"),
    RT_OPT_REAL(rt_job_objective, weight, "1", 0, 1e6, "its factor in the total"),
    RT_OPT_REAL(rt_job_objective, final_weight, "-1", -1, 1e6, "the factor at the last step; -1: as at the start"),
    RT_OPT_REAL(rt_job_objective, temperature, "1", 1e-3, 1e3, "of teacher and student probabilities (tau)"),
    RT_OPT_REAL(rt_job_objective, final_temperature, "-1", -1, 1e3, "tau at the last step; -1: as at the start"),
    RT_OPT_ENUM(rt_job_objective, schedule, "linear", rt_schedule_names, "course from the first value to the final one"),
    RT_OPT_REAL(rt_job_objective, beta, "0.5", 0, 1, "jsd: the teacher's share of the mixture"),
    RT_OPT_REAL(rt_job_objective, label_smoothing, "0", 0, 0.999, "next_token: probability spread over the vocabulary"),
    RT_OPT_END};

static const rt_option optimizer[] = {
    RT_OPT_NAME(rt_job_optimizer, name, "adamw", rt_optim_names, "the method"),
    RT_OPT_REAL(rt_job_optimizer, lr, "1e-3", 0, 1e3, "peak learning rate"),
    RT_OPT_REAL(rt_job_optimizer, weight_decay, "0.1", 0, 1e3, "decoupled weight decay, times the learning rate"),
    RT_OPT_REAL(rt_job_optimizer, eps, "1e-8", 1.17549435e-38, 1, "added to the root of the second moment"),
    RT_OPT_REAL(rt_job_optimizer, clip, "1", 0, 1e9, "largest global gradient norm; 0: no clipping"),
    RT_OPT_REALS(rt_job_optimizer, betas, "[0.9, 0.95]", 0, 0.999999, "decay of the two moments"),
    RT_OPT_FLAG(rt_job_optimizer, decay_all, "no", "decay norms, biases and embeddings too"),
    RT_OPT_END};

static const rt_option schedule[] = {
    RT_OPT_ENUM(rt_schedule, kind, "cosine", rt_schedule_names, "course of the learning rate after warm-up"),
    RT_OPT_INT(rt_schedule, warmup, "100", 0, 1e12, "steps of linear warm-up"),
    RT_OPT_INT(rt_schedule, steps, "2000", 0, 1e12, "optimizer steps of the run; 0: the start is evaluated and written, nothing is trained"),
    RT_OPT_REAL(rt_schedule, final, "0.1", 0, 1, "learning rate at the end, relative to the peak"),
    RT_OPT_REAL(rt_schedule, decay, "0.2", 0, 1, "wsd: share of the steps after warm-up that decay"),
    RT_OPT_END};

static const char *const student_dtypes[] = {"f32", "bf16", "f16", "f64", NULL};
static const char *const teacher_dtypes[] = {"native", "f32", NULL};
static const char *const role_dtypes[] = {"inherit", "f32", "bf16", "f16", "f64", NULL};
static const char *const router_dtypes[] = {"inherit", "f32", "f64", NULL};
static const rt_option precision[] = {
    RT_OPT_NAME(rt_job_precision, student, "f32", student_dtypes, "weights and activations of the student"),
    RT_OPT_NAME(rt_job_precision, teacher, "native", teacher_dtypes, "activations of the teacher; native: the dtype of its files"),
    RT_OPT_NAME(rt_job_precision, embedding, "inherit", role_dtypes, "of the student's embedding"),
    RT_OPT_NAME(rt_job_precision, attention, "inherit", role_dtypes, "of the student's attention"),
    RT_OPT_NAME(rt_job_precision, norm, "inherit", role_dtypes, "of the student's norms"),
    RT_OPT_NAME(rt_job_precision, router, "inherit", router_dtypes, "of the student's router; inherit: f32, or f64 in an f64 student"),
    RT_OPT_NAME(rt_job_precision, expert, "inherit", role_dtypes, "of the student's experts or feed-forward layers"),
    RT_OPT_NAME(rt_job_precision, residual, "inherit", role_dtypes, "of the student's residual stream"),
    RT_OPT_NAME(rt_job_precision, head, "inherit", role_dtypes, "of the student's output matrix"),
    RT_OPT_NAME(rt_job_precision, projector, "inherit", role_dtypes, "of the projector; inherit: the teacher's"),
    RT_OPT_NAME(rt_job_precision, loss, "inherit", router_dtypes, "of losses and logits; inherit: f32, or f64 in an f64 student"),
    RT_OPT_END};

static const char *const memory_limits[] = {"auto", NULL};
static const rt_option run[] = {
    RT_OPT_STRING(rt_job_run, out, NULL, "directory of the run: log and checkpoints"),
    RT_OPT_INT(rt_job_run, seed, "1", 0, 9e15, "of weights, data order and exploration"),
    RT_OPT_INT(rt_job_run, eval_every, "100", 0, 1e12, "steps between evaluations; 0: only at the end"),
    RT_OPT_INT(rt_job_run, save_every, "500", 0, 1e12, "steps between checkpoints; 0: only at the end"),
    RT_OPT_INT(rt_job_run, log_every, "10", 1, 1e12, "steps between console lines; the log has every step"),
    RT_OPT_INT(rt_job_run, keep, "3", 1, 1e6, "newest checkpoints that are kept, beside the best"),
    RT_OPT_INT(rt_job_run, threads, "0", 0, 256, "0: all cores the process may use"),
    RT_OPT_INT(rt_job_run, stop_after, "0", 0, 1e12, "save and stop after so many steps of the whole run; the schedule is unchanged; 0: never"),
    RT_OPT_BYTES(rt_job_run, head_budget, "96MiB", 1 * MiB, 1024 * GiB, "scratch of the output layer and its losses"),
    RT_OPT_INT(rt_job_run, eval_tokens, "0", 0, 1e15, "tokens per evaluation during training; 0: all of the validation data"),
    RT_OPT_BYTES(rt_job_run, memory_limit, "auto", 0, 1024 * GiB, "a job that needs more is refused before it begins; auto: what the machine has; 0: no bound",
                 .choices = memory_limits),
    RT_OPT_FLAG(rt_job_run, recompute, "no", "recompute blocks in the backward pass: less memory, same bits"),
    RT_OPT_FLAG(rt_job_run, trace, "yes", "measure expert coherence; never changes an output bit"),
    RT_OPT_END};

static const rt_option job[] = {
    RT_OPT_SECTION(rt_job, teacher, rt_job_teacher, teacher, "the frozen model that is imitated"),
    RT_OPT_SECTION(rt_job, projector, rt_job_projector, projector, "the teacher's states as logits over the student's vocabulary"),
    RT_OPT_SECTION(rt_job, student, rt_job_student, student, "the model that is trained"),
    RT_OPT_SECTION(rt_job, router, rt_job_router, router, "how its tokens find their experts"),
    RT_OPT_SECTION(rt_job, data, rt_job_data, data, "what it is trained on"),
    RT_OPT_SECTIONS(rt_job, objective, rt_job_objective, objective, "losses; the total is the weighted sum"),
    RT_OPT_SECTION(rt_job, optimizer, rt_job_optimizer, optimizer, "how weights change"),
    RT_OPT_SECTION(rt_job, schedule, rt_schedule, schedule, "learning rate over the run"),
    RT_OPT_SECTION(rt_job, precision, rt_job_precision, precision, "dtypes by role"),
    RT_OPT_SECTION(rt_job, run, rt_job_run, run, "the run itself"),
    RT_OPT_END};

const rt_option *rt_job_options(void) { return job; }
void rt_job_help(rt_buf *out) { rt_options_help(job, out); }
