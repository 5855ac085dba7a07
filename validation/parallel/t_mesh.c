/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is where, for every ep that divides the ranks; what does not divide them is refused; host collectives.
 */
#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"
#include "world.h"

/* World ranks of a group's members, in its order. */
static void members(const nf_mesh *mesh, enum nf_axis axis, int *rank)
{
    int mine = nf_mesh_rank(mesh);
    need(nf_gather_bytes(nf_mesh_group(mesh, axis), &mine, sizeof mine, rank));
}

static void places(struct world *w, int ep, int rank, int ranks)
{
    MPI_Comm world = MPI_COMM_WORLD;
    nf_mesh *mesh;
    int who[64];

    need(nf_mesh_new(&world, ep, w->device, &mesh));
    const nf_group *e = nf_mesh_group(mesh, NF_EP), *edp = nf_mesh_group(mesh, NF_EDP), *node = nf_mesh_group(mesh, NF_NODE);
    tap_ok(nf_mesh_rank(mesh) == rank && nf_mesh_ranks(mesh) == ranks && !nf_mesh_virtual(mesh), "ep=%d: world", ep);
    bool right = nf_group_size(e) == ep && nf_group_rank(e) == rank % ep;
    members(mesh, NF_EP, who);
    for (int i = 0; i < ep; i++)
        right = right && who[i] == rank / ep * ep + i;
    tap_ok(right, "ep=%d: ranks that split the experts are neighbours", ep);
    right = nf_group_size(edp) == ranks / ep && nf_group_rank(edp) == rank / ep;
    members(mesh, NF_EDP, who);
    for (int i = 0; i < ranks / ep; i++)
        right = right && who[i] == rank % ep + i * ep;
    tap_ok(right, "ep=%d: ranks that hold the same experts", ep);
    tap_ok(nf_group_size(node) == ranks && nf_group_rank(node) == rank, "ep=%d: one node", ep);
    tap_ok(strcmp(nf_mesh_transport(mesh), "MPI (host memory)") == 0, "ep=%d: transport", ep);
    nf_mesh_free(mesh);
}

static void refused(struct world *w, int ep)
{
    MPI_Comm world = MPI_COMM_WORLD;
    nf_mesh *mesh = NULL;

    nf_status s = nf_mesh_new(&world, ep, w->device, &mesh);
    tap_ok(s == NF_EUSAGE && !mesh && strstr(nf_diagnosis(), "Hint: use one of 1"), "ep=%d is refused with a hint", ep);
    nf_diagnosis_clear();
}

static void broadcasts(const nf_mesh *mesh, int rank, int ranks)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    bool right = true;

    for (int root = 0; root < ranks; root++) {
        double x[3] = {rank, 2 * rank, 3 * rank};
        need(nf_bcast(world, root, x, sizeof x));
        right = right && x[0] == root && x[2] == 3 * root;
        size_t n = rank == root ? 1000 + (size_t)root : 0;
        char *text = rank == root ? malloc(n) : NULL;
        if (text)
            memset(text, 'a' + root, n);
        need(nf_bcast_blob(world, root, (void **)&text, &n));
        right = right && n == 1000 + (size_t)root && text[0] == 'a' + root && text[n - 1] == 'a' + root;
        free(text);
        void *none = rank == root ? malloc(1) : NULL;
        n = 0;
        need(nf_bcast_blob(world, root, &none, &n));
        right = right && n == 0 && none;
        free(none);
    }
    tap_ok(right, "broadcasts from every rank");
}

