/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_cases.c: the token exchange against the same sums done directly: for every ep, both dispatches, chunks that do not
 * divide the tokens, windows from far too small to far too large, and routings from even to all on one expert. Rows and weights
 * are small whole numbers and quarters, so all sums are exact in fp32 whatever their order, and results must be equal; with
 * numbers that round, a repetition must give the same bits.
 */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "exchange_cases.h"
#include "fake_moe.h"
#include "tap.h"

enum { K = 3, E = 24, T = 23, NARROW = 5, WIDE = 5000 };
enum routing { RANDOM, HOLES, ONE_EXPERT, NOWHERE, UNEVEN, EMPTY, ROUTINGS };
static const char *const routing_name[] = {"random",         "with holes",    "all to one expert",
                                           "routed nowhere", "uneven tokens", "no tokens"};

static int64_t tokens_of(enum routing how, int rank)
{
    return how == EMPTY ? 0 : how == UNEVEN ? (rank == 0 ? 0 : rank == 1 ? 2 : T) : T;
}

static void route(enum routing how, int rank, int64_t tokens, int32_t *ids)
{
    for (int64_t t = 0; t < tokens; t++)
        for (int j = 0; j < K; j++) {
            uint64_t bits = world_bits(how, (uint64_t)rank, (uint64_t)(t * K + j));
            int32_t id = (int32_t)(bits % E);
            for (int before = 0; before < j; before++)
                if (ids[t * K + before] == id) {
                    id = (id + 1) % E;
                    before = -1;
                }
            if (how == HOLES && bits >> 32 & 1)
                id = -1;
            if (how == ONE_EXPERT)
                id = j == 1 ? E - 1 : -1;
            ids[t * K + j] = how == NOWHERE ? -1 : id;
        }
}

/* What this rank gives to the layer, exact or not, and the direct result of the exact one. */
struct given {
    struct fake_case c;
    int32_t *ids;
    void *x, *dy;
    float *weight;
};

static struct given given_new(enum routing how, int rank, bool exact, nf_dtype dtype, int64_t width, int64_t ld)
{
    int64_t n = tokens_of(how, rank);
    struct given g = {.ids = malloc((size_t)(n * K + 1) * 4), .weight = malloc((size_t)(n * K + 1) * 4)};
    g.x = malloc((size_t)(n * ld + 1) * 4);
    g.dy = malloc((size_t)(n * ld + 1) * 4);
    route(how, rank, n, g.ids);
    for (int64_t i = 0; i < n * ld; i++) {
        uint64_t a = world_bits(7, (uint64_t)rank, (uint64_t)i);
        fake_put(g.x, dtype, i, exact ? (double)(a % 5) - 2 : world_number(8, (uint64_t)rank, (uint64_t)i));
        fake_put(g.dy, dtype, i, exact ? (double)(a / 5 % 5) - 2 : world_number(9, (uint64_t)rank, (uint64_t)i));
    }
    for (int64_t i = 0; i < n * K; i++) {
        uint64_t a = world_bits(10, (uint64_t)rank, (uint64_t)i);
        g.weight[i] = exact ? (float)(a % 4) / (dtype == NF_F32 ? 4 : 1) : (float)world_number(11, (uint64_t)rank, (uint64_t)i);
    }
    g.c = (struct fake_case){.ld = ld, .tokens = n, .ids = g.ids, .x = g.x, .dy = g.dy, .weight = g.weight};
    g.c.shape = (struct nf_xshape){.tokens = how == EMPTY ? 0 : T, .width = width, .k = K, .experts = E, .dtype = dtype};
    return g;
}

static void given_free(struct given *g)
{
    free(g->ids);
    free(g->x);
    free(g->dy);
    free(g->weight);
}

