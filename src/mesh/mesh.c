/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mesh: one Cartesian communicator [P / ep][ep] and its lines. Communicators are our own duplicates and return their
 * errors. Without mpi_comm no MPI function is ever called; a virtual mesh knows its numbers and nothing else.
 */
#include "private.h"

#include "comm.h"
#include "nemafit/str.h"

#include <stdlib.h>
#include <string.h>

static nf_status ep_check(int ranks, int ep)
{
    if (ep >= 1 && ranks % ep == 0)
        return NF_OK;
    nf_str legal = {0};
    for (int d = 1; d <= ranks; d++)
        if (ranks % d == 0)
            nf_str_addf(&legal, "%s%d", d > 1 ? ", " : "", d);
    nf_status s = nf_fail(NF_EUSAGE, "parallel.ep = %d does not divide the number of ranks, %d\n  Hint: use one of %s", ep,
                          ranks, legal.text ? legal.text : "its divisors");
    nf_str_free(&legal);
    return s;
}

static nf_status mesh_alloc(nf_device *device, nf_mesh **mesh)
{
    nf_mesh *m = calloc(1, sizeof *m);
    if (!m)
        return nf_fail(NF_ENOMEM, "no memory for the mesh");
    m->device = device;
    m->comm = &nf_comm_mpi;
    for (int a = 0; a < NF_AXES; a++)
        m->group[a] = (nf_group){.mesh = m, .axis = (enum nf_axis)a, .rank = 0, .size = 1, .comm = MPI_COMM_NULL};
    *mesh = m;
    return NF_OK;
}

static nf_status adopt(nf_group *group, MPI_Comm comm)
{
    group->comm = comm;
    NF_MPI(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN));
    NF_MPI(MPI_Comm_rank(comm, &group->rank));
    NF_MPI(MPI_Comm_size(comm, &group->size));
    return NF_OK;
}

static nf_status split(nf_mesh *m, MPI_Comm world, int ranks, int ep)
{
    MPI_Comm comm;
    const int dims[2] = {ranks / ep, ep}, periods[2] = {0, 0};
    const int along_ep[2] = {0, 1}, along_edp[2] = {1, 0};

    NF_MPI(MPI_Cart_create(world, 2, dims, periods, 0, &comm));
    NF_TRY(adopt(&m->group[NF_WORLD], comm));
    NF_MPI(MPI_Cart_sub(m->group[NF_WORLD].comm, along_ep, &comm));
    NF_TRY(adopt(&m->group[NF_EP], comm));
    NF_MPI(MPI_Cart_sub(m->group[NF_WORLD].comm, along_edp, &comm));
    NF_TRY(adopt(&m->group[NF_EDP], comm));
    NF_MPI(MPI_Comm_split_type(m->group[NF_WORLD].comm, MPI_COMM_TYPE_SHARED, m->group[NF_WORLD].rank, MPI_INFO_NULL, &comm));
    return adopt(&m->group[NF_NODE], comm);
}

/* The caller's communicator is only used here: its error handler is put back. */
static nf_status split_quietly(nf_mesh *m, MPI_Comm world, int ep)
{
    MPI_Errhandler before;
    int ranks;

    NF_MPI(MPI_Comm_size(world, &ranks));
    NF_TRY(ep_check(ranks, ep));
    NF_MPI(MPI_Comm_get_errhandler(world, &before));
    NF_MPI(MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN));
    nf_status s = split(m, world, ranks, ep);
    NF_MPI(MPI_Comm_set_errhandler(world, before));
    if (before != MPI_ERRHANDLER_NULL)
        NF_MPI(MPI_Errhandler_free(&before));
    return s;
}

