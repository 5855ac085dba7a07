/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collective_cases.c: collectives on queues against a serial sum in rank order, bit for bit: every group, type and odd length,
 * several pending at once and waited for in other orders on other ranks.
 */
#include "collective_cases.h"

#include <stdlib.h>
#include <string.h>

#include "tap.h"

enum { LONG = COLLECTIVE_LONG };
static const int64_t lengths[] = {0, 1, 3, 511, 512, 513, 2048, 100000, LONG};
static const nf_dtype types[] = {NF_F32, NF_BF16, NF_F64, NF_I32};

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
    else if (t == NF_I32)
        ((int32_t *)x)[i] = (int32_t)value;
    else
        ((uint16_t *)x)[i] = nf_f32_to_bf16((float)value);
}

static double get(const void *x, nf_dtype t, int64_t i)
{
    return t == NF_F64   ? ((const double *)x)[i]
           : t == NF_F32 ? ((const float *)x)[i]
           : t == NF_I32 ? (double)((const int32_t *)x)[i]
                         : nf_bf16_to_f32(((const uint16_t *)x)[i]);
}

void collective_fill(void *x, nf_dtype t, int64_t n, int rank, int64_t first)
{
    for (int64_t i = 0; i < n; i++)
        put(x, t, i, world_number(t, (uint64_t)rank, (uint64_t)(first + i)) * (t == NF_I32 ? 1e8 : 1));
}

/* The sum of elements first .. first + n - 1 over the group as it is defined, from `was` if that is not NULL. */
void collective_serial(const nf_mesh *mesh, enum nf_axis axis, void *sum, const void *was, nf_dtype t, int64_t n, int64_t first)
{
    int size = nf_group_size(nf_mesh_group(mesh, axis));
    char one[8];

    for (int64_t i = 0; i < n; i++) {
        double wide = 0;
        float narrow = 0;
        for (int r = 0; r < size; r++) {
            collective_fill(one, t, 1, member(mesh, axis, r), first + i);
            double x = get(one, t, 0);
            wide = r == 0 ? x : wide + x;
            narrow = r == 0 ? (float)x : narrow + (float)x;
        }
        if (was) {
            wide = get(was, t, i) + wide;
            narrow = (float)get(was, t, i) + narrow;
        }
        put(sum, t, i, t == NF_F64 || t == NF_I32 ? wide : narrow);
    }
}

/* The longest takes long to check: once is enough, and the segments of all types are the same. */
static bool skipped(int64_t length, nf_dtype t, enum nf_axis axis)
{
    return length == LONG && (t != NF_F32 || axis != NF_WORLD);
}

/* Host memory, and its place on the device. */
struct pair {
    void *host, *on;
    size_t bytes;
};

static struct pair pair_new(struct world *w, size_t bytes)
{
    struct pair p = {.host = malloc(bytes + 8), .on = world_memory(w, bytes + 8), .bytes = bytes};
    need(p.host ? NF_OK : NF_ENOMEM);
    return p;
}

static void pair_free(struct world *w, struct pair *p)
{
    free(p->host);
    world_release(w, p->on);
}

static void all_reduces(struct world *w, const nf_mesh *mesh, enum nf_axis axis, const char *name)
{
    struct pair x = pair_new(w, (size_t)LONG * 8);
    void *wanted = malloc(x.bytes);
    bool right = true;

    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            size_t bytes = (size_t)lengths[l] * nf_dtype_size(types[t]);
            nf_event event;
            if (skipped(lengths[l], types[t], axis))
                continue;
            collective_fill(x.host, types[t], lengths[l], nf_mesh_rank(mesh), 0);
            memset((char *)x.host + bytes, 0x5a, 8);
            world_put(w, x.on, x.host, bytes + 8);
            collective_serial(mesh, axis, wanted, NULL, types[t], lengths[l], 0);
            need(nf_all_reduce(w->queue, nf_mesh_group(mesh, axis), x.on, lengths[l], types[t], &event));
            need(nf_queue_wait(w->queue, event));
            world_get(w, x.host, x.on, bytes + 8);
            bool one = memcmp(x.host, wanted, bytes) == 0 && ((char *)x.host)[bytes] == 0x5a;
            if (!one)
                tap_note("all_reduce %s of %lld on %s is wrong", nf_dtype_name(types[t]), (long long)lengths[l], name);
            right = right && one;
        }
    tap_ok(right, "%s of %d: all_reduce", name, nf_group_size(nf_mesh_group(mesh, axis)));
    pair_free(w, &x);
    free(wanted);
}

