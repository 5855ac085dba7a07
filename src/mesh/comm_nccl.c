/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_nccl.c: collectives on device memory through the plug-in's communicators, one for each of world, ep and edp with more
 * than one rank. Their ids travel over MPI.
 *
 * NCCL tells of errors only who asks: it is asked before each call, and while the host waits. Then all communicators are
 * aborted, so that streams are not held up, and every later call fails with what NCCL had said.
 */
#include "comm.h"
#include "private.h"

#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static nf_status look(nf_mesh *mesh)
{
    if (mesh->lost[0])
        return nf_fail(NF_EPEER, "%s", mesh->lost);
    for (int a = 0; a < NF_AXES; a++) {
        if (!mesh->peers[a] || mesh->gpu->check(mesh->peers[a]) == NF_OK)
            continue;
        snprintf(mesh->lost, sizeof mesh->lost, "%s", nf_diagnosis());
        for (int b = 0; b < NF_AXES; b++)
            if (mesh->peers[b])
                mesh->gpu->abort(mesh->peers[b]);
        return nf_fail(NF_EPEER, "%s", mesh->lost);
    }
    return NF_OK;
}

/* While the host waits: who waits for a peer that is gone would wait for ever. */
static nf_status look_now_and_then(void *ctx)
{
    const double pause = 0.1, now = nf_seconds();
    nf_mesh *mesh = ctx;

    if (now < mesh->next_look)
        return NF_OK;
    mesh->next_look = now + pause;
    return look(mesh);
}

nf_status nf_comm_nccl_peers(const nf_group *group, nf_gpu_peers **peers)
{
    *peers = group->mesh->peers[group->axis];
    NF_CHECK(*peers);
    return look(group->mesh);
}

static nf_status all_reduce(nf_queue *queue, const nf_group *group, void *inout, int64_t n, nf_dtype dtype, nf_event *event)
{
    nf_gpu_peers *peers;

    NF_TRY(nf_comm_nccl_peers(group, &peers));
    NF_TRY(group->mesh->gpu->all_reduce(peers, nf_queue_native(queue), inout, n, dtype));
    return nf_queue_record(queue, event);
}

static nf_status reduce_scatter(nf_queue *queue, const nf_group *group, void *out, const void *in, int64_t n_each,
                                nf_dtype dtype, bool accumulate, nf_event *event)
{
    nf_gpu_peers *peers;

    if (group->size == 1)
        NF_TRY(group->mesh->gpu->sum(nf_queue_native(queue), out, accumulate, in, 0, NULL, 0, 1, n_each, dtype));
    else {
        NF_TRY(nf_comm_nccl_peers(group, &peers));
        NF_TRY(group->mesh->gpu->reduce_scatter(peers, nf_queue_native(queue), out, in, n_each, dtype, accumulate));
    }
    return nf_queue_record(queue, event);
}

static nf_status all_gather(nf_queue *queue, const nf_group *group, void *out, const void *in, size_t bytes_each,
                            nf_event *event)
{
    nf_gpu_peers *peers;

    NF_TRY(nf_comm_nccl_peers(group, &peers));
    NF_TRY(group->mesh->gpu->all_gather(peers, nf_queue_native(queue), out, in, bytes_each));
    return nf_queue_record(queue, event);
}

const struct nf_comm nf_comm_nccl = {
    .name = "NCCL (device memory)",
    .all_reduce = all_reduce,
    .reduce_scatter = reduce_scatter,
    .all_gather = all_gather,
};

/* With ep = 1 the sums over edp are the world's: one communicator is enough. That of ep stays apart, for its messages go beside
 * sums. */
static bool is_world(const nf_mesh *mesh, enum nf_axis axis)
{
    return axis == NF_EDP && mesh->group[NF_EDP].size == mesh->group[NF_WORLD].size;
}

nf_status nf_comm_nccl_open(nf_mesh *mesh)
{
    static const enum nf_axis axes[] = {NF_WORLD, NF_EP, NF_EDP};
    const size_t bytes = mesh->gpu->id_bytes;
    char *id = malloc(bytes);
    nf_status s = nf_agree(mesh, id ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the id of a communicator"));

    for (size_t a = 0; a < sizeof axes / sizeof *axes && s == NF_OK; a++) {
        const nf_group *g = &mesh->group[axes[a]];
        if (g->size == 1)
            continue;
        if (is_world(mesh, axes[a])) {
            mesh->peers[axes[a]] = mesh->peers[NF_WORLD];
            continue;
        }
        s = nf_agree(mesh, g->rank == 0 ? mesh->gpu->id(id) : NF_OK);
        if (s == NF_OK)
            s = nf_bcast(g, 0, id, bytes);
        if (s == NF_OK)
            s = nf_agree(mesh, mesh->gpu->open(nf_device_native(mesh->device), id, g->size, g->rank, &mesh->peers[axes[a]]));
    }
    free(id);
    if (s == NF_OK)
        nf_device_set_progress(mesh->device, look_now_and_then, mesh);
    return s;
}

nf_status nf_mesh_reserve(nf_mesh *mesh, nf_arena *run)
{
    static const enum nf_axis sums[] = {NF_WORLD, NF_EDP};
    void *staging;

    if (nf_device_kind(mesh->device) != NF_CUDA || mesh->shares_gpu)
        return NF_OK;
    for (size_t a = 0; a < sizeof sums / sizeof *sums; a++) {
        if (mesh->group[sums[a]].size == 1 || is_world(mesh, sums[a]))
            continue;
        NF_TRY(nf_arena_get(run, NF_LOW, NF_GPU_STAGING, "staging of collectives", &staging));
        if (!mesh->is_virtual && !nf_arena_counting(run))
            mesh->gpu->lend(mesh->peers[sums[a]], staging);
    }
    return NF_OK;
}

void nf_comm_nccl_close(nf_mesh *mesh)
{
    if (mesh->gpu && !mesh->is_virtual)
        nf_device_set_progress(mesh->device, NULL, NULL);
    for (int a = 0; a < NF_AXES; a++)
        if (mesh->peers[a] && !is_world(mesh, (enum nf_axis)a))
            mesh->gpu->close(mesh->peers[a]);
}
