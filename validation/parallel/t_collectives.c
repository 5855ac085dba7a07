/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collectives on queues against a serial sum in rank order, bit for bit: every group, type and odd length; several pending at
 * once and waited for in other orders on other ranks; a rank inside a host collective moves what others wait for.
 */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tap.h"
#include "world.h"

enum { LONG = 1000003 };
static const int64_t lengths[] = {0, 1, 3, 511, 512, 513, 2048, 100000, LONG};
static const nf_dtype types[] = {NF_F32, NF_BF16, NF_F64};

/* World rank of member i of this rank's group. */
static int member(const nf_mesh *mesh, enum nf_axis axis, int i)
{
    int ep = nf_group_size(nf_mesh_group(mesh, NF_EP)), rank = nf_mesh_rank(mesh);
    return axis == NF_EP ? rank / ep * ep + i : axis == NF_EDP ? rank % ep + i * ep : i;
}

static void put(void *x, nf_dtype t, int64_t i, double value)
{
    if (t == NF_F64)
        ((double *)x)[i] = value;
    else if (t == NF_F32)
        ((float *)x)[i] = (float)value;
    else
        ((uint16_t *)x)[i] = nf_f32_to_bf16((float)value);
}

static double get(const void *x, nf_dtype t, int64_t i)
{
    return t == NF_F64   ? ((const double *)x)[i]
           : t == NF_F32 ? ((const float *)x)[i]
                         : nf_bf16_to_f32(((const uint16_t *)x)[i]);
}

static void fill(void *x, nf_dtype t, int64_t n, int rank, int64_t first)
{
    for (int64_t i = 0; i < n; i++)
        put(x, t, i, world_number(t, (uint64_t)rank, (uint64_t)(first + i)));
}

/* The sum of elements first .. first + n - 1 over the group as it is defined, from `was` if that is not NULL. */
static void serial(const nf_mesh *mesh, enum nf_axis axis, void *sum, const void *was, nf_dtype t, int64_t n, int64_t first)
{
    int size = nf_group_size(nf_mesh_group(mesh, axis));
    char one[8];

    for (int64_t i = 0; i < n; i++) {
        double wide = 0;
        float narrow = 0;
        for (int r = 0; r < size; r++) {
            fill(one, t, 1, member(mesh, axis, r), first + i);
            double x = get(one, t, 0);
            wide = r == 0 ? x : wide + x;
            narrow = r == 0 ? (float)x : narrow + (float)x;
        }
        if (was) {
            wide = get(was, t, i) + wide;
            narrow = (float)get(was, t, i) + narrow;
        }
        put(sum, t, i, t == NF_F64 ? wide : narrow);
    }
}

/* The longest takes long to check: once is enough, and the segments of all types are the same. */
static bool skipped(int64_t length, nf_dtype t, enum nf_axis axis)
{
    return length == LONG && (t != NF_F32 || axis != NF_WORLD);
}

static void all_reduces(struct world *w, const nf_mesh *mesh, enum nf_axis axis, const char *name, void *x, void *wanted)
{
    bool right = true;

    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            size_t bytes = (size_t)lengths[l] * nf_dtype_size(types[t]);
            nf_event event;
            if (skipped(lengths[l], types[t], axis))
                continue;
            fill(x, types[t], lengths[l], nf_mesh_rank(mesh), 0);
            memset((char *)x + bytes, 0x5a, 8);
            serial(mesh, axis, wanted, NULL, types[t], lengths[l], 0);
            need(nf_all_reduce(w->queue, nf_mesh_group(mesh, axis), x, lengths[l], types[t], &event));
            need(nf_queue_wait(w->queue, event));
            bool one = memcmp(x, wanted, bytes) == 0 && ((char *)x)[bytes] == 0x5a;
            if (!one)
                tap_note("all_reduce %s of %lld on %s is wrong", nf_dtype_name(types[t]), (long long)lengths[l], name);
            right = right && one;
        }
    tap_ok(right, "%s of %d: all_reduce", name, nf_group_size(nf_mesh_group(mesh, axis)));
}

