/* router.c - the registry of policies and the life of their state. */
#include <retort/routers/router.h>
#include <string.h>

#define RT_ROUTER(name) extern const rt_router rt_router_##name;
#include "routers/routers.def"
#undef RT_ROUTER

const rt_router *const rt_routers[] = {
#define RT_ROUTER(name) &rt_router_##name,
#include "routers/routers.def"
#undef RT_ROUTER
    NULL};
static const char *const names[] = {
#define RT_ROUTER(name) #name,
#include "routers/routers.def"
#undef RT_ROUTER
    NULL};

rt_status rt_router_find(const char *name, const rt_router **router, rt_error *err) {
    for (int i = 0; rt_routers[i]; i++)
        if (strcmp(rt_routers[i]->name, name) == 0) return *router = rt_routers[i], RT_OK;
    const char *near = rt_nearest(name, names);
    return rt_fail(err, RT_E_CONFIG, "no routing policy '%s' (%s '%s')", name, near ? "nearest:" : "there is", near ? near : names[0]);
}

rt_status rt_router_state_open(rt_router_state *s, const rt_router *r, const rt_router_options *o, rt_error *err) {
    *s = (rt_router_state){0};
    if (r->declare) r->declare(o, s);
    for (int i = 0; i < s->count; i++) {
        s->array[i].data = rt_zalloc(rt_tensor_bytes(&s->array[i]));
        if (s->array[i].data) continue;
        rt_router_state_close(s);
        return rt_fail(err, RT_E_NOMEM, "out of memory: state of the routing policy '%s'", r->name);
    }
    return RT_OK;
}
void rt_router_state_close(rt_router_state *s) {
    for (int i = 0; i < s->count; i++) rt_free(s->array[i].data);
    *s = (rt_router_state){0};
}
void rt_router_update(const rt_router *r, const rt_router_options *o, rt_router_state *s, const rt_router_observation *seen) {
    if (r->update) r->update(o, s, seen);
}