static void scatters(struct world *w, const nf_mesh *mesh, enum nf_axis axis, const char *name)
{
    const nf_group *group = nf_mesh_group(mesh, axis);
    const int size = nf_group_size(group);
    struct pair in = pair_new(w, (size_t)LONG * 8);
    void *wanted = malloc(in.bytes);
    bool right = true;

    for (int accumulate = 0; accumulate < 2; accumulate++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                int64_t n = lengths[l] / size, first = n * nf_group_rank(group);
                if (skipped(lengths[l], types[t], axis))
                    continue;
                size_t bytes = (size_t)n * nf_dtype_size(types[t]);
                struct pair out = pair_new(w, bytes);
                nf_event event;
                collective_fill(in.host, types[t], n * size, nf_mesh_rank(mesh), 0);
                collective_fill(out.host, types[t], n, 77, 0);
                world_put(w, in.on, in.host, bytes * (size_t)size);
                world_put(w, out.on, out.host, bytes);
                collective_serial(mesh, axis, wanted, accumulate ? out.host : NULL, types[t], n, first);
                need(nf_reduce_scatter(w->queue, group, out.on, in.on, n, types[t], accumulate, &event));
                need(nf_queue_wait(w->queue, event));
                world_get(w, out.host, out.on, bytes);
                if (memcmp(out.host, wanted, bytes) != 0)
                    tap_note("reduce_scatter %s of %lld on %s is wrong", nf_dtype_name(types[t]), (long long)n, name);
                right = right && memcmp(out.host, wanted, bytes) == 0;
                pair_free(w, &out);
            }
    tap_ok(right, "%s of %d: reduce_scatter, also onto what was there", name, size);
    pair_free(w, &in);
    free(wanted);
}

static void gathers(struct world *w, const nf_mesh *mesh, enum nf_axis axis, const char *name)
{
    const nf_group *group = nf_mesh_group(mesh, axis);
    struct pair all = pair_new(w, (size_t)nf_group_size(group) * LONG * 4);
    void *wanted = malloc(all.bytes);
    bool right = true;

    for (int in_place = 0; in_place < 2; in_place++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            int64_t n = lengths[l];
            size_t each = (size_t)n * sizeof(float);
            struct pair apart = pair_new(w, each);
            char *mine = in_place ? (char *)all.on + (size_t)nf_group_rank(group) * each : apart.on;
            nf_event event;
            collective_fill(apart.host, NF_F32, n, nf_mesh_rank(mesh), 0);
            world_put(w, mine, apart.host, each);
            for (int r = 0; r < nf_group_size(group); r++)
                collective_fill((char *)wanted + (size_t)r * each, NF_F32, n, member(mesh, axis, r), 0);
            need(nf_all_gather(w->queue, group, all.on, mine, each, &event));
            need(nf_queue_wait(w->queue, event));
            world_get(w, all.host, all.on, (size_t)nf_group_size(group) * each);
            right = right && memcmp(all.host, wanted, (size_t)nf_group_size(group) * each) == 0;
            pair_free(w, &apart);
        }
    tap_ok(right, "%s of %d: all_gather, also in place", name, nf_group_size(group));
    pair_free(w, &all);
    free(wanted);
}

/* Seven under way; half of the ranks wait backwards. */
static void interleaved(struct world *w, const nf_mesh *mesh)
{
    enum { N = 6 };
    static const int64_t n[N] = {LONG, 2, 300000, 0, 5000, 1};
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const int rank = nf_mesh_rank(mesh);
    struct pair x[N];
    void *wanted[N];
    bool right = true;

    for (int i = 0; i < N; i++) {
        x[i] = pair_new(w, (size_t)n[i] * 4);
        wanted[i] = malloc((size_t)n[i] * 4 + 8);
        collective_serial(mesh, NF_WORLD, wanted[i], NULL, NF_F32, n[i], i);
    }
    for (int time = 0; time < 3; time++) {
        nf_event event[N], counted;
        int64_t count = rank;
        for (int i = 0; i < N; i++) {
            collective_fill(x[i].host, NF_F32, n[i], rank, i);
            world_put(w, x[i].on, x[i].host, x[i].bytes);
        }
        for (int i = 0; i < N; i++)
            need(nf_all_reduce(w->queue, world, x[i].on, n[i], NF_F32, &event[i]));
        need(nf_reduce_i64_start(world, &count, 1, NF_MAX, &counted));
        for (int i = 0; i < N; i++)
            need(nf_queue_wait(w->queue, event[rank % 2 ? N - 1 - i : i]));
        need(nf_queue_wait(w->queue, counted));
        for (int i = 0; i < N; i++) {
            world_get(w, x[i].host, x[i].on, x[i].bytes);
            right = right && memcmp(x[i].host, wanted[i], (size_t)n[i] * 4) == 0;
        }
        right = right && count == nf_mesh_ranks(mesh) - 1;
    }
    tap_ok(right, "seven under way at once, waited for in different orders");
    for (int i = 0; i < N; i++) {
        pair_free(w, &x[i]);
        free(wanted[i]);
    }
}