static void scatters(struct world *w, const nf_mesh *mesh, enum nf_axis axis, const char *name, void *in, void *wanted)
{
    const nf_group *group = nf_mesh_group(mesh, axis);
    const int size = nf_group_size(group);
    bool right = true;

    for (int accumulate = 0; accumulate < 2; accumulate++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                int64_t n = lengths[l] / size, first = n * nf_group_rank(group);
                if (skipped(lengths[l], types[t], axis))
                    continue;
                size_t bytes = (size_t)n * nf_dtype_size(types[t]);
                void *out = malloc(bytes + 8), *was = malloc(bytes + 8);
                nf_event event;
                fill(in, types[t], n * size, nf_mesh_rank(mesh), 0);
                fill(was, types[t], n, 77, 0);
                memcpy(out, was, bytes);
                serial(mesh, axis, wanted, accumulate ? was : NULL, types[t], n, first);
                need(nf_reduce_scatter(w->queue, group, out, in, n, types[t], accumulate, &event));
                need(nf_queue_wait(w->queue, event));
                right = right && memcmp(out, wanted, bytes) == 0;
                free(out);
                free(was);
            }
    tap_ok(right, "%s of %d: reduce_scatter, also onto what was there", name, size);
}

static void gathers(struct world *w, const nf_mesh *mesh, enum nf_axis axis, const char *name, void *all, void *wanted)
{
    const nf_group *group = nf_mesh_group(mesh, axis);
    bool right = true;

    for (int in_place = 0; in_place < 2; in_place++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            int64_t n = lengths[l];
            size_t each = (size_t)n * sizeof(float);
            char *mine = (char *)all + (size_t)nf_group_rank(group) * each;
            float *apart = malloc(each + 8);
            nf_event event;
            fill(in_place ? (void *)mine : apart, NF_F32, n, nf_mesh_rank(mesh), 0);
            for (int r = 0; r < nf_group_size(group); r++)
                fill((char *)wanted + (size_t)r * each, NF_F32, n, member(mesh, axis, r), 0);
            need(nf_all_gather(w->queue, group, all, in_place ? (void *)mine : apart, each, &event));
            need(nf_queue_wait(w->queue, event));
            right = right && memcmp(all, wanted, (size_t)nf_group_size(group) * each) == 0;
            free(apart);
        }
    tap_ok(right, "%s of %d: all_gather, also in place", name, nf_group_size(group));
}

/* Seven under way; half of the ranks wait backwards. */
static void interleaved(struct world *w, const nf_mesh *mesh)
{
    enum { N = 6 };
    static const int64_t n[N] = {LONG, 2, 300000, 0, 5000, 1};
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const int rank = nf_mesh_rank(mesh);
    void *x[N], *wanted[N];
    bool right = true;

    for (int i = 0; i < N; i++) {
        x[i] = malloc((size_t)n[i] * 4 + 8);
        wanted[i] = malloc((size_t)n[i] * 4 + 8);
        serial(mesh, NF_WORLD, wanted[i], NULL, NF_F32, n[i], i);
    }
    for (int time = 0; time < 3; time++) {
        nf_event event[N], counted;
        int64_t count = rank;
        for (int i = 0; i < N; i++) {
            fill(x[i], NF_F32, n[i], rank, i);
            need(nf_all_reduce(w->queue, world, x[i], n[i], NF_F32, &event[i]));
        }
        need(nf_reduce_i64_start(world, &count, 1, NF_MAX, &counted));
        for (int i = 0; i < N; i++)
            need(nf_queue_wait(w->queue, event[rank % 2 ? N - 1 - i : i]));
        need(nf_queue_wait(w->queue, counted));
        for (int i = 0; i < N; i++)
            right = right && memcmp(x[i], wanted[i], (size_t)n[i] * 4) == 0;
        right = right && count == nf_mesh_ranks(mesh) - 1;
    }
    tap_ok(right, "seven under way at once, waited for in different orders");
    for (int i = 0; i < N; i++) {
        free(x[i]);
        free(wanted[i]);
    }
}

/* What a step takes once is used again by the next: nothing is allocated the second and third time. */
static void steady(struct world *w, const nf_mesh *mesh, void *x)
{
    static const int64_t n[] = {3, 300000, 5000, LONG, 1};
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    uint64_t held[3];

    for (int time = 0; time < 3; time++) {
        for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
            nf_event event;
            fill(x, NF_F32, n[i], 0, 0);
            need(nf_all_reduce(w->queue, world, x, n[i], NF_F32, &event));
            need(nf_queue_wait(w->queue, event));
        }
        held[time] = nf_mesh_traffic(mesh).staging;
    }
    tap_ok(held[1] == held[0] && held[2] == held[0], "staging is taken once");
}

