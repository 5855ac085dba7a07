/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tune.c: before the first step on a GPU: one micro-batch of padding is run and thrown away, so that every kernel is loaded and
 * every shape of a product has been met; then rank 0 times the algorithms of these shapes and all ranks take its choices. They
 * are kept in the directory of the run: the same command, or a run that goes on there, has the same bits.
 */
#include <stdlib.h>

#include "engine.h"
#include "nemafit/log.h"

static nf_status warm_up(struct engine *e)
{
    nf_batch batch = nf_engine_batch(e, e->arg.local_batch, e->arg.seq_len);
    nf_mark mark = nf_arena_mark(e->arena[ARENA_STEP]);
    int micro = e->arg.micro_batches > 1 ? 2 : 1; /* overwriting and accumulating */

    NF_TRY(nf_engine_vars(e, &(struct nf_step_vars){0})); /* a scale of 0: no gradient is other than 0 */
    nf_residency_begin_step(e->res);
    nf_engine_shape(e, &batch, batch.rows * batch.len, true);
    for (int i = 0; i < micro; i++)
        NF_TRY(nf_engine_micro(e, &batch, i == micro - 1 ? e->arg.micro_batches - 1 : 0));
    NF_TRY(nf_residency_end_backward(e->res));
    nf_arena_reset(e->arena[ARENA_STEP], NF_HIGH, mark);
    e->run.overflow_slices = 0;
    return nf_queue_drain(e->q);
}

/* Rank 0's choices become everybody's. */
static nf_status share(struct engine *e, void **bytes, size_t *n)
{
    const nf_group *world = nf_mesh_group(e->mesh, NF_WORLD);
    bool taken = false;
    nf_status s;

    NF_TRY(nf_bcast_blob(world, 0, bytes, n));
    s = *n ? nf_ops_take_choices(e->device, *bytes, *n, &taken) : NF_OK;
    if (!s && *n && !taken)
        nf_warn(
            "the kernels of this run were chosen for another version of cuBLASLt: they are timed again, and results may differ "
            "in their last bits from before");
    return nf_agree(e->mesh, s);
}

static nf_status earlier_choices(struct engine *e, const char *path)
{
    void *bytes = NULL;
    size_t n = 0;
    nf_status s = NF_OK;

    if (nf_mesh_rank(e->mesh) == 0)
        s = nf_file_read(path, 1 << 24, (char **)&bytes, &n);
    if (s == NF_EMISSING) { /* a new run */
        nf_diagnosis_clear();
        s = NF_OK;
    }
    s = nf_agree(e->mesh, s);
    if (!s)
        s = share(e, &bytes, &n);
    free(bytes);
    return s;
}

static nf_status choose(struct engine *e, const char *path)
{
    const double begin = nf_seconds();
    const int shapes = nf_ops_undecided(e->device);
    void *bytes = NULL;
    size_t n = 0;
    nf_status s = NF_OK;

    if (nf_mesh_rank(e->mesh) == 0) {
        if (shapes)
            s = nf_ops_choose(e->q, e->block[ARENA_STEP], e->bytes[ARENA_STEP]);
        if (!s)
            s = nf_ops_choices(e->device, &bytes, &n);
        if (!s && shapes)
            s = nf_file_write(path, bytes, n);
        if (!s && shapes)
            nf_note("kernels   products of %d shapes timed in %.1f s; the choices are in %s", shapes, nf_seconds() - begin,
                    path);
    }
    s = nf_agree(e->mesh, s);
    if (!s)
        s = share(e, &bytes, &n);
    free(bytes);
    return s;
}

nf_status nf_engine_tune(struct engine *e, const char *dir)
{
    char *path;
    nf_status s;

    if (nf_device_kind(e->device) != NF_CUDA)
        return NF_OK;
    path = nf_path_join(dir, "products.tuning");
    s = path ? earlier_choices(e, path) : nf_fail(NF_ENOMEM, "no memory for a path");
    if (!s)
        s = warm_up(e);
    if (s && nf_mesh_ranks(e->mesh) > 1) /* others may wait for this rank in a collective */
        nf_die(s, "%s", nf_diagnosis());
    if (!s)
        s = choose(e, path);
    free(path);
    return s;
}
