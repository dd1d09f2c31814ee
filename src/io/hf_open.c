/* hf_open.c - opens a model directory: configuration, the file or shards, and the match between both.
 *
 * All tensors of all files form one list sorted by name. Each expected weight is looked up in it; what is left over must
 * be explained. With shards, index and files must agree in both directions. A GGUF file stands for a directory. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/gguf_model.h>
#include <retort/io/hf.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 10000 };
typedef struct listed {
    const char *name; /* first: bsearch by name */
    const rt_tensor *tensor;
    const rt_safetensors *file;
    bool used;
} listed;
struct rt_hf {
    rt_arena arena;
    const char *path;
    rt_model_config config;
    rt_safetensors **files;
    size_t file_count;
    listed *tensors;
    size_t tensor_count;
    const rt_tensor **weights; /* in the order of rt_weight_at */
    rt_gguf_model *gguf;       /* instead of files */
    int64_t ignored;
};

static rt_status out_of_memory(const rt_hf *m, rt_error *err) { return rt_fail(err, RT_E_NOMEM, "%s: out of memory", m->path); }
static char *inside(rt_hf *m, const char *name) { return rt_arena_printf(&m->arena, "%s/%s", m->path, name); }

/* -------------------------------------------------------------------- files */

static rt_status open_file(rt_hf *m, const char *name, rt_error *err) {
    const char *path = inside(m, name);
    if (!path) return out_of_memory(m, err);
    RT_TRY(rt_safetensors_open(path, &m->files[m->file_count], err));
    m->file_count++;
    return RT_OK;
}
static rt_status reserve_files(rt_hf *m, size_t n, rt_error *err) {
    m->files = rt_arena_alloc(&m->arena, rt_array_bytes(n, sizeof *m->files));
    return m->files ? RT_OK : out_of_memory(m, err);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
/* The names of the shards, sorted, each once. A shard lies beside its index: no folders, nothing hidden. */
static rt_status shard_names(rt_hf *m, const rt_json *map, const char ***names, size_t *count, rt_error *err) {
    size_t n = 0, total = json_object_size(map->value);
    const char **all = rt_arena_alloc(&m->arena, rt_array_bytes(total, sizeof *all)), *key, *name;
    json_t *value;
    if (!all) return out_of_memory(m, err);
    json_object_foreach((json_t *)(uintptr_t)map->value, key, value) {
        RT_TRY(rt_json_string(map, key, &name, err));
        if (!*name || *name == '.' || strchr(name, '/'))
            return rt_json_fail(map, err, "found the file name %.80s, expected one in this folder", name);
        all[n++] = name;
    }
    qsort(all, n, sizeof *all, by_text);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (*count == 0 || strcmp(all[*count - 1], all[i]) != 0) all[(*count)++] = all[i];
    *names = all;
    return *count <= MAX_SHARDS ? RT_OK : rt_json_fail(map, err, "found %zu files, expected at most %d", *count, MAX_SHARDS);
}

static const rt_safetensors *file_named(const rt_hf *m, const char *name) {
    for (size_t i = 0; i < m->file_count; i++)
        if (strcmp(strrchr(rt_safetensors_path(m->files[i]), '/') + 1, name) == 0) return m->files[i];
    return NULL;
}
static rt_status index_agrees(const rt_hf *m, const rt_json *map, rt_error *err) {
    const char *tensor;
    json_t *file;
    int64_t held = 0;
    for (size_t i = 0; i < m->file_count; i++) held += rt_safetensors_count(m->files[i]);
    json_object_foreach((json_t *)(uintptr_t)map->value, tensor, file) {
        if (!rt_safetensors_find(file_named(m, json_string_value(file)), tensor))
            return rt_json_fail(map, err, "%.120s is not in %.80s", tensor, json_string_value(file));
    }
    if ((size_t)held == json_object_size(map->value)) return RT_OK;
    return rt_json_fail(map, err, "lists %zu tensors, but its files hold %lld", json_object_size(map->value), (long long)held);
}

static rt_status open_indexed(rt_hf *m, const json_t *index, const char *path, rt_error *err) {
    rt_json root = rt_json_root(index, path), map;
    const char **names = NULL;
    size_t count = 0;
    RT_TRY(rt_json_object(&root, "weight_map", &map, err));
    RT_TRY(shard_names(m, &map, &names, &count, err));
    RT_TRY(reserve_files(m, count, err));
    for (size_t i = 0; i < count; i++) RT_TRY(open_file(m, names[i], err));
    return index_agrees(m, &map, err);
}
static rt_status open_shards(rt_hf *m, const char *path, rt_error *err) {
    json_t *index;
    RT_TRY(rt_json_load(path, 0, &index, err));
    rt_status status = open_indexed(m, index, path, err);
    json_decref(index);
    return status;
}

static rt_status open_files(rt_hf *m, rt_error *err) {
    const char *single = inside(m, "model.safetensors"), *index = inside(m, "model.safetensors.index.json");
    const char *pickled = inside(m, "pytorch_model.bin");
    if (!single || !index || !pickled) return out_of_memory(m, err);
    if (rt_file_exists(single)) {
        RT_TRY(reserve_files(m, 1, err));
        return open_file(m, "model.safetensors", err);
    }
    if (rt_file_exists(index)) return open_shards(m, index, err);
    return rt_fail(err, RT_E_INPUT, "%s: found neither model.safetensors nor model.safetensors.index.json%s", m->path,
                   rt_file_exists(pickled) ? " (pytorch_model.bin is not read: save the model as safetensors)" : "");
}

/* ------------------------------------------------------------------ matching */

static int by_name(const void *a, const void *b) { return strcmp(((const listed *)a)->name, ((const listed *)b)->name); }
static listed *look_up(const rt_hf *m, const char *name) {
    listed key = {.name = name};
    return bsearch(&key, m->tensors, m->tensor_count, sizeof key, by_name);
}

static rt_status list_tensors(rt_hf *m, rt_error *err) {
    size_t n = 0;
    for (size_t f = 0; f < m->file_count; f++) n += (size_t)rt_safetensors_count(m->files[f]);
    m->tensors = rt_arena_alloc(&m->arena, rt_array_bytes(n, sizeof *m->tensors));
    if (!m->tensors) return out_of_memory(m, err);
    for (size_t f = 0; f < m->file_count; f++)
        for (int64_t i = 0; i < rt_safetensors_count(m->files[f]); i++) {
            const rt_named_tensor *t = rt_safetensors_at(m->files[f], i);
            m->tensors[m->tensor_count++] = (listed){t->name, &t->tensor, m->files[f], false};
        }
    qsort(m->tensors, n, sizeof *m->tensors, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(m->tensors[i - 1].name, m->tensors[i].name) == 0)
            return rt_fail(err, RT_E_INPUT, "%s: tensor %s is also in %s", rt_safetensors_path(m->tensors[i].file),
                           m->tensors[i].name, rt_safetensors_path(m->tensors[i - 1].file));
    return RT_OK;
}

static rt_status check_weight(const listed *l, const rt_weight_spec *w, rt_error *err) {
    rt_tensor expected = rt_tensor_make(l->tensor->dtype, w->ndim, w->dim, NULL);
    char found[96], wanted[96];
    if (!rt_dtype_is_float(l->tensor->dtype))
        return rt_fail(err, RT_E_INPUT, "%s: tensor %s is %s, expected a floating-point type", rt_safetensors_path(l->file),
                       w->name, rt_dtype_name(l->tensor->dtype));
    if (rt_tensor_same_shape(l->tensor, &expected)) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: tensor %s is %s, but config.json says %s", rt_safetensors_path(l->file), w->name,
                   rt_tensor_text(l->tensor, found), rt_tensor_text(&expected, wanted));
}
/* More weights than tensors: refused before anything is made that long, for the sizes in config.json are only claims. */
static rt_status enough_tensors(const rt_hf *m, int64_t n, rt_error *err) {
    if (n <= (int64_t)m->tensor_count) return RT_OK;
    int64_t i = 0;
    while (look_up(m, rt_weight_at(&m->config, i).name)) i++;
    return rt_fail(err, RT_E_INPUT, "%s: tensor %s is missing (config.json asks for %lld tensors, there are %zu)", m->path,
                   rt_weight_at(&m->config, i).name, (long long)n, m->tensor_count);
}
static rt_status match_weights(rt_hf *m, rt_error *err) {
    int64_t n = rt_weight_count(&m->config), missing = 0;
    char first[RT_WEIGHT_NAME] = "";
    RT_TRY(enough_tensors(m, n, err));
    m->weights = rt_arena_alloc(&m->arena, rt_array_bytes((size_t)n, sizeof *m->weights));
    if (!m->weights) return out_of_memory(m, err);
    for (int64_t i = 0; i < n; i++) {
        rt_weight_spec w = rt_weight_at(&m->config, i);
        listed *l = look_up(m, w.name);
        if (!l && missing++ == 0) memcpy(first, w.name, sizeof first);
        if (!l) continue;
        RT_TRY(check_weight(l, &w, err));
        l->used = true;
        m->weights[i] = l->tensor;
    }
    if (missing == 0) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: tensor %s is missing (%lld of the %lld that config.json asks for are)", m->path, first,
                   (long long)missing, (long long)n);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}