/* On some node two ranks have the same GPU: they find each other by its address on the bus. */
static nf_status shared_gpu(nf_mesh *m, bool *shared)
{
    const nf_group *node = &m->group[NF_NODE];
    const struct nf_gpu_info *info = nf_device_gpu_info(m->device);
    const size_t each = sizeof info->bus;
    char *all = malloc((size_t)node->size * each);
    int64_t equal = 0;

    nf_status s = nf_agree(m, all ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the addresses of GPUs"));
    if (s == NF_OK)
        s = nf_gather_bytes(node, info->bus, each, all);
    for (int r = 0; r < node->size && s == NF_OK; r++)
        equal += r != node->rank && memcmp(all + (size_t)r * each, info->bus, each) == 0;
    free(all);
    if (s == NF_OK)
        s = nf_reduce_i64(&m->group[NF_WORLD], &equal, 1, NF_MAX);
    *shared = equal > 0;
    return s;
}

/* How collectives on device memory travel: NCCL wants a GPU a rank. */
static nf_status adopt_gpu(nf_mesh *m)
{
    const struct nf_gpu *tables = nf_device_gpu(m->device);

    if (!tables)
        return NF_OK;
    if (!tables->comm || tables->comm_bytes != sizeof *m->gpu)
        return nf_fail(NF_EDEVICE, "the GPU plug-in belongs to another build: its functions for ranks are not this program's");
    m->gpu = tables->comm;
    if (m->group[NF_WORLD].size == 1) {
        m->comm = &nf_comm_nccl; /* groups of one need its sums alone */
        return NF_OK;
    }
    NF_TRY(shared_gpu(m, &m->shares_gpu));
    m->comm = m->shares_gpu ? &nf_comm_staged : &nf_comm_nccl;
    if (!m->shares_gpu)
        NF_TRY(nf_comm_nccl_open(m));
    return nf_xpeer_probe(m);
}

nf_status nf_mesh_new(const void *mpi_comm, int ep, nf_device *device, nf_mesh **mesh)
{
    nf_mesh *m;

    NF_CHECK(device);
    NF_TRY(mesh_alloc(device, &m));
    nf_status s = mpi_comm ? split_quietly(m, *(const MPI_Comm *)mpi_comm, ep) : ep_check(1, ep);
    if (s != NF_OK) {
        nf_mesh_free(m);
        return s;
    }
    s = adopt_gpu(m);
    if (s != NF_OK) {
        nf_mesh_free(m);
        return s;
    }
    *mesh = m;
    return NF_OK;
}

nf_status nf_mesh_new_virtual(int ranks, int rank, int ep, int ranks_per_node, nf_device *dry, nf_mesh **mesh)
{
    nf_mesh *m;

    NF_CHECK(ranks >= 1 && rank >= 0 && rank < ranks && ranks_per_node >= 1);
    NF_TRY(ep_check(ranks, ep));
    NF_TRY(mesh_alloc(dry, &m));
    m->is_virtual = true;
    m->windows = ep > 1 && ep <= NF_WINDOW_RANKS && ranks_per_node % ep == 0;
    int node = rank / ranks_per_node * ranks_per_node;
    int on_node = ranks - node < ranks_per_node ? ranks - node : ranks_per_node;
    const int numbers[NF_AXES][2] = {[NF_WORLD] = {rank, ranks},
                                     [NF_EP] = {rank % ep, ep},
                                     [NF_EDP] = {rank / ep, ranks / ep},
                                     [NF_NODE] = {rank - node, on_node}};
    for (int a = 0; a < NF_AXES; a++) {
        m->group[a].rank = numbers[a][0];
        m->group[a].size = numbers[a][1];
    }
    *mesh = m;
    return NF_OK;
}

nf_status nf_mesh_new_twin(const nf_mesh *of, nf_device *dry, nf_mesh **mesh)
{
    nf_mesh *m;

    NF_TRY(mesh_alloc(dry, &m));
    m->is_virtual = true;
    m->shares_gpu = of->shares_gpu;
    m->windows = of->windows;
    for (int a = 0; a < NF_AXES; a++) {
        m->group[a].rank = of->group[a].rank;
        m->group[a].size = of->group[a].size;
    }
    *mesh = m;
    return NF_OK;
}

void nf_mesh_free(nf_mesh *mesh)
{
    if (!mesh)
        return;
    nf_comm_nccl_close(mesh);
    if (mesh->told)
        nf_device_release(mesh->device, mesh->told, sizeof *mesh->told);
    if (mesh->pinned)
        nf_device_release(mesh->device, mesh->pinned, 0);
    for (int a = NF_AXES - 1; a >= 0; a--)
        if (mesh->group[a].comm != MPI_COMM_NULL)
            MPI_Comm_free(&mesh->group[a].comm);
    nf_op_pool_free(mesh);
    free(mesh);
}

const nf_group *nf_mesh_group(const nf_mesh *mesh, enum nf_axis axis)
{
    return &mesh->group[axis];
}

int nf_group_rank(const nf_group *group)
{
    return group->rank;
}

int nf_group_size(const nf_group *group)
{
    return group->size;
}

int nf_mesh_rank(const nf_mesh *mesh)
{
    return mesh->group[NF_WORLD].rank;
}

int nf_mesh_ranks(const nf_mesh *mesh)
{
    return mesh->group[NF_WORLD].size;
}

bool nf_mesh_virtual(const nf_mesh *mesh)
{
    return mesh->is_virtual;
}

bool nf_mesh_shares_gpu(const nf_mesh *mesh)
{
    return mesh->shares_gpu;
}

const char *nf_mesh_transport(const nf_mesh *mesh)
{
    if (mesh->is_virtual)
        return "none (counted only)";
    return mesh->group[NF_WORLD].comm == MPI_COMM_NULL ? "none (one rank)" : mesh->comm->name;
}

struct nf_traffic nf_mesh_traffic(const nf_mesh *mesh)
{
    struct nf_traffic t = mesh->traffic;
    if (mesh->told) {
        t.dispatch += __atomic_load_n(&mesh->told->sent[NF_WAY_OUT], __ATOMIC_RELAXED);
        t.combine += __atomic_load_n(&mesh->told->sent[NF_WAY_BACK], __ATOMIC_RELAXED);
    }
    t.wait_seconds += nf_device_wait_seconds(mesh->device);
    return t;
}
