/* fixture_models.h - one of fixtures/models: ids, logits, expected.json, gradients. */
#ifndef RT_TESTS_FIXTURE_MODELS_H
#define RT_TESTS_FIXTURE_MODELS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { FIXTURE_T = 64, FIXTURE_V = 512 };
typedef struct fixture {
    const char *name;
    char root[1024];
    int32_t ids[2 * FIXTURE_T];
    float *logits, *last4[2]; /* [2,64,512]; f16, bf16 [2,4,512], NULL where there are none */
    json_t *expected;
} fixture;
bool fixture_open(fixture *f, const char *name); /* false after a loud skip */
void fixture_close(fixture *f);
const char *fixture_path(const fixture *f, const char *file); /* static buffer, 4 in rotation */
float *fixture_floats(const char *path, int64_t count);       /* NULL if absent; rt_free */
double fixture_number(const json_t *object, const char *key);
#endif
