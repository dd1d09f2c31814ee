/* catalog.h - the commands of commands.def: finding one by its words, and the pages of help. */
#ifndef RETORT_CLI_CATALOG_H
#define RETORT_CLI_CATALOG_H
#include <retort/base/command.h>

/* The command that the first words name. *used: how many words that took, 1 or 2. RT_E_USAGE with the nearest name. */
rt_status rt_catalog_find(int argc, const char *const *argv, const rt_command **out, int *used,
                          rt_error *err) RT_NODISCARD;
bool rt_catalog_is_group(const char *word);

void rt_catalog_overview(bool colour, rt_buf *out);    /* retort --help */
void rt_catalog_group(const char *group, rt_buf *out); /* retort data --help */
/* retort data encode --help; `options` are the command's and the common ones */
void rt_catalog_command(const rt_command *c, const rt_option *options, rt_buf *out);
#endif