/* The name without the family's prefix; NULL if it has another. */
static const char *local_name(const rt_hf *m, const char *name) {
    const char *prefix = m->config.arch->prefix;
    size_t n = prefix ? strlen(prefix) : 0;
    return n == 0 || strncmp(name, prefix, n) == 0 ? name + n : NULL;
}
/* Of a larger model, what its language model does not own: towers for sound and pictures, a speaker. */
static bool of_another_part(const rt_hf *m, const listed *l) {
    const char *name = local_name(m, l->name);
    if (!m->config.arch->prefix) return false;
    return !name || (strncmp(name, "model.", 6) != 0 && strncmp(name, "lm_head.", 8) != 0);
}
/* A tied head that was stored all the same says nothing new, if it is the embedding. */
static bool copy_of_embedding(const rt_hf *m, const listed *l) {
    const char *name = local_name(m, l->name);
    if (!m->config.tie_embeddings || !name || strcmp(name, m->config.arch->names[RT_WEIGHT_HEAD]) != 0) return false;
    const rt_tensor *e = m->weights[0];
    return l->tensor->dtype == e->dtype && rt_tensor_same_shape(l->tensor, e) &&
           memcmp(l->tensor->data, e->data, rt_tensor_bytes(e)) == 0;
}
static rt_status check_leftovers(rt_hf *m, rt_error *err) {
    for (size_t i = 0; i < m->tensor_count; i++) {
        const listed *l = &m->tensors[i];
        if (l->used) continue;
        /* rotary tables are f32 by definition and recomputed, whatever a checkpoint holds */
        if (!ends_with(l->name, ".rotary_emb.inv_freq") && !copy_of_embedding(m, l) && !of_another_part(m, l))
            return rt_fail(err, RT_E_INPUT, "%s: tensor %s is not explained by config.json (a %s with %lld layers%s)",
                           rt_safetensors_path(l->file), l->name, m->config.arch->name, (long long)m->config.layers,
                           m->config.tie_embeddings ? ", tied embeddings" : "");
        m->ignored++;
    }
    return RT_OK;
}

