/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xpeer.c: the exchange through windows: each rank's kernel writes what it sends into the memory of the ranks that get it (CUDA
 * IPC), whether these share its GPU or have one that it reaches over NVLink. The first kernel of a plan counts, too; the host
 * reads no counts and never waits. gpu_window.h has the protocol.
 *
 * A chunk is one slice. Where it would not fit, rows beyond the windows are not sent and a word is set, which the host asks for
 * once a forward (nf_exchange_overflowed()): that forward is repeated over the transport with host counts, which cuts passes.
 */
#include "exchange.h"

#include <stdlib.h>

#include "nemafit/log.h"

/* ---- can it be? ------------------------------------------------------------------------------------------------------- */

/* All ranks of ep are of one node. */
static nf_status on_one_node(nf_mesh *m, bool *one)
{
    const nf_group *ep = &m->group[NF_EP], *node = &m->group[NF_NODE];
    int leader = m->group[NF_WORLD].rank, *all = calloc((size_t)ep->size, sizeof *all);

    *one = true;
    nf_status s = nf_agree(m, all ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the names of nodes"));
    if (s == NF_OK)
        s = nf_bcast(node, 0, &leader, sizeof leader);
    if (s == NF_OK)
        s = nf_gather_bytes(ep, &leader, sizeof leader, all);
    for (int r = 0; r < ep->size && s == NF_OK; r++)
        *one = *one && all[r] == leader;
    free(all);
    return s;
}

/* The memory of every rank of ep as this process sees it. What could not be opened is NULL, and *good false. */
static nf_status open_all(nf_mesh *m, void *mine, void **opened, bool *good)
{
    const nf_group *ep = &m->group[NF_EP];
    const size_t each = m->gpu->handle_bytes;
    char *handles = calloc((size_t)ep->size + 1, each), *own = handles ? handles + (size_t)ep->size * each : NULL;

    nf_status s = nf_agree(m, handles ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the handles of windows"));
    *good = s == NF_OK && m->gpu->window_export(nf_device_native(m->device), mine, own) == NF_OK;
    if (s == NF_OK)
        s = nf_gather_bytes(ep, own, each, handles);
    int64_t all_good = *good;
    if (s == NF_OK)
        s = nf_reduce_i64(&m->group[NF_WORLD], &all_good, 1, NF_MIN);
    for (int r = 0; r < ep->size && s == NF_OK && all_good; r++) {
        opened[r] = mine;
        if (r != ep->rank &&
            m->gpu->window_open(nf_device_native(m->device), handles + (size_t)r * each, &opened[r]) != NF_OK) {
            opened[r] = NULL;
            *good = false;
        }
    }
    *good = *good && all_good;
    free(handles);
    return s;
}

static void close_all(nf_mesh *m, void **opened)
{
    const nf_group *ep = &m->group[NF_EP];

    for (int r = 0; r < ep->size; r++)
        if (r != ep->rank && opened[r])
            m->gpu->window_close(nf_device_native(m->device), opened[r]);
}

nf_status nf_xpeer_probe(nf_mesh *m)
{
    const nf_group *ep = &m->group[NF_EP], *world = &m->group[NF_WORLD];
    const size_t bytes = 4096;
    void *opened[NF_WINDOW_RANKS] = {0}, *mine = NULL;
    bool one, good;
    int64_t all;

    m->windows = false;
    if (ep->size == 1 || ep->size > NF_WINDOW_RANKS || !m->gpu->window_export)
        return NF_OK;
    NF_TRY(on_one_node(m, &one));
    all = one;
    NF_TRY(nf_reduce_i64(world, &all, 1, NF_MIN));
    if (!all)
        return NF_OK;
    NF_TRY(nf_agree(m, nf_device_alloc(m->device, bytes, "trial of peer windows", &mine)));
    nf_status s = open_all(m, mine, opened, &good);
    close_all(m, opened);
    if (s == NF_OK) { /* all have closed it before its owner lets it go */
        all = good;
        s = nf_reduce_i64(world, &all, 1, NF_MIN);
    }
    nf_device_release(m->device, mine, bytes);
    m->windows = s == NF_OK && all;
    if (s == NF_OK && !good) /* that was no error: rows go another way */
        nf_diagnosis_clear();
    return s;
}

/* ---- memory ----------------------------------------------------------------------------------------------------------- */

static void lay(nf_exchange *x, struct nf_pieces *p)
{
    x->peer.control = nf_x_piece(p, sizeof(struct nf_window_control));
    for (int i = 0; i < 2; i++)
        x->peer.counts[i] = nf_x_piece(p, x->most.counts);
    x->peer.tiles = nf_x_piece(p, x->most.tiles);
    x->peer.overflow = nf_x_piece(p, sizeof *x->peer.overflow);
}

static size_t offset(const nf_exchange *x, const void *piece)
{
    return (size_t)((const char *)piece - (const char *)x->block);
}

static void describe(nf_exchange *x, void **opened)
{
    struct nf_gpu_windows *w = &x->peer.windows;

    *w = (struct nf_gpu_windows){.ranks = x->ep->size,
                                 .rank = x->ep->rank,
                                 .control = offset(x, x->peer.control),
                                 .tiles = offset(x, x->peer.tiles),
                                 .told = x->mesh->told,
                                 .overflow = x->peer.overflow};
    for (int r = 0; r < x->ep->size; r++)
        w->block[r] = opened[r];
    for (int i = 0; i < 2; i++) {
        w->counts[i] = offset(x, x->peer.counts[i]);
        w->rows[i] = offset(x, x->at.in[i].rows);
        w->side[i] = offset(x, x->at.in[i].side);
        w->ids[i] = offset(x, x->at.in[i].ids);
        w->count[i] = offset(x, x->at.in[i].count);
        w->home_rows[i] = offset(x, x->at.home[i].rows);
        w->home_side[i] = offset(x, x->at.home[i].side);
    }
}

/* What the kernels of an exchange count begins at 0: what those of the last one did is added to the mesh's. */
static void settle_traffic(nf_mesh *m)
{
    m->traffic.dispatch += m->told->sent[NF_WAY_OUT];
    m->traffic.combine += m->told->sent[NF_WAY_BACK];
    *m->told = (struct nf_window_told){0};
}

/* Flags begin at 0, before anybody can write: the memory may have served another exchange. */
static nf_status clear(nf_exchange *x)
{
    nf_queue *queue;

    NF_TRY(nf_queue_new(x->mesh->device, "windows", 0, NULL, &queue));
    nf_status s = nf_fill_zero(queue, x->peer.control, sizeof(struct nf_window_control));
    if (s == NF_OK)
        s = nf_fill_zero(queue, x->peer.overflow, sizeof *x->peer.overflow);
    if (s == NF_OK)
        s = nf_queue_drain(queue);
    nf_queue_free(queue);
    return s;
}

static nf_status commit(nf_exchange *x, nf_arena *run)
{
    nf_mesh *m = x->mesh;
    nf_status s = NF_OK;
    bool good;

    (void)run; /* lay() has said what is needed */
    if (x->nowhere)
        return NF_OK;
    if (!m->told) {
        void *told = NULL;
        s = nf_device_alloc_pinned(m->device, sizeof *m->told, "what kernels tell of their waiting", &told);
        __atomic_store_n(&m->told, told, __ATOMIC_RELEASE); /* the watchdog's thread may look */
    }
    if (s == NF_OK)
        s = nf_device_alloc_pinned(m->device, sizeof(int32_t), "overflow of the token exchange",
                                   (void **)&x->peer.overflow_host);
    if (s == NF_OK)
        s = clear(x);
    NF_TRY(nf_agree(m, s));
    settle_traffic(m);
    NF_TRY(open_all(m, x->block, x->peer.opened, &good));
    NF_TRY(nf_agree(m, good ? NF_OK
                            : nf_fail(NF_EDEVICE, "the token exchange cannot reach the memory of another rank, which it "
                                                  "could when the run began")));
    describe(x, x->peer.opened);
    x->peer.open = true;
    return NF_OK;
}

static void release(nf_exchange *x)
{
    close_all(x->mesh, x->peer.opened);
    if (x->peer.open && !*nf_diagnosis()) /* closed everywhere before the owner frees it; who failed is waited for by nobody */
        (void)nf_barrier(x->ep);
    nf_device_release(x->mesh->device, x->peer.overflow_host, 0);
}

/* ---- a layer ---------------------------------------------------------------------------------------------------------- */

static nf_status counts(nf_queue *queue, nf_xplan *plan, nf_event *event)
{
    plan->uncounted = true;               /* the first kernel will */
    return nf_queue_record(queue, event); /* the ids are there */
}

static nf_status slices(nf_queue *queue, nf_xplan *plan)
{
    (void)queue;
    plan->slices = plan->shape.chunks;
    return NF_OK;
}

static struct nf_gpu_trip trip_of(const struct nf_trip *t)
{
    const nf_xplan *p = t->plan;

    return (struct nf_gpu_trip){.slot = t->turn,
                                .chunk = t->slice.chunk,
                                .chunks = p->shape.chunks,
                                .k = t->k,
                                .local = t->local,
                                .slots = (int)p->slots,
                                .count = p->uncounted,
                                .tokens = p->tokens,
                                .chunk_tokens = p->chunk_tokens,
                                .row_cap = nf_x_row_cap(t->ep, &p->shape),
                                .expert_cap = nf_x_expert_rows_cap(t->ep, &p->shape),
                                .ids = p->given,
                                .where = p->where,
                                .table = p->table,
                                .rows = t->rows,
                                .stride = t->stride,
                                .row = t->row,
                                .side = t->side,
                                .number = nf_beat_number(t->x->mesh),
                                .limit = nf_beat_patience(t->x->mesh)};
}

static nf_status out(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_gpu_trip trip = trip_of(t);

    NF_TRY(t->x->mesh->gpu->window_out(nf_queue_native(queue), &t->x->peer.windows, &trip));
    t->plan->uncounted = false;
    return nf_queue_record(queue, event);
}

static nf_status back(nf_queue *queue, struct nf_trip *t, nf_event *event)
{
    const struct nf_gpu_trip trip = trip_of(t);

    NF_TRY(t->x->mesh->gpu->window_back(nf_queue_native(queue), &t->x->peer.windows, &trip));
    return nf_queue_record(queue, event);
}

size_t nf_xpeer_table_bytes(const nf_group *ep, const struct nf_xshape *shape)
{
    return (size_t)shape->chunks * (size_t)nf_window_table(ep->size) * sizeof(int32_t);
}

const struct nf_xtransport nf_x_peer = {
    .name = "peer windows",
    .lay = lay,
    .commit = commit,
    .free = release,
    .counts = counts,
    .slices = slices,
    .out = out,
    .back = back,
};

/* ---- overflow --------------------------------------------------------------------------------------------------------- */

bool nf_exchange_may_overflow(const nf_exchange *x)
{
    return x->may_overflow;
}

void nf_exchange_count_on_host(nf_exchange *x, bool on)
{
    x->by_host = on;
}

nf_status nf_exchange_overflowed(nf_queue *queue, nf_exchange *x, bool *overflowed)
{
    const nf_group *world = &x->mesh->group[NF_WORLD];
    int64_t word;

    *overflowed = false;
    if (!x->may_overflow || nf_queue_is_dry(queue) || x->mesh->is_virtual || x->nowhere)
        return NF_OK;
    NF_TRY(nf_copy(queue, x->peer.overflow_host, x->peer.overflow, sizeof *x->peer.overflow));
    NF_TRY(nf_fill_zero(queue, x->peer.overflow, sizeof *x->peer.overflow));
    NF_TRY(nf_queue_drain(queue));
    word = *x->peer.overflow_host;
    NF_TRY(nf_reduce_i64(world, &word, 1, NF_MAX));
    if (word == 2) /* with 1 the layers behind have read what was not sent: whatever they chose means nothing */
        return nf_fail(NF_EBUG, "a token is routed to an expert that is none");
    *overflowed = word != 0;
    return NF_OK;
}
