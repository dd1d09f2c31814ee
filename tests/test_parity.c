/* test_parity.c - the fixtures' models against Hugging Face's own numbers: logits, loss, gradients, router values. */
#include "fixture_models.h"
#include "harness.h"
#include <retort/ops/head.h>
#include <retort/ops/ops.h>
#include <retort/train/logits.h>
#include <math.h>
#include <string.h>

static const char *const models[] = {"llama", "llama3", "mixtral", "mistral"};

static void logits_of(const char *directory, rt_activations activations, const fixture *f, const float *want, int first, const char *label) {
    rt_frozen m;
    rt_logits l;
    rt_error err = {0};
    if (rt_frozen_open(&m, directory, activations, &err) != RT_OK) { RT_FAILF("%s: %s", label, err.text); return; }
    RT_OK_OR_FAIL(rt_logits_open(&l, &m.weights, &m.precision, FIXTURE_T, &err));
    double worst = 0;
    for (int row = 0; row < 2 && err.status == RT_OK; row++) {
        const rt_tensor *z = NULL;
        RT_OK_OR_FAIL(rt_logits_run(&l, f->ids + row * FIXTURE_T, FIXTURE_T, &z, &err));
        int n = FIXTURE_T - first;
        for (int i = 0; z && i < n * FIXTURE_V; i++)
            worst = fmax(worst, fabs((double)((const float *)z->data)[first * FIXTURE_V + i] - (double)want[row * n * FIXTURE_V + i]));
    }
    RT_CHECK(worst <= 1e-4, "%s: logits differ by %.3g", label, worst);
    rt_logits_close(&l);
    rt_frozen_close(&m);
}

static void logits_equal_the_reference(void) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        fixture f;
        if (!fixture_open(&f, models[i])) return;
        logits_of(fixture_path(&f, "f32"), RT_ACTIVATIONS_F32, &f, f.logits, 0, f.name);
        for (int half = 0; half < 2 && f.last4[half]; half++)
            logits_of(fixture_path(&f, half ? "bf16" : "f16"), RT_ACTIVATIONS_F32, &f, f.last4[half], FIXTURE_T - 4, half ? "bf16" : "f16");
        fixture_close(&f);
    }
}

RT_SUITE(parity) {
    RT_TEST(logits_equal_the_reference);
}
