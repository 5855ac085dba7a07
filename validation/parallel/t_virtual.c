/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that never calls MPI_Init: the mesh of one rank works whole, and a virtual mesh knows the numbers of any rank of
 * any mesh, counts bytes and touches nothing.
 */
#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"
#include "world.h"

static void alone(void)
{
    struct world w = world_open(8 << 20);
    nf_mesh *mesh;
    nf_event event;
    float x[3] = {1, 2, 3}, y[3] = {10, 20, 30};
    int64_t n = 5;
    double d = 0.5;
    void *blob = x;
    size_t size = sizeof x;

    need(nf_mesh_new(NULL, 1, w.device, &mesh));
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    tap_ok(nf_mesh_ranks(mesh) == 1 && strcmp(nf_mesh_transport(mesh), "none (one rank)") == 0, "one rank without MPI");
    need(nf_bcast(world, 0, x, sizeof x));
    need(nf_bcast_blob(world, 0, &blob, &size));
    need(nf_barrier(world));
    need(nf_reduce_i64(world, &n, 1, NF_SUM));
    need(nf_reduce_f64(world, &d, 1, NF_SUM));
    need(nf_reduce_i64_start(world, &n, 1, NF_MAX, &event));
    tap_ok(n == 5 && d == 0.5 && blob == x && size == sizeof x && event.gen == 0, "host collectives of one rank");
    tap_ok(nf_agree(mesh, NF_OK) == NF_OK && nf_agree(mesh, NF_EIO) == NF_EIO && nf_same(mesh, x, sizeof x, "x") == NF_OK,
           "one rank agrees with itself");
    need(nf_all_reduce(w.queue, world, x, 3, NF_F32, &event));
    tap_ok(event.gen == 0 && x[0] == 1 && x[2] == 3, "a sum over one rank is over at once");
    need(nf_reduce_scatter(w.queue, world, y, x, 3, NF_F32, true, &event));
    tap_ok(event.gen == 0 && y[0] == 11 && y[1] == 22 && y[2] == 33, "one rank's part of the sum is added");
    need(nf_all_gather(w.queue, world, y, x, sizeof x, &event));
    tap_ok(event.gen == 0 && memcmp(x, y, sizeof x) == 0, "one rank gathers from itself");
    nf_mesh_free(mesh);
    nf_mesh *none = NULL;
    tap_ok(nf_mesh_new(NULL, 2, w.device, &none) == NF_EUSAGE && !none, "one rank cannot have ep = 2");
    nf_diagnosis_clear();
    world_close(&w);
}

/* Rows that are dense are received where they lie. */
static void not_copied(void)
{
    enum { T = 10, K = 2, H = 4 };
    struct world w = world_open(8 << 20);
    const struct nf_xshape s = {.tokens = T,
                                .width = H,
                                .k = K,
                                .experts = 4,
                                .dtype = NF_F32,
                                .chunks = 3,
                                .recv_factor = 0.25,
                                .dispatch = NF_ALLTOALL,
                                .row_pad = 16};
    float x[T * H], weight[T * K];
    int32_t ids[T * K];
    nf_mesh *mesh;
    nf_exchange *exchange;
    nf_xplan *plan;
    nf_event event;
    int slices;

    for (int i = 0; i < T * K; i++)
        ids[i] = i % 4;
    need(nf_mesh_new(NULL, 1, w.device, &mesh));
    need(nf_exchange_new(mesh, &exchange));
    nf_exchange_reserve(exchange, &s);
    need(nf_exchange_commit(exchange, w.run));
    need(nf_xplan_new(w.queue, exchange, w.step, NF_LOW, &s, &plan));
    need(nf_xplan_counts(w.queue, plan, ids, T, &event));
    need(nf_xplan_slices(w.queue, plan, &slices));
    struct nf_slice last = nf_xplan_slice(plan, 2);
    tap_ok(slices == 3 && last.chunk == 2 && last.token0 == 8 && last.tokens == 2 && last.kept && last.last, "three slices");
    need(nf_exchange_out(w.queue, plan, 2, x, H, weight, &event));
    struct nf_received in = nf_xplan_received(plan, 2);
    tap_ok(event.gen == 0 && in.rows == x + 8 * H && in.side == weight + 8 * K && in.ids == ids + 8 * K && *in.count == 2,
           "a group of one receives the sender's own rows");
    tap_ok(nf_mesh_traffic(mesh).dispatch == 0 && nf_device_host_waits(w.device) == 0, "nothing travels, nobody waits");
    ids[3] = 4;
    tap_ok(nf_xplan_counts(w.queue, plan, ids, T, &event) == NF_EBUG, "an expert that does not exist is refused");
    nf_diagnosis_clear();
    nf_exchange_free(exchange);
    nf_mesh_free(mesh);
    world_close(&w);
}

