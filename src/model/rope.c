/* rope.c - rotary frequencies, in f64: f_i = theta^(-2i/d), scaled by linear or llama3 rules.
 * llama3 (Dubey et al. 2024; as in transformers' _compute_llama3_parameters): wavelengths below original/high keep their
 * frequency, above original/low are divided by factor, between them a linear blend. */
#include <retort/model/model.h>
#include <math.h>

static double llama3(const rt_rope_scaling *s, double f) {
    double wavelength = 2 * 3.14159265358979323846 / f, original = (double)s->original_max_position;
    if (wavelength < original / s->high_freq_factor) return f;
    if (wavelength > original / s->low_freq_factor) return f / s->factor;
    double smooth = (original / wavelength - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    return (1 - smooth) * f / s->factor + smooth * f;
}

void rt_rope_frequencies(const rt_model_config *c, double *frequency) {
    for (int64_t i = 0; i < c->head_dim / 2; i++) {
        double f = pow(c->rope_theta, -2.0 * (double)i / (double)c->head_dim);
        frequency[i] = c->rope.kind == RT_ROPE_LLAMA3 ? llama3(&c->rope, f) : c->rope.kind == RT_ROPE_LINEAR ? f / c->rope.factor : f;
    }
}
