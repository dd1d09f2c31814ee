/* losses.c - the registry: names to records. */
#include <retort/losses/losses.h>
#include <string.h>

#define RT_LOSS(name) &rt_loss_##name,
const rt_vocab_loss *const rt_losses[] = {
#include <retort/losses/losses.def>
    NULL};
#undef RT_LOSS

#define RT_LOSS(name) #name,
static const char *const names[] = {
#include <retort/losses/losses.def>
    NULL};
#undef RT_LOSS

const rt_vocab_loss *rt_loss_find(const char *name) {
    for (const rt_vocab_loss *const *l = rt_losses; *l; l++)
        if (strcmp((*l)->name, name) == 0) return *l;
    return NULL;
}

rt_status rt_loss_get(const char *name, bool trained, const rt_vocab_loss **loss, rt_error *err) {
    *loss = rt_loss_find(name);
    if (!*loss) {
        const char *near = rt_nearest(name, names);
        return rt_fail(err, RT_E_CONFIG, "there is no loss '%s'%s%s%s", name, near ? " (nearest: " : "", near ? near : "", near ? ")" : "");
    }
    if (trained && !(*loss)->gradient) return rt_fail(err, RT_E_CONFIG, "'%s' is a metric, it has no gradient to train on", name);
    return RT_OK;
}