/* What a step takes once is used again by the next: nothing is allocated the second and third time. */
static void steady(struct world *w, const nf_mesh *mesh)
{
    static const int64_t n[] = {3, 300000, 5000, LONG, 1};
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    struct pair x = pair_new(w, (size_t)LONG * 4);
    uint64_t held[3];

    for (int time = 0; time < 3; time++) {
        for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
            nf_event event;
            need(nf_fill_zero(w->queue, x.on, x.bytes));
            need(nf_all_reduce(w->queue, world, x.on, n[i], NF_F32, &event));
            need(nf_queue_wait(w->queue, event));
        }
        held[time] = nf_mesh_traffic(mesh).staging;
    }
    tap_ok(held[1] == held[0] && held[2] == held[0], "staging is taken once");
    pair_free(w, &x);
}

static void traffic(struct world *w, const nf_mesh *mesh)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const uint64_t ranks = (uint64_t)nf_mesh_ranks(mesh);
    struct nf_traffic before = nf_mesh_traffic(mesh);
    struct pair x = pair_new(w, 4 * 12000);
    nf_event event;

    need(nf_fill_zero(w->queue, x.on, x.bytes));
    need(nf_all_reduce(w->queue, world, x.on, 12000, NF_F32, &event));
    need(nf_queue_wait(w->queue, event));
    struct nf_traffic after = nf_mesh_traffic(mesh);
    tap_ok(after.reduce - before.reduce == 2 * (ranks - 1) * (4 * 12000 / ranks) && after.gather == before.gather,
           "a sum sends two parts to each other rank");
    world_get(w, x.host, x.on, 4);
    pair_free(w, &x);
}

/* Longer than any staging: whole numbers, so that the sum is known without being formed. */
static void in_pieces(struct world *w, const nf_mesh *mesh, int64_t n)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const int ranks = nf_mesh_ranks(mesh);
    struct pair x = pair_new(w, (size_t)n * 4);
    float *value = x.host;
    int64_t wrong = -1;
    nf_event event;

    for (int64_t i = 0; i < n; i++)
        value[i] = (float)(i * 7 % 1021 + nf_mesh_rank(mesh));
    world_put(w, x.on, x.host, x.bytes);
    need(nf_all_reduce(w->queue, world, x.on, n, NF_F32, &event));
    need(nf_queue_wait(w->queue, event));
    world_get(w, x.host, x.on, x.bytes);
    for (int64_t i = n - 1; i >= 0; i--)
        wrong = value[i] != (float)(i * 7 % 1021 * ranks + ranks * (ranks - 1) / 2) ? i : wrong;
    if (!tap_ok(wrong < 0, "a sum of %lld numbers, in pieces", (long long)n) && wrong >= 0)
        tap_note("number %lld is %g", (long long)wrong, (double)value[wrong]);
    pair_free(w, &x);
}

void collective_cases(struct world *w, MPI_Comm comm, int64_t longest)
{
    static const char *const name[] = {"world", "ep", "edp"};
    int ranks;

    MPI_Comm_size(comm, &ranks);
    for (int ep = 1; ep <= ranks; ep++) {
        nf_mesh *mesh;
        if (ranks % ep != 0)
            continue;
        need(nf_mesh_new(&comm, ep, w->device, &mesh));
        nf_mark mark = nf_arena_mark(w->run);
        need(nf_mesh_reserve(mesh, w->run)); /* for world and edp; sums over ep take their own */
        for (int axis = NF_WORLD; axis <= NF_EDP; axis++) {
            if (axis == NF_WORLD ? ep > 1 : nf_group_size(nf_mesh_group(mesh, axis)) == 1 && ranks > 1)
                continue;
            all_reduces(w, mesh, axis, name[axis]);
            scatters(w, mesh, axis, name[axis]);
            gathers(w, mesh, axis, name[axis]);
        }
        if (ep == 1) {
            steady(w, mesh);
            interleaved(w, mesh);
            traffic(w, mesh);
            in_pieces(w, mesh, longest);
        }
        nf_mesh_free(mesh);
        nf_arena_reset(w->run, NF_LOW, mark);
    }
}