static void reductions(const nf_mesh *mesh, int rank, int ranks)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    int64_t i[2] = {rank + 1, -((int64_t)1 << 60) + rank}, least[2] = {rank, -rank}, most[1] = {rank};
    enum { N = 10000 };
    static double sum[N], low[N], high[N];
    bool right = true;

    need(nf_reduce_i64(world, i, 1, NF_SUM));
    need(nf_reduce_i64(world, least, 2, NF_MIN));
    need(nf_reduce_i64(world, most, 1, NF_MAX));
    tap_ok(i[0] == ranks * (ranks + 1) / 2 && i[1] == -((int64_t)1 << 60) + rank && least[0] == 0 && least[1] == 1 - ranks &&
               most[0] == ranks - 1,
           "integers: sum, least, most");
    for (int k = 0; k < N; k++)
        sum[k] = low[k] = high[k] = world_number(1, (uint64_t)rank, (uint64_t)k);
    need(nf_reduce_f64(world, sum, N, NF_SUM));
    need(nf_reduce_f64(world, low, N, NF_MIN));
    need(nf_reduce_f64(world, high, N, NF_MAX));
    for (int k = 0; k < N; k++) {
        double s = world_number(1, 0, (uint64_t)k), l = s, h = s;
        for (int r = 1; r < ranks; r++) {
            double x = world_number(1, (uint64_t)r, (uint64_t)k);
            s += x;
            l = x < l ? x : l;
            h = x > h ? x : h;
        }
        right = right && memcmp(&s, &sum[k], sizeof s) == 0 && l == low[k] && h == high[k];
    }
    tap_ok(right, "doubles: sums in rank order bit for bit, least, most");
    double odd[1] = {rank == ranks - 1 ? (double)NAN : 1};
    need(nf_reduce_f64(world, odd, 1, NF_MAX));
    tap_ok(odd[0] != odd[0], "the largest of NaN and numbers is NaN");
}

/* Beyond the counts of MPI: too much memory for every run, so only where it is asked for. */
static void large(struct world *w, const nf_mesh *mesh, int rank, int ranks)
{
    const size_t n = ((size_t)1 << 31) + 12345;
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    nf_event event;

    if (!getenv("NEMAFIT_TEST_LARGE") || ranks != 2) {
        tap_skip("messages of more than 2 GiB: set NEMAFIT_TEST_LARGE, with 2 ranks and 9 GiB");
        return;
    }
    unsigned char *all = malloc(2 * n), *mine = all ? all + (size_t)rank * n : NULL,
                  *other = all ? all + (size_t)(1 - rank) * n : NULL;
    need(all ? NF_OK : NF_ENOMEM);
    memset(mine, 7 + rank, n);
    mine[n - 1] = (unsigned char)(17 + rank);
    need(nf_all_gather(w->queue, world, all, mine, n, &event));
    need(nf_queue_wait(w->queue, event));
    tap_ok(other[0] == 8 - rank && other[(size_t)1 << 30] == 8 - rank && other[n - 2] == 8 - rank && other[n - 1] == 18 - rank,
           "more than 2 GiB are gathered on a queue");
    memset(other, 0, n);
    need(nf_gather_bytes(world, mine, n, all));
    tap_ok(other[0] == 8 - rank && other[(size_t)1 << 30] == 8 - rank && other[n - 2] == 8 - rank && other[n - 1] == 18 - rank,
           "more than 2 GiB are gathered on the host");
    need(nf_bcast(world, 0, mine, n));
    tap_ok(mine[0] == 7 && mine[(size_t)1 << 30] == 7 && mine[n - 2] == 7 && mine[n - 1] == 17,
           "more than 2 GiB are broadcast");
    free(all);
}

int main(void)
{
    MPI_Comm world = MPI_COMM_WORLD;
    nf_mesh *mesh, *alone;
    int rank, ranks;

    tap_open_mpi();
    MPI_Comm_rank(world, &rank);
    MPI_Comm_size(world, &ranks);
    struct world w = world_open(1 << 20);
    for (int ep = 1; ep <= ranks; ep++)
        if (ranks % ep == 0)
            places(&w, ep, rank, ranks);
        else
            refused(&w, ep);
    refused(&w, ranks + 1);
    refused(&w, 0);
    need(nf_mesh_new(NULL, 1, w.device, &alone));
    tap_ok(nf_mesh_ranks(alone) == 1 && nf_mesh_rank(alone) == 0, "without a communicator a rank is alone");
    nf_mesh_free(alone);
    need(nf_mesh_new(&world, 1, w.device, &mesh));
    broadcasts(mesh, rank, ranks);
    reductions(mesh, rank, ranks);
    need(nf_barrier(nf_mesh_group(mesh, NF_WORLD)));
    large(&w, mesh, rank, ranks);
    nf_mesh_free(mesh);
    world_close(&w);
    return tap_done();
}