/* The last rank comes late: the others stood still for most of that, in a wait for an event and in a barrier alike. */
static void standing(struct world *w, const nf_mesh *mesh)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const bool late = nf_mesh_rank(mesh) == nf_mesh_ranks(mesh) - 1;
    double seconds[3];

    need(nf_barrier(world));
    for (int i = 0; i < 2; i++) {
        float x = 1;
        nf_event event;
        seconds[i] = nf_mesh_traffic(mesh).wait_seconds;
        if (late)
            usleep(300000);
        if (i == 0)
            need(nf_all_reduce(w->queue, world, &x, 1, NF_F32, &event));
        need(i == 0 ? nf_queue_wait(w->queue, event) : nf_barrier(world));
    }
    seconds[2] = nf_mesh_traffic(mesh).wait_seconds;
    bool right = late || (seconds[1] - seconds[0] > 0.05 && seconds[2] - seconds[1] > 0.05);
    tap_ok(right, "waiting for a late rank is seen as such");
}

/* Even ranks enter the barrier first, odd ones wait first: both must move the sum on. */
static void host_between(struct world *w, const nf_mesh *mesh, void *x, void *wanted)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const bool barrier_first = nf_mesh_rank(mesh) % 2 == 0;
    nf_event event;

    serial(mesh, NF_WORLD, wanted, NULL, NF_F32, LONG, 5);
    fill(x, NF_F32, LONG, nf_mesh_rank(mesh), 5);
    need(nf_all_reduce(w->queue, world, x, LONG, NF_F32, &event));
    if (barrier_first)
        need(nf_barrier(world));
    need(nf_queue_wait(w->queue, event));
    if (!barrier_first)
        need(nf_barrier(world));
    tap_ok(memcmp(x, wanted, (size_t)LONG * 4) == 0, "a rank in a barrier moves what others wait for");
}

static void traffic(struct world *w, const nf_mesh *mesh, void *x)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const uint64_t ranks = (uint64_t)nf_mesh_ranks(mesh);
    struct nf_traffic before = nf_mesh_traffic(mesh);
    nf_event event;

    memset(x, 0, 4 * 12000);
    need(nf_all_reduce(w->queue, world, x, 12000, NF_F32, &event));
    need(nf_queue_wait(w->queue, event));
    struct nf_traffic after = nf_mesh_traffic(mesh);
    tap_ok(after.reduce - before.reduce == 2 * (ranks - 1) * (4 * 12000 / ranks) && after.gather == before.gather,
           "a sum sends two parts to each other rank");
}

int main(void)
{
    MPI_Comm comm = MPI_COMM_WORLD;
    int ranks;

    tap_open_mpi();
    MPI_Comm_size(comm, &ranks);
    struct world w = world_open(1 << 20);
    void *x = malloc((size_t)ranks * LONG * 8 + 8), *wanted = malloc((size_t)ranks * LONG * 8 + 8);
    need(x && wanted ? NF_OK : NF_ENOMEM);
    for (int ep = 1; ep <= ranks; ep++) {
        nf_mesh *mesh;
        if (ranks % ep != 0)
            continue;
        need(nf_mesh_new(&comm, ep, w.device, &mesh));
        for (int axis = NF_WORLD; axis <= NF_EDP; axis++) {
            static const char *const name[] = {"world", "ep", "edp"};
            if (axis == NF_WORLD ? ep > 1 : nf_group_size(nf_mesh_group(mesh, axis)) == 1 && ranks > 1)
                continue;
            all_reduces(&w, mesh, axis, name[axis], x, wanted);
            scatters(&w, mesh, axis, name[axis], x, wanted);
            gathers(&w, mesh, axis, name[axis], x, wanted);
        }
        if (ep == 1) {
            steady(&w, mesh, x);
            standing(&w, mesh);
            interleaved(&w, mesh);
            host_between(&w, mesh, x, wanted);
            traffic(&w, mesh, x);
        }
        nf_mesh_free(mesh);
    }
    free(x);
    free(wanted);
    world_close(&w);
    return tap_done();
}