static bool equals_direct(const struct given *g, const struct fake_result *r)
{
    const nf_dtype type = g->c.shape.dtype;
    const int64_t width = g->c.shape.width;
    bool right = true;

    for (int64_t t = 0; t < g->c.tokens; t++) {
        double f = 0, dot = 0;
        for (int64_t h = 0; h < width; h++)
            dot += fake_get(g->x, type, t * g->c.ld + h) * fake_get(g->dy, type, t * g->c.ld + h);
        for (int j = 0; j < K; j++) {
            int32_t id = g->ids[t * K + j];
            f += id < 0 ? 0 : (double)g->weight[t * K + j] * fake_factor(id);
            right = right && r->dweight[t * K + j] == (id < 0 ? 0 : (float)(dot * fake_factor(id)));
        }
        for (int64_t h = 0; h < width; h++)
            right = right && r->y[t * width + h] == (float)(f * fake_get(g->x, type, t * g->c.ld + h)) &&
                    r->dx[t * width + h] == (float)(f * fake_get(g->dy, type, t * g->c.ld + h));
    }
    return right;
}

/* Tokens of n that go to rank `to` of ep: under 'allgather' all, else those with one of its experts. */
static int64_t going(const struct nf_xshape *s, const int32_t *ids, int64_t n, int to, int local)
{
    int64_t count = 0;

    for (int64_t t = 0; t < n; t++) {
        bool goes = s->dispatch == NF_ALLGATHER;
        for (int j = 0; j < K; j++)
            goes = goes || (ids[t * K + j] >= 0 && ids[t * K + j] / local == to);
        count += goes;
    }
    return count;
}

/* Bytes the forward must have sent: each token once to each other rank of ep that has one of its experts; and the counts. */
static uint64_t dispatch_wanted(const nf_mesh *mesh, const struct given *g)
{
    const nf_group *ep = nf_mesh_group(mesh, NF_EP);
    const int size = nf_group_size(ep), local = E / size;
    const uint64_t row = (uint64_t)g->c.shape.width * nf_dtype_size(g->c.shape.dtype) + K * 8;
    uint64_t bytes = (uint64_t)(size - 1) * (uint64_t)(g->c.shape.chunks * size) * 8;

    for (int d = 0; d < size; d++)
        bytes += d != nf_group_rank(ep) ? row * (uint64_t)going(&g->c.shape, g->ids, g->c.tokens, d, local) : 0;
    return bytes;
}

/* And home: a row for each that came from another rank. */
static uint64_t combine_wanted(const nf_mesh *mesh, enum routing how, const struct given *g)
{
    const nf_group *ep = nf_mesh_group(mesh, NF_EP);
    const int size = nf_group_size(ep), first = nf_mesh_rank(mesh) - nf_group_rank(ep);
    int32_t ids[T * K];
    int64_t rows = 0;

    for (int s = 0; s < size; s++) {
        route(how, first + s, tokens_of(how, first + s), ids);
        rows += s != nf_group_rank(ep) ? going(&g->c.shape, ids, tokens_of(how, first + s), nf_group_rank(ep), E / size) : 0;
    }
    return (uint64_t)rows * (uint64_t)g->c.shape.width * nf_dtype_size(g->c.shape.dtype);
}

/* Slices beyond the chunks when all ranks of ep send all their tokens to the last expert: one row and one expert row each. */
static int64_t overflow_wanted(const nf_mesh *mesh, const struct nf_xshape *s)
{
    const nf_group *ep = nf_mesh_group(mesh, NF_EP);
    const int64_t size = nf_group_size(ep), row_cap = nf_x_row_cap(ep, s), local = E / size, each = K < local ? K : local;
    const int64_t expert_cap = nf_x_expert_cap(ep, s) - local * (s->row_pad - 1), tc = nf_x_chunk_tokens(s);
    int64_t extra = 0;

    for (int c = 0; c < s->chunks; c++) {
        int64_t left = s->tokens - c * tc, rows = size * (left < 0 ? 0 : left < tc ? left : tc);
        int64_t w = row_cap < expert_cap / each ? row_cap : expert_cap / each;
        if (rows > row_cap || rows > expert_cap)
            extra += (rows + w - 1) / w - 1;
    }
    return extra;
}