/* One file that holds configuration and weights. */
static rt_status open_gguf(rt_hf *m, rt_error *err) {
    RT_TRY(rt_gguf_model_open(m->path, &m->gguf, err));
    m->config = *rt_gguf_model_config(m->gguf);
    m->tensor_count = (size_t)rt_weight_count(&m->config);
    m->weights = rt_arena_alloc(&m->arena, rt_array_bytes(m->tensor_count, sizeof *m->weights));
    m->tensors = rt_arena_alloc(&m->arena, rt_array_bytes(m->tensor_count, sizeof *m->tensors));
    if (!m->weights || !m->tensors) return out_of_memory(m, err);
    for (size_t i = 0; i < m->tensor_count; i++) {
        rt_weight_spec w = rt_weight_at(&m->config, (int64_t)i);
        m->weights[i] = rt_gguf_model_weight(m->gguf, (int64_t)i);
        m->tensors[i] = (listed){.name = rt_arena_strdup(&m->arena, w.name), .tensor = m->weights[i], .used = true};
        if (!m->tensors[i].name) return out_of_memory(m, err);
    }
    qsort(m->tensors, m->tensor_count, sizeof *m->tensors, by_name);
    return RT_OK;
}
static rt_status open_all(rt_hf *m, rt_error *err) {
    if (rt_gguf_is(m->path)) return open_gguf(m, err);
    const char *config = inside(m, "config.json");
    if (!config) return out_of_memory(m, err);
    if (!rt_dir_exists(m->path)) return rt_fail(err, RT_E_INPUT, "%s: is not a folder, expected a model directory", m->path);
    if (!rt_file_exists(config)) return rt_fail(err, RT_E_INPUT, "%s: no config.json in it, expected a model directory, a checkpoint or a run", m->path);
    RT_TRY(rt_hf_config_read(config, &m->config, err));
    RT_TRY(open_files(m, err));
    RT_TRY(list_tensors(m, err));
    RT_TRY(match_weights(m, err));
    return check_leftovers(m, err);
}
rt_status rt_hf_open(const char *directory, rt_hf **out, rt_error *err) {
    *out = NULL;
    rt_hf *m = rt_zalloc(sizeof *m);
    if (!m || !(m->path = rt_arena_strdup(&m->arena, directory)))
        return rt_free(m), rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    rt_status status = open_all(m, err);
    if (status != RT_OK) return rt_hf_close(m), status;
    *out = m;
    return RT_OK;
}
void rt_hf_close(rt_hf *m) {
    if (!m) return;
    for (size_t i = 0; i < m->file_count; i++) rt_safetensors_close(m->files[i]);
    rt_gguf_model_close(m->gguf);
    rt_arena_free(&m->arena);
    rt_free(m);
}

