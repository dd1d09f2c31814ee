/* expert_report.h - what a model's experts cost in memory and loading: for logs, listings and people. */
#ifndef RETORT_INFER_EXPERT_REPORT_H
#define RETORT_INFER_EXPERT_REPORT_H
#include <retort/base/json.h>
#include <retort/model/weights.h>

/* {experts, expert_bytes, capacity, present, most_present, hits, loads, evictions, hit_rate, bytes_present, bytes_loaded}; the
 * bank of the weights, since it was opened. hit_rate null before the first use. NULL: no bank, or out of memory. */
json_t *rt_experts_json(const rt_weights *w);
/* One line: "128 experts of 12.0 MiB, at most 32 present (384.0 MiB): 91.2 % hits, 104 loads (1.2 GiB), 72 evictions". */
void rt_experts_text(const rt_weights *w, rt_buf *out);
/* "who: " and that line, to the console, when there is a bank that cannot hold all experts at once. */
void rt_experts_log(const char *who, const rt_weights *w);
#endif
