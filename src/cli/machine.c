/* machine.c - /proc and /sys, read with care: nothing here may fail. Containers bound cores and memory by control
 * groups (version 2: cpu.max, memory.max), which neither affinity nor /proc/meminfo shows. */
#include "cli/machine.h"
#include <retort/base/threads.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The text behind "key   : " in a file of such lines; "" if there is none. */
static void field(const char *path, const char *key, char *out, size_t size) {
    char line[8192];
    FILE *f = fopen(path, "r");
    *out = 0;
    while (f && !*out && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size, "%s", colon);
    }
    if (f) fclose(f);
}

static int64_t kilobytes(const char *key) {
    char text[64];
    field("/proc/meminfo", key, text, sizeof text);
    return strtoll(text, NULL, 10) * 1024;
}

static void features(char *out, size_t size) {
    static const char *const wanted[] = {"avx2",     "fma",      "f16c",  "avx512f", "avx512_bf16", "avx512_fp16",
                                         "amx_bf16", "amx_fp16", "asimd", "asimdhp", "bf16",        NULL};
    static char flags[8192];
    size_t n = 0;
    field("/proc/cpuinfo", "flags", flags, sizeof flags);
    if (!*flags) field("/proc/cpuinfo", "Features", flags, sizeof flags);
    *out = 0;
    for (const char *word = strtok(flags, " "); word; word = strtok(NULL, " "))
        for (const char *const *w = wanted; *w; w++)
            if (strcmp(word, *w) == 0 && n < size) n += (size_t)snprintf(out + n, size - n, "%s%s", n ? " " : "", word);
}

/* The group of this process, e.g. "/user.slice"; its files, else the root's. */
static FILE *group_file(const char *name) {
    char group[256] = "", path[512], line[512];
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "0::%255s", group) == 1) break;
    if (f) fclose(f);
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, name);
    f = fopen(path, "r");
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s", name);
    return f ? f : fopen(path, "r");
}

static double granted_cores(void) {
    double quota = 0, period = 0;
    FILE *f = group_file("cpu.max"); /* "200000 100000", or "max 100000" */
    bool limited = f && fscanf(f, "%lf %lf", &quota, &period) == 2 && period > 0;
    if (f) fclose(f);
    return limited ? quota / period : 0;
}
static int64_t memory_limit(void) {
    long long bytes = 0;
    FILE *f = group_file("memory.max"); /* bytes, or "max" */
    if (f && fscanf(f, "%lld", &bytes) != 1) bytes = 0;
    if (f) fclose(f);
    return bytes;
}

rt_machine rt_machine_read(void) {
    rt_machine m = {.cores_online = (int)sysconf(_SC_NPROCESSORS_ONLN),
                    .cores_usable = rt_threads(),
                    .cores_granted = granted_cores(),
                    .memory = kilobytes("MemTotal"),
                    .memory_available = kilobytes("MemAvailable"),
                    .memory_limit = memory_limit(),
                    .disk_free = -1};
    if (getloadavg(&m.load, 1) != 1) m.load = 0;
    struct statvfs disk;
    struct utsname name;
    field("/proc/cpuinfo", "model name", m.cpu, sizeof m.cpu);
    if (!*m.cpu) snprintf(m.cpu, sizeof m.cpu, "unknown");
    features(m.features, sizeof m.features);
    if (statvfs(".", &disk) == 0) m.disk_free = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
    if (uname(&name) == 0)
        snprintf(m.system, sizeof m.system, "%.40s %.40s %.40s", name.sysname, name.release, name.machine);
    return m;
}
