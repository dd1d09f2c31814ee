/* precision.c - precision policies. */
#include <retort/model/precision.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
#define X(name, doc) #name,
    RT_ROLE_LIST(X)
#undef X
        NULL};
static const char *const docs[] = {
#define X(name, doc) doc,
    RT_ROLE_LIST(X)
#undef X
};
const char *rt_role_name(rt_role r) { return names[r]; }
const char *rt_role_doc(rt_role r) { return docs[r]; }
const char *const *rt_role_names(void) { return names; }
bool rt_role_find(const char *name, rt_role *r) {
    for (int i = 0; i < RT_ROLE_COUNT; i++)
        if (strcmp(name, names[i]) == 0) return *r = (rt_role)i, true;
    return false;
}

static rt_precision uniform(rt_dtype weight, rt_dtype act) {
    rt_precision p;
    for (int i = 0; i < RT_ROLE_COUNT; i++) p.weight[i] = weight, p.act[i] = act;
    return p;
}
rt_precision rt_precision_student(rt_dtype t) {
    rt_precision p = uniform(t, t);
    if (t != RT_F64) p.weight[rt_role_router] = p.act[rt_role_router] = RT_F32;
    return p;
}
rt_precision rt_precision_teacher(rt_dtype t, bool native) { return uniform(t, native || t == RT_F64 ? t : RT_F32); }

bool rt_precision_equal(const rt_precision *a, const rt_precision *b) { return memcmp(a, b, sizeof *a) == 0; }

rt_prec rt_role_prec(const rt_precision *p, rt_role r, rt_dtype in, rt_dtype out) {
    rt_dtype wide = p->weight[r] == RT_F64 ? RT_F64 : RT_F32;
    return (rt_prec){in, p->weight[r], wide, out, wide};
}

void rt_precision_text(const rt_precision *p, rt_buf *out) {
    for (int i = 0; i < RT_ROLE_COUNT; i++)
        rt_buf_printf(out, "%s%s %s/%s", i ? " " : "", names[i], rt_dtype_name(p->weight[i]), rt_dtype_name(p->act[i]));
}

rt_status rt_precision_parse(const char *text, rt_precision *p, rt_error *err) {
    char role[32], weight[16], act[16];
    int used = 0, seen = 0;
    for (const char *s = text; sscanf(s, " %31s %15[^/]/%15s%n", role, weight, act, &used) == 3; s += used, seen++) {
        rt_role r;
        if (!rt_role_find(role, &r) || !rt_dtype_parse(weight, &p->weight[r]) || !rt_dtype_parse(act, &p->act[r]))
            return rt_fail(err, RT_E_INPUT, "precision policy: '%s %s/%s' is not a role with two dtypes", role, weight, act);
    }
    if (seen != RT_ROLE_COUNT) return rt_fail(err, RT_E_INPUT, "precision policy: %d roles, expected %d", seen, RT_ROLE_COUNT);
    return RT_OK;
}

void rt_precision_table(const rt_precision *p, rt_buf *out) {
    rt_buf_printf(out, "%-10s %-6s %-10s %-11s %s\n", "role", "weight", "activation", "accumulator", "covers");
    for (int i = 0; i < RT_ROLE_COUNT; i++)
        rt_buf_printf(out, "%-10s %-6s %-10s %-11s %s\n", names[i], rt_dtype_name(p->weight[i]), rt_dtype_name(p->act[i]),
                      p->weight[i] == RT_F64 ? "f64" : "f32", docs[i]);
}