/* ------------------------------------------------------------------ questions */

const char *rt_hf_path(const rt_hf *m) { return m->path; }
int64_t rt_hf_file_count(const rt_hf *m) { return (int64_t)m->file_count; }
const rt_safetensors *rt_hf_file(const rt_hf *m, int64_t i) { return m->files[i]; }
const rt_model_config *rt_hf_config(const rt_hf *m) { return &m->config; }
const rt_tensor *rt_hf_weight(const rt_hf *m, int64_t i) { return m->weights[i]; }
int64_t rt_hf_ignored(const rt_hf *m) { return m->ignored; }
const rt_tensor *rt_hf_find(const rt_hf *m, const char *name) {
    const listed *l = look_up(m, name);
    return l && l->used ? l->tensor : NULL;
}
int64_t rt_hf_weight_bytes(const rt_hf *m) {
    int64_t bytes = 0, n = rt_weight_count(&m->config);
    for (int64_t i = 0; i < n; i++) bytes += (int64_t)rt_tensor_bytes(m->weights[i]);
    return bytes;
}

rt_dtype rt_hf_matrix_dtype(const rt_hf *m) {
    rt_dtype t = m->weights[0]->dtype;
    return rt_hf_assert_dtype(m, t, NULL) == RT_OK ? t : RT_NONE;
}
rt_status rt_hf_assert_dtype(const rt_hf *m, rt_dtype t, rt_error *err) {
    for (int64_t i = 0; i < rt_weight_count(&m->config); i++) {
        if (m->weights[i]->ndim != 2 || m->weights[i]->dtype == t) continue;
        return rt_fail(err, RT_E_DTYPE, "%s: %s is %s, expected %s", m->path, rt_weight_at(&m->config, i).name,
                       rt_dtype_name(m->weights[i]->dtype), rt_dtype_name(t));
    }
    return RT_OK;
}