static bool one(struct world *w, const nf_mesh *mesh, int64_t waits, enum routing how, struct given *g)
{
    const nf_group *ep = nf_mesh_group(mesh, NF_EP);
    struct fake_result r = fake_result_new(g->c.tokens, &g->c.shape);
    bool never = nf_group_size(ep) == 1 || g->c.shape.dispatch == NF_ALLGATHER;

    fake_walk(w, mesh, &g->c, &r);
    bool right = equals_direct(g, &r) && r.fits && r.slices == g->c.shape.chunks + r.overflow && r.overflow >= 0;
    waits = nf_group_size(ep) == 1 || r.windows ? 0 : waits;
    right = right && (waits < 0 || r.host_waits == waits);
    if (!r.windows || r.overflow == 0) /* a window that is too small gets less */
        right = right && r.dispatch == dispatch_wanted(mesh, g) && r.combine == combine_wanted(mesh, how, g);
    if (never)
        right = right && r.overflow == 0;
    else if (how == ONE_EXPERT)
        right = right && r.overflow == overflow_wanted(mesh, &g->c.shape);
    if (!right)
        tap_note("%s, chunks %d, factor %g, pad %d: values %d, fits %d, slices %lld, overflow %lld, bytes %llu of %llu out, "
                 "%llu of %llu "
                 "home, waits %lld",
                 routing_name[how], g->c.shape.chunks, g->c.shape.recv_factor, g->c.shape.row_pad, equals_direct(g, &r), r.fits,
                 (long long)r.slices, (long long)r.overflow, (unsigned long long)r.dispatch,
                 (unsigned long long)dispatch_wanted(mesh, g), (unsigned long long)r.combine,
                 (unsigned long long)combine_wanted(mesh, how, g), (long long)r.host_waits);
    fake_result_free(&r);
    return right;
}

/* Kernels of many ranks that share a GPU and wait for each other run when their processes' turns come: milliseconds each. */
static bool is_slow(const nf_mesh *mesh, enum nf_dispatch dispatch)
{
    const int many = 2;
    return dispatch == NF_FUSED && nf_mesh_ranks(mesh) > many;
}

static void routing(struct world *w, const nf_mesh *mesh, const struct exchange_extent *e, enum nf_dispatch dispatch,
                    enum routing how)
{
    static const int chunks[] = {3, 1, 2, 5};
    static const double factors[] = {0.25, 2, 1, 100};
    const int n = e->brief ? 2 : 4, n_chunks = is_slow(mesh, dispatch) ? 1 : n;
    bool right = true;

    for (int type = 0; type < 2; type++) { /* bf16, dense and fp32, strided */
        struct given g = given_new(how, nf_mesh_rank(mesh), true, type ? NF_F32 : NF_BF16, NARROW, type ? NARROW + 2 : NARROW);
        for (int i = 0; i < n_chunks; i++)
            for (int f = 0; f < n; f++) {
                g.c.shape.chunks = chunks[i];
                g.c.shape.recv_factor = factors[f];
                g.c.shape.dispatch = dispatch;
                g.c.shape.row_pad = type ? 1 : 8;
                right = one(w, mesh, e->waits, how, &g) && right;
            }
        given_free(&g);
    }
    tap_ok(right, "ep=%d, %s, %s", nf_group_size(nf_mesh_group(mesh, NF_EP)),
           dispatch == NF_FUSED      ? "fused"
           : dispatch == NF_ALLTOALL ? "alltoall"
                                     : "allgather",
           routing_name[how]);
}

/* With numbers that round, and messages long enough to need both sides: the same bits again, and the same rows whatever
 * the window's size and the chunks. */
