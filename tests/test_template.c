/* test_template.c - the template language. The expected texts are those of Jinja 3.1.6 itself, with the settings and the
 * additions of Hugging Face (trim_blocks, lstrip_blocks, loop controls, their tojson). */
#include "harness.h"
#include "text/template/run.h"
#include "text/template/template.h"
#include <retort/base/rng.h>
#include <string.h>

typedef struct vector {
    const char *name, *text, *expected;
} vector;
static const vector vectors[] = {
    {"whitespace",
        "  {# comment #}\n"
        "line {% if true %}\n"
        "   yes\n"
        "  {% else %}\n"
        "   no\n"
        "  {% endif %}  tail\n"
        "{%- for x in [1, 2, 3] -%}\n"
        "  {{ x }}{{ \",\" if not loop.last }}\n"
        "{%- endfor +%}\n"
        " {{- 'a' -}} \n"
        "b {{+ 1 }}\n"
        "  {%+ if true %}kept{% endif +%}\n"
        "\n"
        "end\n",
        "line    yes\n"
        "  tail1,2,3ab 1\n"
        "  kept\n"
        "\n"
        "end"},
    {"macros",
        "{%- macro field(name, value='none', sep=': ') -%}{{ name }}{{ sep }}{{ value }}{%- endmacro -%}{%- macro wrap() %}<{{ caller() }}>{% endmacro -%}\n"
        "{{ field('a', 1) }}|{{ field('b') }}|{{ field('c', value=[1, 'x', none, true, 2.5], sep='=') }}\n"
        "{% call wrap() %}in {{ messages|length }}{% endcall %}\n"
        "{% set block %}some {{ 1 + 1 }} text{% endset %}{{ block|upper }}\n"
        "{% filter upper %}abc{% endfilter %}\n"
        "{%- for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i > 5 %}{% break %}{% endif %}{{ i }}{% endfor %}\n"
        "{%- for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}{{ b }}{{ loop.revindex }}{% else %}none{% endfor %}\n"
        "{%- for q in [] %}{% else %}empty{% endfor %}",
        "a: 1|b: none|c=[1, 'x', None, True, 2.5]\n"
        "<in 4>SOME 2 TEXT\n"
        "ABC01245x12y21empty"},
    {"expr",
        "{{ (1 + 2 * 3 - 4 // 3) ~ 'x' }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 }} {{ 7 / 2 }} {{ 6 / 2 }}\n"
        "{{ 'abc'[1] }} {{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[-2:] }} {{ [1,2,3][::-1] }} {{ (1, 2)[0] }} {{ [1,2,3,4][1:3] }}\n"
        "{{ 'a' in 'abc' }} {{ 'x' not in ['x'] }} {{ 1 < 2 < 3 }} {{ not true or true and false }} {{ 'k' in {'k': 1} }}\n"
        "{{ ' x '|trim }} {{ 'Hello World'.lower() }} {{ 'hello world'.title() }} {{ 'a,b,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }}\n"
        "{{ [3,1,2]|sort }} {{ [1,2,3]|join('-') }} {{ ['a','b']|map('upper')|list }} {{ [1,2,3]|first }} {{ [1,2,3]|last }} {{ 'abc'|length }} {{ nope|default('d') }} {{ ''|default('e', true) }}\n"
        "{{ {'a': [1, 2.5, none, true], 'b': {'c': 'q\"\\\\ \\n é ü'}}|tojson }}\n"
        "{{ {'a': [1, 2.5, none, true], 'b': {}}|tojson(indent=2) }}\n"
        "{{ [{'r': 'u', 'n': 1}, {'r': 'a', 'n': 2}]|selectattr('r', 'equalto', 'a')|map(attribute='n')|list }} {{ [{'r': 'u'}, {}]|rejectattr('r', 'defined')|list|length }}\n"
        "{{ 'x' if false else 'y' }} {{ 'only' if false }} {{ none is none }} {{ 1 is defined }} {{ zz is defined }} {{ 'a' is string }} {{ {} is mapping }} {{ 3 is odd }} {{ 4 is divisibleby 2 }} {{ 1.5 is float }} {{ true is boolean }} {{ 1 is number }}\n"
        "{{ 'straße'.upper() }} {{ 'ÄÖ'.lower() }} {{ 'äöü'|length }} {{ 'äöü'[1] }} {{ 'a-b'.replace('-', '+') }} {{ 'aXbX'|replace('X', '') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }}\n"
        "{{ 1.0 }} {{ 1e20 }} {{ 0.1 + 0.2 }} {{ 1e-7 }} {{ 123456789012345678 }} {{ 3|string ~ 4 }} {{ '12'|int + 1 }} {{ '1.5'|float }} {{ -3|abs }}\n"
        "{{ ['it\\'s', \"q\\\"q\", 'b\\\\s', 'n\\nl'] }} {{ {'a': 'b', 1: none} }} {{ ('x',) }} {{ \"a\" \"b\" }} {{ 'xxaxx'.strip('x') }} {{ 'line1\\nline2'|indent(2) }} {{ 'ab\\ncd'.splitlines() }}\n"
        "{{ 'hello there'|capitalize }} {{ [1,[2]] == [1,[2]] }} {{ 1 == 1.0 }} {{ 'b' > 'a' }} {{ messages[0].get('nope', 'dflt') }} {{ messages[0].nope is defined }} {{ [1, 2] + [3] }} {{ 'ab' * 2 }} {{ messages|map(attribute='role')|join(',') }} {{ [1,1,2]|unique|list }} {{ \"a.b\"|replace(\".\", \"\") }} {{ \"a b c\".rsplit(\" \", 1) }} {{ 'abcabc'.find('ca') }} {{ 'abcabc'.count('bc') }} {{ '  '.isspace() }}",
        "6x 1 -4 2 8 3.5 3.0\n"
        "b bcd fedcba ef [3, 2, 1] 1 [2, 3]\n"
        "True False True False True\n"
        "x hello world Hello World ['a', 'b', 'c'] ['a', 'b'] ['a', 'b,c']\n"
        "[1, 2, 3] 1-2-3 ['A', 'B'] 1 3 3 d e\n"
        "{\"a\": [1, 2.5, null, true], \"b\": {\"c\": \"q\\\"\\\\ \\n é ü\"}}\n"
        "{\n"
        "  \"a\": [\n"
        "    1,\n"
        "    2.5,\n"
        "    null,\n"
        "    true\n"
        "  ],\n"
        "  \"b\": {}\n"
        "}\n"
        "[2] 1\n"
        "y  True True False True True True True True True True\n"
        "STRASSE äö 3 ö a+b ab True True\n"
        "1.0 1e+20 0.30000000000000004 1e-07 123456789012345678 34 13 1.5 3\n"
        "[\"it's\", 'q\"q', 'b\\\\s', 'n\\nl'] {'a': 'b', 1: None} ('x',) ab a line1\n"
        "  line2 ['ab', 'cd']\n"
        "Hello there True True True dflt False [1, 2, 3] abab user,assistant,user,assistant [1, 2] ab ['a b', 'c'] 2 2 True"},
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

static const char conversation[] = "[{\"role\": \"user\", \"content\": \"Hi there\"}, {\"role\": \"assistant\", \"content\": \"Hello! How are you?\"}, "
                                   "{\"role\": \"user\", \"content\": \" fine\\n\"}, {\"role\": \"assistant\", \"content\": \"Good.\\n\"}]";

/* Appends what the template makes of the conversation. */
static rt_status rendered(const char *text, size_t n, rt_buf *out, rt_error *err) {
    rt_template *t;
    tpl_scene *s = NULL;
    json_t *messages = NULL;
    tpl_value v = TPL_NOTHING;
    RT_TRY(rt_template_parse(&t, text, n, "t", err));
    rt_status status = rt_json_parse(conversation, strlen(conversation), "conversation", &messages, err);
    if (status == RT_OK) status = tpl_scene_new(&s, t, 1721952000, err);
    if (status == RT_OK) {
        tpl_binding b[] = {{"messages", tpl_from_json(tpl_scene_run(s), messages, 1)}, {"add_generation_prompt", tpl_bool(true)}};
        status = tpl_failed(tpl_scene_run(s)) ? tpl_scene_run(s)->status : tpl_render(s, b, 2, err, &v);
    }
    if (status == RT_OK) rt_buf_add(out, v.s, v.n);
    tpl_scene_free(s);
    json_decref(messages);
    rt_template_free(t);
    return status;
}

static void expect(const char *name, const char *text, const char *expected) {
    rt_error err = {0};
    rt_buf out = {0};
    RT_OK_OR_FAIL(rendered(text, strlen(text), &out, &err));
    const char *found = out.data ? out.data : "";
    RT_CHECK(strcmp(found, expected) == 0, "%s:\n      found    %s\n      expected %s", name, found, expected);
    rt_buf_free(&out);
}

static void texts_are_jinja_s(void) {
    for (int i = 0; i < VECTORS; i++) expect(vectors[i].name, vectors[i].text, vectors[i].expected);
}

static void scopes_are_jinja_s(void) {
    expect("for", "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1");
    expect("if", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "2");
    expect("namespace", "{% set n = namespace(x=1) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "4");
    expect("macro", "{% set g = 1 %}{% macro m(a) %}{% set g = 5 %}{{ a }}{{ g }}{{ b is defined }}{% endmacro %}"
                    "{% for b in [7] %}{{ m(b) }}{% endfor %}{{ g }}", "75False1");
    expect("shadow", "{% set messages = messages[1:] %}{{ messages|length }}{{ messages[0].role }}", "3assistant");
    expect("loop", "{% for m in messages %}{{ loop.previtem.role if not loop.first }}{{ loop.index }}{{ loop.last }} {% endfor %}",
           "1False user2False assistant3False user4True ");
}

static void powers_of_integers_are_exact(void) {
    expect("beyond 2^53", "{{ 9007199254740993 ** 1 }} {{ 3037000499 ** 2 }} {{ (-3) ** 3 }} {{ true ** 2 }}", "9007199254740993 9223372030926249001 -27 1");
    expect("largest", "{{ (900000000000000000 * 10 + 223372036854775807) ** 1 }}", "9223372036854775807");
    expect("others", "{{ 2 ** -1 }} {{ 2.0 ** 3 }} {{ 0 ** 0 }}", "0.5 8.0 1");
}

static void expect_error(const char *text, const char *wanted) {
    rt_error err = {0};
    rt_buf out = {0};
    CU_ASSERT_NOT_EQUAL(rendered(text, strlen(text), &out, &err), RT_OK);
    RT_CHECK(strstr(err.text, wanted) != NULL, "%s: found '%s', expected '%s'", text, err.text, wanted);
    rt_buf_free(&out);
}

static void errors_name_line_and_column(void) {
    expect_error("a\n {{ 1 + }}", "t:2:9: found }}, expected a value");
    expect_error("{% if x %}", "t:1:11: found the end of the template, expected 'endif'");
    expect_error("{% iff x %}{% endif %}", "t:1:4: found 'iff', expected a statement");
    expect_error("{{ 'abc }}", "t:1:4: a string without its end");
    expect_error("{{ x ", "{{ without its end }}");
    expect_error("{# x ", "t:1:1: a comment without its end");
    expect_error("{{ nope.deeper }}", "t:1:9: 'nope' is undefined");
    expect_error("\n{{ 'a' + 1 }}", "t:2:8: + between a string and an integer");
    expect_error("{{ 'a'|tojsn }}", "no filter 'tojsn' (did you mean 'tojson'?)");
    expect_error("{{ 1 is strin }}", "no test 'strin' (did you mean 'string'?)");
    expect_error("{{ raise_exception('only users') }}", "the template refuses: only users");
    expect_error("{{ messages.append(1) }}", "a list has no method 'append'");
    expect_error("{% break %}", "a loop around break and continue");
    expect_error("{{ 1 // 0 }}", "division by zero");
    expect_error("{{ 9223372036854775807 }}", "beyond 18 digits");
    expect_error("{% for a, b in [1] %}{% endfor %}", "an integer cannot be gone through");
}

/* None of these may hang, overrun the stack or take the machine's memory. */
static void hostile_templates_are_stopped(void) {
    static const char *const loops[] = {
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(100000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(90) %}{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{% macro m(x) %}{{ m(x + x) }}{% endmacro %}{{ m('x') }}",
        "{{ range(1000000000)|length }}", "{{ 'x' * 1000000000 }}", "{% set n = namespace() %}{% set n.n = n %}{{ n|tojson }}",
        "{{ ('a' * 1000000).replace('a', 'b' * 1000) }}", "{{ range(40000)|unique|list|length }}",
        "{% set l = range(1000000) %}{% for i in range(40) %}{{ 'a'.startswith(l) }}{% endfor %}",
        "{{ ('a' * 60000).strip('b' * 60000 ~ 'a')|length }}", "{{ ('a' * 100000).rsplit('a' * 50000 ~ 'b', 1)|length }}"};
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        rt_error err = {0};
        rt_buf out = {0};
        rt_status s = rendered(loops[i], strlen(loops[i]), &out, &err);
        RT_CHECK(s == RT_E_INPUT, "%s: %s %s", loops[i], rt_status_name(s), err.text);
        rt_buf_free(&out);
    }
    rt_buf deep = {0};
    rt_buf_puts(&deep, "{{ ");
    for (int i = 0; i < 100000; i++) rt_buf_puts(&deep, "(-[");
    for (int i = 0; i < 100000; i++) rt_buf_puts(&deep, "])");
    rt_buf_puts(&deep, " }}");
    rt_error err = {0};
    rt_buf out = {0};
    CU_ASSERT_EQUAL(rendered(deep.data, deep.size, &out, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "less nesting") != NULL, "%s", err.text);
    rt_buf_free(&deep), rt_buf_free(&out);
}
static void names_in_brackets_nest_as_deep_as_values(void) {
    rt_buf deep = {0}, out = {0};
    rt_error err = {0};
    rt_buf_puts(&deep, "{% for ");
    for (int i = 0; i < 1000000; i++) rt_buf_puts(&deep, "(a,");
    rt_buf_puts(&deep, "a %}{% endfor %}");
    CU_ASSERT_EQUAL(rendered(deep.data, deep.size, &out, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "less nesting") != NULL, "%s", err.text);
    rt_buf_free(&deep), rt_buf_free(&out);
    expect("nested", "{% for a, (b, (c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "123");
}

static void survives(const char *text, size_t n) {
    rt_error err = {0};
    rt_buf out = {0};
    rt_status s = rendered(text, n, &out, &err);
    if (s != RT_OK && s != RT_E_INPUT && s != RT_E_UNSUPPORTED) RT_FAILF("%.*s: %s", (int)n, text, err.text);
    rt_buf_free(&out);
}

/* Every truncation, and bytes changed at random: an answer or a refusal, and under the sanitizers nothing else. */
static void damaged_templates_do_no_harm(void) {
    static const char signs[] = "{}%#-+|()[]'\"\\.,:~*/ \n0x1fie";
    for (int k = 0; k < VECTORS; k++) {
        size_t n = strlen(vectors[k].text);
        for (size_t cut = 0; cut < n; cut++) survives(vectors[k].text, cut);
        for (uint64_t i = 0; i < 1000; i++) {
            rt_rng r = rt_rng_make(3, "template", (uint64_t)k * 10000 + i);
            rt_buf text = {0};
            rt_buf_add(&text, vectors[k].text, n);
            for (uint64_t j = 0; j < 1 + i % 6; j++) text.data[rt_rng_below(r, 2 * j, n)] = signs[rt_rng_below(r, 2 * j + 1, sizeof signs - 1)];
            survives(text.data, n);
            rt_buf_free(&text);
        }
    }
    CU_PASS("no harm");
}

RT_SUITE(template) {
    RT_TEST(texts_are_jinja_s);
    RT_TEST(scopes_are_jinja_s);
    RT_TEST(powers_of_integers_are_exact);
    RT_TEST(errors_name_line_and_column);
    RT_TEST(hostile_templates_are_stopped);
    RT_TEST(names_in_brackets_nest_as_deep_as_values);
    RT_TEST(damaged_templates_do_no_harm);
}
