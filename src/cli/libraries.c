/* libraries.c - versions as the loaded libraries tell them, not as the headers did. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "cli/libraries.h"
#include "kernels/gemm.h"
#include <jansson.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>
#include <yaml.h>
#include <zlib.h>

#ifdef __clang__
#define COMPILER "clang"
#else
#define COMPILER "gcc"
#endif

/* "oneDNN 2.6.3" -> name and version, in place. */
static rt_library split(const char *text, char *buffer, size_t size, const char *use) {
    strncpy(buffer, text, size - 1);
    char *space = strchr(buffer, ' ');
    if (space) *space = 0;
    return (rt_library){buffer, space ? space + 1 : "", use};
}

/* "OpenBLAS 0.3.21 NO_LAPACK ..." -> "0.3.21 (SkylakeX kernels)" */
static const char *openblas_version(char *out, size_t size) {
    char version[32] = "";
    if (sscanf(rt_openblas_config(), "%*31s %31s", version) != 1) return "unknown";
    snprintf(out, size, "%s (%s kernels)", version, rt_openblas_core());
    return out;
}

const rt_library *rt_libraries(void) {
    static char f32[64], pcre[64], blas[96];
    static rt_library list[8];
    int n = 0;
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    list[n++] = split(rt_gemm_f32_library(), f32, sizeof f32, "f32 products");
    list[n++] = (rt_library){"OpenBLAS", openblas_version(blas, sizeof blas), "LAPACK"};
    list[n++] = (rt_library){"jansson", jansson_version_str(), "JSON"};
    list[n++] = (rt_library){"libyaml", yaml_get_version_string(), "YAML"};
    list[n++] = (rt_library){"PCRE2", pcre, "tokenizer patterns"};
    list[n++] = (rt_library){"utf8proc", utf8proc_version(), "Unicode"};
    list[n++] = (rt_library){"zlib", zlibVersion(), "gzip, CRC-32"};
    list[n] = (rt_library){NULL, NULL, NULL};
    return list;
}

void rt_libraries_page(rt_buf *out) {
    rt_buf_puts(out, "retort " RT_VERSION "\n");
    for (const rt_library *l = rt_libraries(); l->name; l++)
        rt_buf_printf(out, "  %-9s %-26s %s\n", l->name, l->version, l->use);
    rt_buf_printf(out, "  %-9s %-26s %s\n", COMPILER, __VERSION__, "compiler");
}
