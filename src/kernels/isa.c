/* isa.c - asks the processor once. */
#include "kernels/isa.h"
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#if defined __x86_64__
static const char *const names[RT_ISA_COUNT] = {"v2", "v3", "v4"};

static rt_isa found(void) {
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
              __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    return v4 ? RT_ISA_HIGHEST : v3 ? RT_ISA_MIDDLE : RT_ISA_LOWEST;
}
#else
static const char *const names[RT_ISA_COUNT] = {"base", "base", "base"};
static rt_isa found(void) { return RT_ISA_LOWEST; }
#endif

#ifndef RT_ISA_LIMIT
#define RT_ISA_LIMIT names[RT_ISA_HIGHEST]
#endif
rt_isa rt_isa_of_processor(void) {
    int l = (int)found();
    while (l > 0 && strcmp(names[l], RT_ISA_LIMIT) > 0) l--;
    return (rt_isa)l;
}

static _Atomic int level = -1;

rt_isa rt_isa_level(void) {
    int now = atomic_load_explicit(&level, memory_order_relaxed);
    if (now < 0) atomic_store_explicit(&level, now = (int)rt_isa_of_processor(), memory_order_relaxed);
    return (rt_isa)now;
}
const char *rt_isa_name(rt_isa l) { return names[l]; }

bool rt_isa_force(const char *name) {
    rt_isa own = rt_isa_of_processor();
    for (int l = 0; l <= (int)own; l++)
        if (name == NULL ? l == (int)own : strcmp(name, names[l]) == 0) return atomic_store(&level, l), true;
    return false;
}
