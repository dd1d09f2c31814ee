/* libraries.h - the version of the program and of the libraries it runs with. */
#ifndef RETORT_CLI_LIBRARIES_H
#define RETORT_CLI_LIBRARIES_H
#include <retort/base/mem.h>

typedef struct rt_library {
    const char *name, *version, *use;
} rt_library;
/* Ends with a NULL name; static. */
const rt_library *rt_libraries(void);
/* retort --version */
void rt_libraries_page(rt_buf *out);
#endif
