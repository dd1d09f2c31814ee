/* corpus_set.c - opening the data of a job. */
#include "train/corpus_private.h"
#include <retort/base/file.h>
#include <retort/io/gguf_model.h>
#include <retort/infer/frozen.h>
#include <stdio.h>

rt_status rt_corpus_set_tokenizer(rt_corpus_set *c, const rt_job_data *d, const char *fallback, rt_error *err) {
    const char *path = d->tokenizer ? d->tokenizer : fallback && rt_model_has_tokenizer(fallback) ? fallback : NULL;
    if (!path) return RT_OK;
    RT_TRY(rt_model_tokenizer(&c->tokenizer, path, err));
    RT_TRY(rt_chat_open(&c->chat, c->tokenizer, d->chat_template, err));
    return rt_tokenizer_vocab_make(&c->vocab, c->tokenizer, err);
}

rt_corpus_options rt_corpus_options_of(const rt_job_data *d, rt_chat *chat) {
    return (rt_corpus_options){.separator = d->separator, .key = d->text_key, .column = d->csv_column, .no_header = !d->csv_header, .chat = chat};
}

rt_status rt_corpus_set_load(rt_token_stream **s, rt_corpus_set *c, const rt_job_data *d, const rt_strings *files, rt_error *err) {
    rt_corpus_options o = rt_corpus_options_of(d, c->chat);
    return rt_token_stream_load(s, files->item, (int)files->count, &o, c->tokenizer, c->tokenizer ? &c->vocab : NULL, err);
}

static rt_status views(rt_corpus_set *c, const rt_job *job, rt_error *err) {
    if (c->valid_stream) {
        c->train = rt_token_stream_all(c->train_stream);
        c->valid = rt_token_stream_all(c->valid_stream);
        return RT_OK;
    }
    c->held_out = true;
    return rt_token_stream_split(c->train_stream, job->data.valid_fraction, &c->train, &c->valid, err);
}

rt_status rt_corpus_set_check(const rt_job *job, rt_error *err) {
    return job->data.train.count > 0 ? RT_OK : rt_fail(err, RT_E_CONFIG, "data.train is not set: there is nothing to train on");
}
static rt_status open_all(rt_corpus_set *c, const rt_job *job, const char *dir, rt_error *err) {
    RT_TRY(rt_corpus_set_check(job, err));
    RT_TRY(rt_corpus_set_tokenizer(c, &job->data, dir, err));
    RT_TRY(rt_corpus_set_load(&c->train_stream, c, &job->data, &job->data.train, err));
    if (job->data.valid.count) RT_TRY(rt_corpus_set_load(&c->valid_stream, c, &job->data, &job->data.valid, err));
    RT_TRY(views(c, job, err));
    rt_token_view_hash(&c->train, c->train_hash);
    rt_token_view_hash(&c->valid, c->valid_hash);
    return RT_OK;
}

rt_status rt_corpus_set_open(rt_corpus_set *c, const rt_job *job, const char *tokenizer_dir, rt_error *err) {
    *c = (rt_corpus_set){0};
    rt_status s = open_all(c, job, tokenizer_dir, err);
    if (s != RT_OK) rt_corpus_set_close(c);
    return s;
}

void rt_corpus_set_close(rt_corpus_set *c) {
    rt_token_stream_free(c->train_stream);
    rt_token_stream_free(c->valid_stream);
    rt_tokenizer_vocab_free(&c->vocab);
    rt_chat_free(c->chat);
    rt_tokenizer_free(c->tokenizer);
    *c = (rt_corpus_set){0};
}
