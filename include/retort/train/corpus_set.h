/* corpus_set.h - the data of a job: tokenizer, tokens, what is trained on and what is held out. */
#ifndef RETORT_TRAIN_CORPUS_SET_H
#define RETORT_TRAIN_CORPUS_SET_H
#include <retort/text/encode.h>
#include <retort/train/job.h>

typedef struct rt_corpus_set {
    rt_tokenizer *tokenizer; /* NULL: shards without one */
    rt_chat *chat; /* with a tokenizer */
    rt_tokenizer_vocab vocab;
    rt_token_stream *train_stream, *valid_stream;
    rt_token_view train, valid; /* valid: its own stream, or the end of the training tokens (decisions.md, 14) */
    bool held_out;
    char train_hash[65], valid_hash[65];
} rt_corpus_set;

/* `tokenizer_dir`: where to look when the job names none (the teacher's or the checkpoint's directory); NULL: nowhere. */
rt_status rt_corpus_set_open(rt_corpus_set *c, const rt_job *job, const char *tokenizer_dir, rt_error *err) RT_NODISCARD;
/* What opening it would give and take, from the sizes of its files and the front of each text. The tokenizer is opened; streams
 * and views are not, but for shards of a job that has no other way to know its vocabulary. */
typedef struct rt_corpus_estimate {
    int64_t train_tokens, valid_tokens;
    int64_t mapped;  /* bytes of shards, which stay mapped: memory that the system takes back when it needs it */
    int64_t memory;  /* the tokens of texts */
    int64_t loading; /* beside that, while texts are read */
    bool exact;      /* no text: nothing is guessed from a part */
} rt_corpus_estimate;
rt_status rt_corpus_set_sketch(rt_corpus_set *c, const rt_job *job, const char *tokenizer_dir, rt_corpus_estimate *e, rt_error *err) RT_NODISCARD;
void rt_corpus_set_close(rt_corpus_set *c);
/* How a job's files are read. `chat` may be NULL. */
rt_corpus_options rt_corpus_options_of(const rt_job_data *d, rt_chat *chat);
#endif
