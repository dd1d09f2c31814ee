/* checkpoint_names.h - the names a checkpoint's folder can have. */
#ifndef IO_CHECKPOINT_NAMES_H
#define IO_CHECKPOINT_NAMES_H
#include <stdint.h>

#define RT_STEP "step-"
#define RT_TEMPORARY ".tmp-"
#define RT_NEW RT_TEMPORARY "new-"
#define RT_OLD RT_TEMPORARY "old-"
#define RT_GONE RT_TEMPORARY "gone-"
/* ROOT/kind00000500, owned; NULL: out of memory. */
char *rt_checkpoint_name(const char *root, const char *kind, int64_t step);
#endif
