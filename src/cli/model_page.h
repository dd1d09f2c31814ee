/* model_page.h - what `retort show model` tells, gathered (model_groups.c, show_model.c) and told (model_text.c, model_json.c). */
#ifndef RT_CLI_MODEL_PAGE_H
#define RT_CLI_MODEL_PAGE_H
#include <retort/base/json.h>
#include <retort/text/tokenizer.h>
#include <retort/train/footprint.h>

/* Weights of one kind, shape and dtype, in all layers of a group together. */
typedef struct rt_weight_row {
    rt_weight_kind kind;
    rt_dtype dtype;
    int ndim;
    int64_t dim[2];
    int64_t tensors; /* in one layer */
} rt_weight_row;
enum { RT_GROUP_ROWS = 2 * RT_WEIGHT_KINDS };
/* Layers that are alike; the group before the first layer and the one behind the last have no layers. */
typedef struct rt_layer_group {
    rt_weight_row row[RT_GROUP_ROWS];
    int rows;
    int32_t *layer; /* [layers], ascending */
    int64_t layers;
} rt_layer_group;
typedef struct rt_layer_groups {
    rt_layer_group *of;
    int64_t count;
    rt_arena arena;
} rt_layer_groups;
/* In the order of the model. RT_E_UNSUPPORTED: more rows in a layer than can be told apart. */
rt_status rt_layer_groups_make(rt_layer_groups *g, const rt_hf *m, rt_error *err) RT_NODISCARD;
void rt_layer_groups_free(rt_layer_groups *g);
int64_t rt_row_elements(const rt_weight_row *r);

typedef struct rt_model_page {
    const rt_hf *m;
    rt_layer_groups groups;
    char hash[65];            /* of the content, where asked for; "" */
    rt_tokenizer *tokenizer;  /* NULL: none, or */
    char tokenizer_error[512];
    bool described;           /* precision and memory are known, or */
    char memory_error[512];
    rt_precision precision;
    int64_t T, batch, run_T;  /* of training; of running */
    int64_t file_bytes, copied;
    rt_dtype student;
    rt_run_memory run;
    rt_train_memory train;
    int64_t key_values; /* bytes a token */
} rt_model_page;

int64_t rt_page_run_bytes(const rt_model_page *p);                     /* everything that running takes */
int64_t rt_page_train_bytes(const rt_model_page *p, bool recompute);   /* likewise training */
void rt_model_text(const rt_model_page *p, bool all, rt_buf *out);
json_t *rt_model_json(const rt_model_page *p); /* NULL: out of memory */
#endif