static void numbers(void)
{
    struct world w = world_open(0);
    bool right = true;

    for (int ep = 1; ep <= 12; ep++) {
        nf_mesh *mesh = NULL;
        if (12 % ep != 0) {
            right = right && nf_mesh_new_virtual(12, 0, ep, 8, w.device, &mesh) == NF_EUSAGE && !mesh;
            nf_diagnosis_clear();
            continue;
        }
        for (int rank = 0; rank < 12; rank++) {
            need(nf_mesh_new_virtual(12, rank, ep, 8, w.device, &mesh));
            const nf_group *e = nf_mesh_group(mesh, NF_EP), *edp = nf_mesh_group(mesh, NF_EDP);
            const nf_group *node = nf_mesh_group(mesh, NF_NODE);
            right = right && nf_mesh_virtual(mesh) && nf_mesh_rank(mesh) == rank && nf_mesh_ranks(mesh) == 12;
            right = right && nf_group_size(e) == ep && nf_group_rank(edp) * ep + nf_group_rank(e) == rank;
            right = right && nf_group_size(edp) == 12 / ep;
            right = right && nf_group_size(node) == (rank < 8 ? 8 : 4) && nf_group_rank(node) == rank % 8;
            nf_mesh_free(mesh);
        }
    }
    tap_ok(right, "numbers of every rank of 12 on nodes of 8");
    world_close(&w);
}

static void counted(void)
{
    struct world w = world_open(0);
    const struct nf_xshape s = {.tokens = 1000,
                                .width = 64,
                                .k = 6,
                                .experts = 128,
                                .dtype = NF_BF16,
                                .chunks = 4,
                                .recv_factor = 1.5,
                                .dispatch = NF_ALLTOALL,
                                .row_pad = 16};
    nf_mesh *mesh;
    nf_exchange *x;
    nf_xplan *plan;
    nf_event event;
    int slices;

    need(nf_mesh_new_virtual(128, 77, 8, 8, w.device, &mesh));
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    need(nf_all_reduce(w.queue, world, NULL, 128000, NF_F32, &event));
    need(nf_all_gather(w.queue, world, NULL, NULL, 1000, &event));
    struct nf_traffic t = nf_mesh_traffic(mesh);
    tap_ok(t.reduce == 2 * 127 * 4000 && t.gather == 127 * 1000 &&
               nf_queue_counted(w.queue).bytes_sent == (double)(t.reduce + t.gather),
           "collectives of a virtual mesh count bytes");
    need(nf_exchange_new(mesh, &x));
    nf_exchange_reserve(x, &s);
    need(nf_exchange_commit(x, w.run));
    need(nf_xplan_new(w.queue, x, w.step, NF_LOW, &s, &plan));
    need(nf_xplan_counts(w.queue, plan, NULL, 1000, &event));
    need(nf_xplan_slices(w.queue, plan, &slices));
    tap_ok(slices == 4 && nf_xplan_overflow_slices(plan) == 0, "a dry run has as many slices as chunks");
    tap_ok(nf_x_chunk_tokens(&s) == 250 && nf_x_row_cap(nf_mesh_group(mesh, NF_EP), &s) == 2000 &&
               nf_x_expert_cap(nf_mesh_group(mesh, NF_EP), &s) == 2250 + 16 * 15 &&
               nf_x_return_slots(nf_mesh_group(mesh, NF_EP), &s) == 6,
           "sizes of windows");
    t = nf_mesh_traffic(mesh);
    for (int i = 0; i < slices; i++) {
        need(nf_exchange_out(w.queue, plan, i, NULL, 64, NULL, &event));
        need(nf_exchange_back(w.queue, plan, i, NULL, NULL, &event));
        struct nf_received in = nf_xplan_received(plan, i);
        struct nf_returned back = nf_xplan_returned(plan, i);
        tap_ok(event.gen == 0 && in.cap == 2000 && in.rows && back.tokens == 250 && back.token0 == 250 * i && back.slots == 6,
               "slice %d is counted only", i);
    }
    /* the chance that 6 of 128 experts all lie outside a rank's 16 is 0.4418, so 7 x 0.5582 rows a token */
    const double rows = 1000 * 7 * (1 - 112.0 * 111 * 110 * 109 * 108 * 107 / (128.0 * 127 * 126 * 125 * 124 * 123));
    const double sent = (double)(nf_mesh_traffic(mesh).dispatch - t.dispatch), back = (double)nf_mesh_traffic(mesh).combine;
    tap_ok(fabs(sent - rows * (128 + 24)) <= slices && fabs(back - rows * 128) <= slices,
           "even routing's bytes, cut to whole ones");
    nf_exchange_free(x);
    nf_mesh_free(mesh);
    world_close(&w);
}

int main(void)
{
    int initialised = 1;

    tap_open();
    alone();
    not_copied();
    numbers();
    counted();
    MPI_Initialized(&initialised);
    tap_ok(!initialised, "MPI was never begun");
    return tap_done();
}
