/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_exchange.c: how fast tokens travel: bench_exchange [cpu|cuda [TOKENS WIDTH K EXPERTS CHUNKS]], under mpirun. Each rank
 * has TOKENS rows of bf16 with K of EXPERTS experts chosen at random; ep is the number of ranks. A line for each dispatch: ms
 * of all slices out, of all home, and the rate at which a rank sends to others meanwhile; ms and waits of the host for the
 * counts. Middle of the repetitions, of the slowest rank.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nemafit/log.h"
#include "rank_gpu.h"
#include "tap.h"
#include "world.h"

enum { REPEAT = 9, LAPS = 8 }; /* all slices LAPS times, one behind the other */

struct bench {
    struct world w;
    const nf_mesh *mesh;
    struct nf_xshape shape;
    int32_t *ids; /* on the device, as all below */
    void *rows, *partial;
    float *side;
    nf_exchange *x;
    nf_xplan *plan;
    int slices;
};

static void choose(struct bench *b)
{
    const struct nf_xshape *s = &b->shape;
    int32_t *ids = malloc((size_t)(s->tokens * s->k) * sizeof *ids);

    need(ids ? NF_OK : NF_ENOMEM);
    for (int64_t i = 0; i < s->tokens * s->k; i++) {
        ids[i] = (int32_t)(world_bits(1, (uint64_t)nf_mesh_rank(b->mesh), (uint64_t)i) % (uint64_t)s->experts);
        for (int64_t j = i / s->k * s->k; j < i; j++)
            if (ids[j] == ids[i]) { /* the next one, held against all again */
                ids[i] = (ids[i] + 1) % s->experts;
                j = i / s->k * s->k - 1;
            }
    }
    world_put(&b->w, b->ids, ids, (size_t)(s->tokens * s->k) * sizeof *ids);
    free(ids);
}

static double begin(struct bench *b)
{
    need(nf_queue_drain(b->w.queue));
    need(nf_barrier(nf_mesh_group(b->mesh, NF_WORLD)));
    return nf_seconds();
}

/* Seconds of the slowest rank. */
static double end(struct bench *b, double from)
{
    need(nf_queue_drain(b->w.queue));
    double took = nf_seconds() - from;
    need(nf_reduce_f64(nf_mesh_group(b->mesh, NF_WORLD), &took, 1, NF_MAX));
    return took;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double *x)
{
    qsort(x, REPEAT, sizeof *x, ascending);
    return x[REPEAT / 2];
}

static void count(struct bench *b)
{
    nf_event counted;
    need(nf_xplan_counts(b->w.queue, b->plan, b->ids, b->shape.tokens, &counted));
    need(nf_queue_wait(b->w.queue, counted));
    need(nf_xplan_slices(b->w.queue, b->plan, &b->slices));
}

static void out(struct bench *b, int slice)
{
    nf_event event;
    need(nf_exchange_out(b->w.queue, b->plan, slice, b->rows, b->shape.width, b->side, &event));
    need(nf_queue_wait(b->w.queue, event));
}

static void back(struct bench *b, int slice)
{
    nf_event event;
    need(nf_exchange_back(b->w.queue, b->plan, slice, b->partial, NULL, &event));
    need(nf_queue_wait(b->w.queue, event));
}

static void one(struct bench *b, enum nf_dispatch dispatch, const char *name)
{
    const nf_group *ep = nf_mesh_group(b->mesh, NF_EP);
    double counts[REPEAT], outs[REPEAT], backs[REPEAT];
    struct nf_traffic t[3];
    int64_t waits = 0;

    b->shape.dispatch = dispatch;
    need(nf_exchange_new(b->mesh, &b->x));
    nf_exchange_reserve(b->x, &b->shape);
    need(nf_exchange_commit(b->x, b->w.run));
    need(nf_xplan_new(b->w.queue, b->x, b->w.step, NF_LOW, &b->shape, &b->plan));
    b->partial = world_memory(&b->w, (size_t)(nf_x_row_cap(ep, &b->shape) * b->shape.width * 2));
    for (int i = 0; i < REPEAT; i++) {
        double from = begin(b);
        waits = nf_device_host_waits(b->w.device);
        count(b);
        waits = nf_device_host_waits(b->w.device) - waits;
        counts[i] = end(b, from);
        t[0] = nf_mesh_traffic(b->mesh);
        from = begin(b);
        for (int s = 0; s < LAPS * b->slices; s++)
            out(b, s % b->slices);
        outs[i] = end(b, from) / LAPS;
        t[1] = nf_mesh_traffic(b->mesh);
        from = begin(b);
        for (int s = 0; s < LAPS * b->slices; s++)
            back(b, s % b->slices);
        backs[i] = end(b, from) / LAPS;
        t[2] = nf_mesh_traffic(b->mesh);
    }
    const double o = middle(outs), h = middle(backs), c = middle(counts);
    if (nf_mesh_rank(b->mesh) == 0)
        printf("%-10s %7.3f ms %7.1f GB/s out, %7.3f ms %7.1f GB/s home; counts %6.3f ms, %lld host wait(s), %d slice(s)\n",
               name, o * 1e3, (double)(t[1].dispatch - t[0].dispatch) / LAPS / o * 1e-9, h * 1e3,
               (double)(t[2].combine - t[1].combine) / LAPS / h * 1e-9, c * 1e3, (long long)waits, b->slices);
    nf_exchange_free(b->x);
    world_release(&b->w, b->partial);
    nf_arena_reset(b->w.run, NF_LOW, (nf_mark){0});
    nf_arena_reset(b->w.step, NF_LOW, (nf_mark){0});
}

int main(int argc, char **argv)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    const bool cpu = argc > 1 && strcmp(argv[1], "cpu") == 0;
    nf_device *device = NULL;
    struct bench b = {.shape = {.tokens = 4096, .width = 2048, .k = 8, .experts = 128, .chunks = 1}};
    nf_mesh *mesh;
    int ranks;

    tap_open_mpi();
    if (argc > 6) {
        b.shape.tokens = atoi(argv[2]);
        b.shape.width = atoi(argv[3]);
        b.shape.k = atoi(argv[4]);
        b.shape.experts = atoi(argv[5]);
        b.shape.chunks = atoi(argv[6]);
    }
    b.shape.dtype = NF_BF16;
    b.shape.recv_factor = 2;
    b.shape.row_pad = 1;
    if (cpu)
        need(nf_device_host(1, &device));
    else
        device = rank_gpu(comm);
    if (!device)
        return 0;
    MPI_Comm_size(comm, &ranks);
    b.w = world_open_on(device, (size_t)2 << 30);
    need(nf_mesh_new(&comm, ranks, device, &mesh));
    b.mesh = mesh;
    b.ids = world_memory(&b.w, (size_t)(b.shape.tokens * b.shape.k) * 4);
    b.side = world_memory(&b.w, (size_t)(b.shape.tokens * b.shape.k) * 4);
    b.rows = world_memory(&b.w, (size_t)(b.shape.tokens * b.shape.width) * 2);
    choose(&b);
    if (nf_mesh_rank(mesh) == 0)
        printf("%s, %d ranks, %lld tokens of %lld, %d of %d experts, %d chunk(s)\n", nf_mesh_transport(mesh), ranks,
               (long long)b.shape.tokens, (long long)b.shape.width, b.shape.k, b.shape.experts, b.shape.chunks);
    one(&b, NF_ALLGATHER, "allgather");
    one(&b, NF_ALLTOALL, "alltoall");
    if (!cpu)
        one(&b, NF_FUSED, "fused");
    nf_mesh_free(mesh);
    world_close(&b.w);
    return 0;
}
