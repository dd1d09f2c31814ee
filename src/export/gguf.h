/* gguf.h - an opened model as one GGUF file. */
#ifndef RT_EXPORT_GGUF_H
#define RT_EXPORT_GGUF_H
#include "export/private.h"

rt_status rt_export_as_gguf(const rt_frozen *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) RT_NODISCARD;
#endif
