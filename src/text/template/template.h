/* template.h - Jinja templates, as far as chat templates use them, rendered as Hugging Face's apply_chat_template does
 * (trim_blocks, lstrip_blocks, loop controls, raise_exception, strftime_now, {% generation %}).
 *
 * Values come in as JSON. A template is hostile until shown otherwise: steps, depth, memory and output of a rendering
 * are bounded (run.h). Errors name line and column. */
#ifndef RETORT_SRC_TEXT_TEMPLATE_TEMPLATE_H
#define RETORT_SRC_TEXT_TEMPLATE_TEMPLATE_H
#include "text/template/value.h"
#include <retort/base/json.h>

typedef struct rt_template rt_template;

/* `name` stands for the template in errors. RT_E_INPUT: "NAME:LINE:COLUMN: found X, expected Y". */
rt_status rt_template_parse(rt_template **out, const char *text, size_t bytes, const char *name, rt_error *err) RT_NODISCARD;
void rt_template_free(rt_template *t); /* NULL is fine */
const char *rt_template_name(const rt_template *t);

typedef struct tpl_binding {
    const char *name;
    tpl_value value;
} tpl_binding;

/* Values that several renderings share. Make them all before the first rendering. */
typedef struct tpl_scene tpl_scene;
rt_status tpl_scene_new(tpl_scene **out, const rt_template *t, int64_t now, rt_error *err) RT_NODISCARD;
void tpl_scene_free(tpl_scene *s);
struct tpl_run *tpl_scene_run(tpl_scene *s); /* for the makers of value.h */
/* A value of JSON; every byte of its strings gets the mark. Strings are borrowed. */
tpl_value tpl_from_json(struct tpl_run *r, const json_t *v, uint16_t mark);
/* An object, whose member "role" gets a mark of its own. */
tpl_value tpl_from_object(struct tpl_run *r, const json_t *v, uint16_t mark, uint16_t role);
/* Renders with the variables given; the result lives until the next rendering. RT_E_INPUT: what the template did wrong,
 * or its own raise_exception; another rendering of the scene may follow. */
rt_status tpl_render(tpl_scene *s, const tpl_binding *variables, size_t n, rt_error *err, tpl_value *out) RT_NODISCARD;
#endif
