/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tune.c: before the first step on a GPU: the products take the algorithms that the run had before, one micro-batch of padding
 * is run and thrown away, so that every kernel is loaded and every shape of a product has been met; then rank 0 times the
 * algorithms of shapes that are new and all ranks take its choices. Other algorithms give other bits, so they are part of the
 * run: every snapshot holds them, and the directory of the run, so that the same command begun anew has the same bits, too.
 */
#include <stdlib.h>
#include <string.h>

#include "nemafit/log.h"
#include "tune.h"

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
    int64_t refused = 0;
    bool taken = false;
    nf_status s;

    NF_TRY(nf_bcast_blob(world, 0, bytes, n));
    s = *n ? nf_ops_take_choices(e->device, *bytes, *n, &taken) : NF_OK;
    NF_TRY(nf_agree(e->mesh, s));
    refused = *n && !taken;
    NF_TRY(nf_reduce_i64(world, &refused, 1, NF_SUM));
    if (refused)
        nf_warn("%lld ranks have another version of cuBLASLt than rank 0: their products take its own choices",
                (long long)refused);
    return NF_OK;
}

/* Rank 0: the choices that hold from before: of the snapshot that the run goes on from, else of the run's directory. None, or
 * none that fit: *n is 0. */
static nf_status earlier(struct engine *e, const struct choices *known, const char *path, void **bytes, size_t *n)
{
    char why[320];
    nf_status s = NF_OK;

    *n = known->n;
    *bytes = known->n ? malloc(known->n) : NULL;
    if (known->n && !*bytes)
        s = nf_fail(NF_ENOMEM, "no memory for the choices of algorithms");
    else if (known->n)
        memcpy(*bytes, known->bytes, known->n);
    else
        s = nf_file_read(path, 1 << 24, (char **)bytes, n);
    if (s == NF_EMISSING) { /* a new run */
        nf_diagnosis_clear();
        s = NF_OK;
    }
    if (s || !*n || nf_ops_choices_fit(e->device, *bytes, *n, why))
        return s;
    nf_warn("products are timed again, and losses may differ in their last bits from before: for the choices of %s, %s",
            known->n ? "the snapshot" : path, why);
    *n = 0;
    return NF_OK;
}

static nf_status restore(struct engine *e, const struct choices *known, const char *path)
{
    void *bytes = NULL;
    size_t n = 0;
    nf_status s = nf_agree(e->mesh, nf_mesh_rank(e->mesh) == 0 ? earlier(e, known, path, &bytes, &n) : NF_OK);

    if (!s)
        s = share(e, &bytes, &n);
    free(bytes);
    return s;
}

static nf_status choose(struct engine *e, bool known, const char *path)
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
        if (!s && (shapes || known))
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

nf_status nf_engine_tune(struct engine *e, const char *dir, const struct choices *known)
{
    char *path;
    nf_status s;

    if (nf_device_kind(e->device) != NF_CUDA)
        return NF_OK;
    path = nf_path_join(dir, TUNING_FILE);
    s = path ? restore(e, known, path) : nf_fail(NF_ENOMEM, "no memory for a path");
    if (!s)
        s = warm_up(e);
    if (s && nf_mesh_ranks(e->mesh) > 1) /* others may wait for this rank in a collective */
        nf_die(s, "%s", nf_diagnosis());
    if (!s)
        s = choose(e, known->n > 0, path);
    free(path);
    return s;
}

nf_status nf_choices_refresh(const struct engine *e, struct choices *known)
{
    void *bytes = NULL;
    size_t n = 0;

    if (nf_device_kind(e->device) != NF_CUDA)
        return NF_OK;
    NF_TRY(nf_ops_choices(e->device, &bytes, &n));
    free(known->bytes);
    *known = (struct choices){bytes, n};
    return NF_OK;
}

nf_status nf_choices_set(struct choices *known, const void *bytes, size_t n)
{
    void *copy = malloc(n + 1);

    if (!copy)
        return nf_fail(NF_ENOMEM, "no memory for the choices of algorithms");
    memcpy(copy, bytes, n);
    free(known->bytes);
    *known = (struct choices){copy, n};
    return NF_OK;
}

void nf_choices_free(struct choices *known)
{
    free(known->bytes);
    *known = (struct choices){0};
}
