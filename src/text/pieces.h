/* pieces.h - a file as pieces between delimiters, through a buffer that holds no more than the piece at hand and a read
 * ahead; and the line at which each begins. What documents and records are cut from. */
#ifndef RETORT_SRC_TEXT_PIECES_H
#define RETORT_SRC_TEXT_PIECES_H
#include "text/input.h"
#include <retort/base/mem.h>

typedef struct rt_pieces {
    const char *path;
    rt_input *in; /* NULL: no file is open */
    int64_t max_bytes;
    bool drained, ended; /* the file is read; and nothing is left of it */
    int64_t line;        /* of buffer[at] */
    rt_buf buffer;       /* unread bytes: data[at, size) */
    size_t at;
} rt_pieces;

typedef struct rt_piece {
    char *text; /* its byte [bytes] may be overwritten */
    size_t bytes;
    bool delimited; /* a delimiter followed; false: the file's end */
    int64_t line;
} rt_piece;

rt_status rt_pieces_open(rt_pieces *p, const char *path, rt_error *err) RT_NODISCARD;
void rt_pieces_close(rt_pieces *p); /* the file; the buffer is kept for the next one */
void rt_pieces_free(rt_pieces *p);
/* The bytes up to the next delimiter (length 0: up to the end), which is consumed. */
rt_status rt_pieces_take(rt_pieces *p, const char *delimiter, size_t length, rt_piece *piece, rt_error *err) RT_NODISCARD;
rt_status rt_pieces_line(rt_pieces *p, rt_piece *piece, rt_error *err) RT_NODISCARD; /* without its \n or \r\n */
/* Reads more behind what is in the buffer; sets drained at the end. Pointers into the buffer move. */
rt_status rt_pieces_more(rt_pieces *p, rt_error *err) RT_NODISCARD;
/* Consumes `used` bytes of the buffer. */
void rt_pieces_skip(rt_pieces *p, size_t used);
rt_status rt_pieces_check_length(const rt_pieces *p, size_t bytes, int64_t line, rt_error *err) RT_NODISCARD;
rt_status rt_pieces_no_memory(const rt_pieces *p, rt_error *err);
rt_status rt_piece_check_utf8(const char *path, const rt_piece *piece, rt_error *err) RT_NODISCARD;
bool rt_piece_blank(const rt_piece *piece); /* nothing but space, tab, \r, \n */
#endif
