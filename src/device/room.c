/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c: how much memory there is: of a GPU as its driver says; of the host as Linux says in /proc/meminfo, and no more than
 * the control groups of this process allow (version 2: a batch system's or a container's limit is one of these).
 */
#include "private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The number behind `key` in a file of lines "key number ..."; with no key the first number of the file. 0: there is none. */
static uint64_t number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[256];
    uint64_t value = 0;
    const size_t n = strlen(key);

    while (f && !value && fgets(line, sizeof line, f))
        if (strncmp(line, key, n) == 0 && sscanf(line + n, "%" SCNu64, &value) != 1)
            value = 0;
    if (f)
        fclose(f);
    return value;
}

/* The limits of the group at `path` (below /sys/fs/cgroup) and of those above it. */
static void limit(char *path, uint64_t *bytes, uint64_t *free_bytes)
{
    for (char *end = path + strlen(path); end; end = strrchr(path, '/')) {
        char file[4096 + 64];
        *end = 0;
        snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.max", path);
        const uint64_t most = number_in(file, ""); /* "max": none */
        if (!most)
            continue;
        snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.current", path);
        const uint64_t used = number_in(file, "");
        snprintf(file, sizeof file, "/sys/fs/cgroup%s/memory.stat", path);
        const uint64_t cached = number_in(file, "inactive_file "); /* given back when it is wanted */
        const uint64_t held = used > cached ? used - cached : 0, left = most > held ? most - held : 0;
        *bytes = most < *bytes ? most : *bytes;
        *free_bytes = left < *free_bytes ? left : *free_bytes;
    }
}

static void host_room(uint64_t *bytes, uint64_t *free_bytes)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096];

    *bytes = number_in("/proc/meminfo", "MemTotal:") * 1024;
    *free_bytes = number_in("/proc/meminfo", "MemAvailable:") * 1024;
    while (f && *bytes && fgets(line, sizeof line, f))
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = 0;
            limit(line + 3, bytes, free_bytes);
        }
    if (f)
        fclose(f);
}

nf_status nf_device_room(const nf_device *device, uint64_t *bytes, uint64_t *free_bytes)
{
    size_t all = 0, left = 0;

    *bytes = *free_bytes = 0;
    if (!device->gpu) {
        host_room(bytes, free_bytes);
        return NF_OK;
    }
    NF_TRY(nf_device_memory(device, &left, &all));
    *bytes = all;
    *free_bytes = left;
    return NF_OK;
}
