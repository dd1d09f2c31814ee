/* room.c - /proc and /sys, read with care: nothing here may fail. */
#include <retort/base/room.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t left(int64_t bound, int64_t used) { return bound > used ? bound - used : 0; }

/* The number behind `key` in lines of "key number" or "key: number kB"; -1: none. */
static int64_t number(const char *path, const char *key) {
    char line[256];
    int64_t found = -1;
    size_t n = strlen(key);
    FILE *f = fopen(path, "r");
    while (f && found < 0 && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) != 0 || (line[n] != ':' && line[n] != ' ')) continue;
        found = strtoll(line + n + 1, NULL, 10);
        if (strstr(line, " kB")) found *= 1024;
    }
    if (f) fclose(f);
    return found;
}
/* A file that holds a number; "max", or no file: -1. */
static int64_t alone(const char *path) {
    long long n = -1;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lld", &n) != 1) n = -1;
    if (f) fclose(f);
    return n;
}

/* ---------------------------------------------------------- control groups */

typedef struct hierarchy {
    const char *mount, *bound, *used, *active,
        *inactive; /* file pages: the system takes them back before the bound hurts */
} hierarchy;
static const hierarchy v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "active_file", "inactive_file"};
static const hierarchy v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                             "total_active_file", "total_inactive_file"};
#define NO_BOUND ((int64_t)1 << 60) /* version 1 writes a number of about this size for none */

static int64_t of_group(const hierarchy *h, const char *group) {
    char path[1024], stat[1024];
    snprintf(path, sizeof path, "%s%s/%s", h->mount, group, h->bound);
    int64_t bound = alone(path);
    if (bound < 0 || bound >= NO_BOUND) return INT64_MAX;
    snprintf(path, sizeof path, "%s%s/%s", h->mount, group, h->used);
    snprintf(stat, sizeof stat, "%s%s/memory.stat", h->mount, group);
    int64_t used = alone(path), active = number(stat, h->active), inactive = number(stat, h->inactive);
    return left(bound, used - (active > 0 ? active : 0) - (inactive > 0 ? inactive : 0));
}
/* The group and all above it. Inside a container its path may not be visible; then the root of what is. */
static int64_t of_groups(const hierarchy *h, char *group) {
    int64_t room = of_group(h, "");
    while (*group) {
        room = least(room, of_group(h, group));
        *strrchr(group, '/') = 0;
    }
    return room;
}
static int64_t group_room(void) {
    char line[1024];
    int64_t room = INT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        *path++ = 0;
        bool first = strcmp(names, ":memory") == 0 || strstr(names, ",memory") || strstr(names, "memory,"),
             second = strcmp(names, ":") == 0;
        if (first || second) room = least(room, of_groups(first ? &v1 : &v2, path));
    }
    if (f) fclose(f);
    return room;
}

/* --------------------------------------------------------------------- all */

static int64_t limit_room(int resource, const char *used) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)resource, &r) != 0 || r.rlim_cur == RLIM_INFINITY) return INT64_MAX;
    return left((int64_t)r.rlim_cur, number("/proc/self/status", used));
}
rt_room rt_room_now(void) {
    int64_t machine = number("/proc/meminfo", "MemAvailable");
    return (rt_room){machine < 0 ? INT64_MAX : machine, group_room(), limit_room(RLIMIT_AS, "VmSize"),
                     limit_room(RLIMIT_DATA, "VmData")};
}
int64_t rt_resident_now(void) {
    int64_t n = number("/proc/self/status", "VmRSS");
    return n < 0 ? 0 : n;
}
