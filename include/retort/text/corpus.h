/* corpus.h - documents from text files, one after another, without holding a file in memory.
 *
 * Files are .txt (any name), .jsonl, .csv or .tsv, each plain or gzip, "-" is standard input. A text file is one document
 * unless a separator is set; a JSONL record is one document, a text or a conversation, and so is a row of a table
 * (RFC 4180). Separators and line ends beside them are not part of any document:
 *
 *   separator     a document is                                     stripped
 *   none          the whole file                                    nothing
 *   line          a line                                            its \n or \r\n
 *   blank_line    a run of lines that are not blank                 the last \n or \r\n of the run; the blank lines
 *   other text    what lies between two occurrences of the text     one \n or \r\n on each side of it, and at the end
 *
 * Documents of nothing but white space (space, tab, \r, \n) are skipped unless keep_empty; a file without any other is
 * RT_E_INPUT. Every document is valid UTF-8. */
#ifndef RETORT_TEXT_CORPUS_H
#define RETORT_TEXT_CORPUS_H
#include <retort/text/chat.h>
#include <stdint.h>

typedef enum rt_corpus_format { RT_CORPUS_AUTO, RT_CORPUS_TEXT, RT_CORPUS_JSONL, RT_CORPUS_CSV, RT_CORPUS_TSV } rt_corpus_format;

typedef struct rt_corpus_options {
    rt_corpus_format format; /* AUTO: by the name's ending, .jsonl, .ndjson, .csv, .tsv (or these with .gz); else text */
    const char *separator;   /* NULL or "none", "line", "blank_line", or the separating text itself; text files only */
    const char *key;         /* JSONL: the member holding the text, "a.b" for b within a; NULL = "text" */
    const char *column;      /* CSV, TSV: the column's name in the header, or its number from 1; NULL = "text" */
    bool no_header;          /* CSV, TSV: the first record is a row */
    bool conversations;      /* hand out conversations; else they are refused */
    rt_chat *chat;           /* what encode.h renders them with (borrowed, may be NULL); conversations follows it there */
    bool keep_empty;         /* hand out blank documents too, and accept a file without any */
    int64_t max_bytes;       /* longest document or line accepted; 0 = 1 GiB */
} rt_corpus_options;

typedef struct rt_document {
    const char *text; /* [bytes], NUL-terminated besides; borrowed until the next call */
    size_t bytes;
    const char *path; /* the file it came from */
    int64_t line;     /* where it begins, from 1 */
    const json_t *messages; /* of a conversation, else NULL; its text is empty. Borrowed until the next call */
    const json_t *tools;    /* beside them, or NULL */
} rt_document;

typedef struct rt_corpus rt_corpus;

/* `paths` and the option texts are borrowed until rt_corpus_close. RT_E_ARG: count < 1. */
rt_status rt_corpus_open(rt_corpus **corpus, const char *const *paths, int count, const rt_corpus_options *options,
                         rt_error *err) RT_NODISCARD;
/* The next document, or *end = true. RT_E_INPUT names file and line: bad UTF-8, bad JSON, a missing key (with the
 * nearest), damaged gzip, no document in a file, a document longer than max_bytes. After an error only rt_corpus_close
 * is allowed. */
rt_status rt_corpus_next(rt_corpus *corpus, rt_document *document, bool *end, rt_error *err) RT_NODISCARD;
void rt_corpus_close(rt_corpus *corpus); /* NULL is fine */
#endif
