/* csv.h - one column of a .csv or .tsv file (RFC 4180): fields in quotes may hold the delimiter, line ends and doubled
 * quotes; records end with \n or \r\n; every record has as many fields as the first. In a .tsv a quote within a field
 * that does not begin with one is a character like any other. */
#ifndef RETORT_SRC_TEXT_CSV_H
#define RETORT_SRC_TEXT_CSV_H
#include "text/pieces.h"

typedef struct rt_csv {
    rt_pieces *file;
    bool tabs;
    int64_t column, fields; /* from 0; fields of every record, 0: not known yet */
    rt_buf name;            /* of the header, a field at a time */
} rt_csv;

/* `column`: the name in the header, or a number from 1; NULL: "text". Without a header only numbers. Reads the header.
 * RT_E_INPUT names the columns there are. */
rt_status rt_csv_open(rt_csv *c, rt_pieces *file, bool tabs, const char *column, bool header, rt_error *err) RT_NODISCARD;
/* Appends the column of the next record to `out`; line: where the record begins; skip: a blank line, or nothing was left.
 * RT_E_INPUT: FILE:LINE:COLUMN. */
rt_status rt_csv_next(rt_csv *c, rt_buf *out, int64_t *line, bool *skip, rt_error *err) RT_NODISCARD;
void rt_csv_free(rt_csv *c);
#endif
