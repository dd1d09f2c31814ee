#include <retort/base/command.h>
typedef struct arguments { bool json; } arguments;
static const rt_option options[] = {RT_OPT_FLAG(arguments, json, "no", "print JSON"), RT_OPT_END};
static rt_status run(rt_context *c, const void *given, rt_error *err) { (void)given; return rt_out_printf(c, err, "x\n"); }
const rt_command rt_command_doctor = {"doctor", "what this machine can do", "[options]", NULL, options, sizeof(arguments), run};
