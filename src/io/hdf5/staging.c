/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What writing a snapshot takes beside the state: pinned host memory, since a GPU copies to other memory through the driver's
 * own small buffer while the host waits; and a queue of its own for these copies, so that the next step computes meanwhile. A
 * run takes it once, before its first step: to pin gigabytes takes seconds.
 */
#include "private.h"

#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory that the system could still give; 0: it does not say. */
static uint64_t memory_available(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && kib == 0 && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
            kib = 0;
    if (f)
        fclose(f);
    return (uint64_t)kib << 10;
}

/* Room for the copies of all ranks of this node? The answer is the same everywhere: that of the fullest node. */
static nf_status take_copy(const nf_mesh *mesh, uint64_t bytes, nf_snapshot_staging *s)
{
    const nf_group *node = nf_mesh_group(mesh, NF_NODE), *world = nf_mesh_group(mesh, NF_WORLD);
    const uint64_t room = memory_available();
    int64_t need = (int64_t)bytes, refused = 0;
    NF_TRY(nf_reduce_i64(node, &need, 1, NF_SUM));
    void *copy = NULL;
    if ((room == 0 || (uint64_t)need < room / 10 * 9) &&
        nf_device_alloc_pinned(s->device, bytes, "copy for snapshots", &copy) != NF_OK)
        nf_diagnosis_clear();
    refused = copy == NULL;
    NF_TRY(nf_reduce_i64(world, &refused, 1, NF_SUM));
    if (refused && copy)
        nf_device_release(s->device, copy, bytes);
    s->copy = refused ? NULL : copy;
    s->copy_bytes = refused ? 0 : bytes;
    if (refused)
        nf_note("snapshots no room for a copy of the state in host memory: the run stands still while one is written");
    return NF_OK;
}

nf_status nf_snapshot_staging_new(const nf_mesh *mesh, nf_device *device, uint64_t rank_bytes, bool async,
                                  nf_snapshot_staging **out)
{
    nf_snapshot_staging *s = calloc(1, sizeof *s);
    nf_status status = s ? NF_OK : nf_fail(NF_ENOMEM, "no memory to write snapshots");
    if (status == NF_OK) {
        s->device = device;
        status = nf_device_alloc_pinned(device, NF_H5_CHUNK, "staging of snapshots", (void **)&s->chunk);
    }
    if (status == NF_OK)
        status = nf_queue_new(device, "snapshot", 0, NULL, &s->queue);
    status = nf_agree(mesh, status);
    if (status == NF_OK && async)
        status = take_copy(mesh, rank_bytes, s);
    if (status == NF_OK)
        *out = s;
    else
        nf_snapshot_staging_free(s);
    return status;
}

uint64_t nf_snapshot_staging_bytes(const nf_snapshot_staging *s)
{
    return s->copy_bytes + NF_H5_CHUNK;
}

void nf_snapshot_staging_free(nf_snapshot_staging *s)
{
    if (!s)
        return;
    nf_queue_free(s->queue);
    nf_device_release(s->device, s->copy, s->copy_bytes);
    nf_device_release(s->device, s->chunk, NF_H5_CHUNK);
    free(s);
}
