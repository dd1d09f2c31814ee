/* hf_generation.c - end-of-text ids out of config.json and generation_config.json. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/hf_generation.h>
#include <stdio.h>

static void add_once(rt_ids *ids, int64_t id) {
    for (int64_t i = 0; i < ids->size; i++)
        if (ids->data[i] == id) return;
    if (id >= 0) rt_ids_add(ids, (int32_t)id); /* -1 stands for none in old files */
}

static rt_status add_ids(const rt_json *root, const char *key, rt_ids *out, rt_error *err) {
    rt_json list, item;
    int64_t id;
    if (!rt_json_has(root, key)) return RT_OK;
    if (!json_is_array(json_object_get(root->value, key))) {
        RT_TRY(rt_json_int(root, key, -1, INT32_MAX, &id, err));
        return add_once(out, id), RT_OK;
    }
    RT_TRY(rt_json_array(root, key, &list, err));
    for (size_t i = 0; i < json_array_size(list.value); i++) {
        RT_TRY(rt_json_item(&list, i, JSON_INTEGER, &item, err));
        RT_TRY(rt_json_as_int(&item, -1, INT32_MAX, &id, err));
        add_once(out, id);
    }
    return RT_OK;
}

static rt_status read_file(const char *directory, const char *name, rt_ids *out, rt_error *err) {
    char path[4096];
    json_t *value;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (!rt_file_exists(path)) return RT_OK;
    RT_TRY(rt_json_load(path, 1 << 20, &value, err));
    rt_json root = rt_json_root(value, path);
    rt_status s = json_is_object(value) ? add_ids(&root, "eos_token_id", out, err) : rt_json_fail(&root, err, "expected an object");
    json_decref(value);
    return s;
}

rt_status rt_hf_end_ids(const char *directory, rt_ids *out, rt_error *err) {
    RT_TRY(read_file(directory, "config.json", out, err));
    RT_TRY(read_file(directory, "generation_config.json", out, err));
    return out->failed ? rt_fail(err, RT_E_NOMEM, "out of memory") : RT_OK;
}
