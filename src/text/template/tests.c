/* tests.c - "x is NAME". */
#include "text/template/run.h"
#include <string.h>

typedef struct subject {
    tpl_run *r;
    tpl_value v, other; /* what is tested; the first argument */
    const tpl_args *a;
} subject;

static bool defined(const subject *s) { return s->v.kind != TPL_UNDEFINED; }
static bool undefined(const subject *s) { return s->v.kind == TPL_UNDEFINED; }
static bool none(const subject *s) { return s->v.kind == TPL_NONE; }
static bool string(const subject *s) { return s->v.kind == TPL_STRING; }
static bool mapping(const subject *s) { return s->v.kind == TPL_DICT; }
static bool sequence(const subject *s) { return s->v.kind == TPL_LIST || s->v.kind == TPL_STRING || s->v.kind == TPL_DICT; }
static bool iterable(const subject *s) { return sequence(s) || s->v.kind == TPL_UNDEFINED; }
static bool number(const subject *s) { return tpl_number(s->v); }
static bool integer(const subject *s) { return s->v.kind == TPL_INT; }
static bool real(const subject *s) { return s->v.kind == TPL_FLOAT; }
static bool boolean(const subject *s) { return s->v.kind == TPL_BOOL; }
static bool truth(const subject *s) { return boolean(s) && s->v.b; }
static bool falsehood(const subject *s) { return boolean(s) && !s->v.b; }
static bool callable(const subject *s) { return s->v.kind == TPL_MACRO || s->v.kind == TPL_FUNCTION; }
static bool equal(const subject *s) { return tpl_equal(s->r, s->v, s->other); }
static bool unequal(const subject *s) { return !equal(s); }
static bool within(const subject *s) { return tpl_contains(s->r, s->a->at, s->other, s->v); }

static int order(const subject *s) {
    int o = 0;
    if (!tpl_order(s->v, s->other, &o)) tpl_fail(s->r, s->a->at, RT_E_INPUT, "an order between %s and %s", tpl_kind_name(s->v), tpl_kind_name(s->other));
    return o;
}
static bool below(const subject *s) { return order(s) < 0; }
static bool at_most(const subject *s) { return order(s) <= 0; }
static bool above(const subject *s) { return order(s) > 0; }
static bool at_least(const subject *s) { return order(s) >= 0; }

static int64_t whole(const subject *s, tpl_value v) {
    if (v.kind == TPL_INT) return v.i;
    tpl_fail(s->r, s->a->at, RT_E_INPUT, "%s where an integer is needed", tpl_kind_name(v));
    return 1;
}
static bool odd(const subject *s) { return whole(s, s->v) % 2 != 0; }
static bool even(const subject *s) { return whole(s, s->v) % 2 == 0; }
static bool divisible(const subject *s) {
    int64_t by = whole(s, s->other);
    return by == -1 || (by != 0 && whole(s, s->v) % by == 0);
}
static bool same_case(const subject *s, const char *method) {
    tpl_args nothing = {.at = s->a->at};
    return s->v.kind == TPL_STRING && tpl_equal(s->r, s->v, tpl_call_method(s->r, s->v, method, &nothing));
}
static bool lower(const subject *s) { return same_case(s, "lower"); }
static bool upper(const subject *s) { return same_case(s, "upper"); }

static const struct {
    const char *name;
    bool (*holds)(const subject *);
} tests[] = {{"defined", defined}, {"undefined", undefined}, {"none", none}, {"string", string}, {"mapping", mapping},
             {"sequence", sequence}, {"iterable", iterable}, {"number", number}, {"integer", integer}, {"float", real},
             {"boolean", boolean}, {"true", truth}, {"false", falsehood}, {"callable", callable}, {"equalto", equal},
             {"eq", equal}, {"==", equal}, {"sameas", equal}, {"ne", unequal}, {"!=", unequal}, {"in", within},
             {"lt", below}, {"lessthan", below}, {"<", below}, {"le", at_most}, {"<=", at_most}, {"gt", above},
             {"greaterthan", above}, {">", above}, {"ge", at_least}, {">=", at_least}, {"odd", odd}, {"even", even},
             {"divisibleby", divisible}, {"lower", lower}, {"upper", upper}};
enum { TESTS = sizeof tests / sizeof *tests };

bool tpl_test(tpl_run *r, tpl_value v, const char *name, const tpl_args *a) {
    const char *names[TESTS + 1] = {0};
    subject s = {r, v, tpl_argument(a, 0, NULL), a};
    for (int i = 0; i < TESTS; i++) {
        if (strcmp(tests[i].name, name) == 0) return tests[i].holds(&s);
        names[i] = tests[i].name;
    }
    const char *near = rt_nearest(name, names);
    tpl_fail(r, a->at, RT_E_UNSUPPORTED, "no test '%.40s'%s%s%s", name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    return false;
}
