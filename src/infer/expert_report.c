/* expert_report.c - the counts of a bank as JSON and as a line. */
#include <retort/base/log.h>
#include <retort/infer/expert_report.h>

static double hit_share(const rt_bank_stats *s) { return (double)s->hits / (double)(s->hits + s->loads); }

json_t *rt_experts_json(const rt_weights *w) {
    if (!w->bank) return NULL;
    rt_bank_stats s = rt_bank_stats_get(w->bank);
    json_t *rate = s.hits + s.loads > 0 ? rt_json_number(hit_share(&s)) : json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I}", "experts", (json_int_t)s.units, "expert_bytes", (json_int_t)s.unit_bytes,
                     "capacity", (json_int_t)s.capacity, "present", (json_int_t)s.present, "most_present", (json_int_t)s.most_present, "hits", (json_int_t)s.hits,
                     "loads", (json_int_t)s.loads, "evictions", (json_int_t)s.evictions, "hit_rate", rate, "bytes_present",
                     (json_int_t)(s.present * s.unit_bytes), "bytes_loaded", (json_int_t)(s.loads * s.unit_bytes));
}

static void bytes_text(rt_buf *out, int64_t bytes) {
    double mib = (double)bytes / 1048576;
    if (mib < 1) rt_buf_printf(out, "%.1f KiB", 1024 * mib);
    else if (mib < 1024) rt_buf_printf(out, "%.1f MiB", mib);
    else rt_buf_printf(out, "%.1f GiB", mib / 1024);
}
void rt_experts_text(const rt_weights *w, rt_buf *out) {
    if (!w->bank) return;
    rt_bank_stats s = rt_bank_stats_get(w->bank);
    rt_buf_printf(out, "%lld experts of ", (long long)s.units);
    bytes_text(out, s.unit_bytes);
    rt_buf_printf(out, ", at most %lld present (", (long long)s.capacity);
    bytes_text(out, s.capacity * s.unit_bytes);
    rt_buf_puts(out, ")");
    if (s.hits + s.loads == 0) return;
    rt_buf_printf(out, ": %.1f %% hits, %lld loads (", 100 * hit_share(&s), (long long)s.loads);
    bytes_text(out, s.loads * s.unit_bytes);
    rt_buf_printf(out, "), %lld evictions", (long long)s.evictions);
}
void rt_experts_log(const char *who, const rt_weights *w) {
    rt_buf line = {0};
    rt_bank_stats s = w->bank ? rt_bank_stats_get(w->bank) : (rt_bank_stats){0};
    if (s.capacity == s.units) return;
    rt_experts_text(w, &line);
    if (!line.failed) rt_log(RT_LOG_INFO, "%s: %s", who, line.data);
    rt_buf_free(&line);
}
