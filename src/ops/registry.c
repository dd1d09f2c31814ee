/* registry.c - every operation, from ops.def: what tests walk and `show` lists. */
#include <retort/ops/ops.h>
#include <retort/graph/op.h>

#define RT_OP(name) extern const rt_op rt_op_##name;
#include "ops/ops.def"
#undef RT_OP

const rt_op *const rt_ops[] = {
#define RT_OP(name) &rt_op_##name,
#include "ops/ops.def"
    NULL};