static void repeated(struct world *w, const nf_mesh *mesh, bool fused)
{
    struct given g = given_new(RANDOM, nf_mesh_rank(mesh), false, NF_F32, WIDE, WIDE);
    struct fake_result r[6];
    const int n = fused ? 6 : 4;
    bool same = true;

    g.c.shape.row_pad = 1;
    for (int i = 0; i < n; i++) {
        g.c.shape.chunks = i < 2 ? 2 : 3;
        g.c.shape.recv_factor = i < 2 ? 0.25 : 2;
        g.c.shape.dispatch = i < 4 ? NF_ALLTOALL : NF_FUSED;
        r[i] = fake_result_new(g.c.tokens, &g.c.shape);
        fake_walk(w, mesh, &g.c, &r[i]);
        same = same && memcmp(r[i].y, r[0].y, T * WIDE * 4) == 0 && memcmp(r[i].dx, r[0].dx, T * WIDE * 4) == 0 &&
               memcmp(r[i].dweight, r[0].dweight, T * K * 4) == 0;
    }
    tap_ok(same, "ep=%d: the same bits again, and in other slices", nf_group_size(nf_mesh_group(mesh, NF_EP)));
    for (int i = 0; i < n; i++)
        fake_result_free(&r[i]);
    given_free(&g);
}

/* What the dry run of the same rank counts is what the real one takes. */
static void as_planned(struct world *w, nf_mesh *mesh, int ep, enum nf_dispatch last)
{
    struct given g = given_new(RANDOM, nf_mesh_rank(mesh), true, NF_F32, NARROW, NARROW);
    nf_device *device;
    nf_mesh *twin;
    bool right = true;

    need(nf_device_dry(nf_device_kind(w->device), &device));
    struct world dry = world_open_on(device, 0);
    need(nf_mesh_new_twin(mesh, device, &twin));
    for (int dispatch = NF_ALLGATHER; dispatch <= (int)last; dispatch++) {
        size_t bytes[2][2];
        g.c.shape.dispatch = (enum nf_dispatch)dispatch;
        g.c.shape.chunks = 3;
        g.c.shape.recv_factor = 2;
        g.c.shape.row_pad = 1;
        for (int i = 0; i < 2; i++) {
            struct world *here = i ? &dry : w;
            nf_mark run = nf_arena_mark(here->run), step = nf_arena_mark(here->step);
            nf_exchange *x;
            nf_xplan *plan;
            need(nf_mesh_reserve(i ? twin : mesh, here->run));
            need(nf_exchange_new(i ? twin : mesh, &x));
            nf_exchange_reserve(x, &g.c.shape);
            need(nf_exchange_commit(x, here->run));
            need(nf_xplan_new(here->queue, x, here->step, NF_HIGH, &g.c.shape, &plan));
            bytes[i][0] = nf_arena_used(here->run) - run.low - run.high;
            bytes[i][1] = nf_arena_used(here->step) - step.low - step.high;
            nf_exchange_free(x);
            nf_arena_reset(here->run, NF_LOW, run);
            nf_arena_reset(here->step, NF_HIGH, step);
        }
        right = right && bytes[0][0] == bytes[1][0] && bytes[0][1] == bytes[1][1] && bytes[0][0] > 0 && bytes[0][1] > 0;
    }
    tap_ok(right, "ep=%d: a dry run counts what the real one takes", ep);
    nf_mesh_free(twin);
    world_close(&dry);
    given_free(&g);
}

void exchange_cases(struct world *w, MPI_Comm comm, const struct exchange_extent *e)
{
    int ranks;

    MPI_Comm_size(comm, &ranks);
    for (int ep = 1; ep <= ranks; ep++) {
        nf_mesh *mesh;
        if (ranks % ep != 0 || E % ep != 0)
            continue;
        need(nf_mesh_new(&comm, ep, w->device, &mesh));
        const enum nf_dispatch last = e->fused ? NF_FUSED : NF_ALLTOALL;
        for (int dispatch = NF_ALLGATHER; dispatch <= (int)last; dispatch++)
            for (int how = 0; how < ROUTINGS; how++)
                if (how <= HOLES || how == UNEVEN || !is_slow(mesh, (enum nf_dispatch)dispatch))
                    routing(w, mesh, e, (enum nf_dispatch)dispatch, (enum routing)how);
        repeated(w, mesh, e->fused);
        as_planned(w, mesh, ep, last);
        nf_mesh_free(mesh);
    }
}
