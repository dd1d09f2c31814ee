/* fixture_models.c - reading fixtures/models. */
#include "fixture_models.h"
#include "harness.h"
#include <retort/base/json.h>
#include <retort/base/mem.h>
#include <stdio.h>
#include <string.h>

const char *fixture_path(const fixture *f, const char *file) {
    static char buffers[4][2048];
    static unsigned turn;
    char *b = buffers[turn++ % 4];
    snprintf(b, 2048, "%s/%s", f->root, file);
    return b;
}
float *fixture_floats(const char *path, int64_t count) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    float *x = rt_alloc((size_t)count * sizeof *x);
    if (x && fread(x, sizeof *x, (size_t)count, file) != (size_t)count) RT_FAILF("%s is short", path);
    fclose(file);
    return x;
}
double fixture_number(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v)) RT_FAILF("expected.json has no number '%s'", key);
    return json_number_value(v);
}
static void read_ids(const fixture *f, const char *name, int32_t *ids) {
    FILE *file = fopen(fixture_path(f, name), "r");
    for (int i = 0; file && i < FIXTURE_T; i++)
        if (fscanf(file, "%d", &ids[i]) != 1) RT_FAILF("%s is short", name);
    if (file) fclose(file);
}
bool fixture_open(fixture *f, const char *name) {
    char relative[256];
    rt_error err = {0};
    snprintf(relative, sizeof relative, "models/%s", name);
    const char *root = rt_fixture(relative);
    if (!root) return false;
    *f = (fixture){.name = name};
    snprintf(f->root, sizeof f->root, "%s", root);
    read_ids(f, "ids.txt", f->ids);
    read_ids(f, "ids2.txt", f->ids + FIXTURE_T);
    f->logits = fixture_floats(fixture_path(f, "logits.f32"), 2 * FIXTURE_T * FIXTURE_V);
    f->last4[0] = fixture_floats(fixture_path(f, "logits_f16_last4.f32"), 2 * 4 * FIXTURE_V);
    f->last4[1] = fixture_floats(fixture_path(f, "logits_bf16_last4.f32"), 2 * 4 * FIXTURE_V);
    RT_OK_OR_FAIL(rt_json_load(fixture_path(f, "expected.json"), 1 << 24, &f->expected, &err));
    return f->logits != NULL;
}
void fixture_close(fixture *f) {
    rt_free(f->logits), rt_free(f->last4[0]), rt_free(f->last4[1]);
    json_decref(f->expected);
}
