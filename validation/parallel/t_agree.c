/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agreement: whoever fails, all ranks end with the same status and the same words, those of the lowest rank that failed. And
 * nf_same finds the rank that differs, in bytes or in length.
 */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"
#include "world.h"

static const nf_status kinds[] = {NF_EIO, NF_ENOMEM, NF_EMISSING, NF_EDATA};

/* Ranks in the mask fail, each in its own way. */
static bool agreed(const nf_mesh *mesh, unsigned mask)
{
    int rank = nf_mesh_rank(mesh), first = 0;
    char wanted[128];
    nf_status mine = NF_OK;

    nf_diagnosis_clear();
    if (mask >> rank & 1)
        mine = nf_fail(kinds[rank % 4], "part %d is broken\n  Hint: mend it", rank);
    nf_status s = nf_agree(mesh, mine);
    if (mask == 0)
        return s == NF_OK && !*nf_diagnosis();
    while (!(mask >> first & 1))
        first++;
    if (first == 0)
        snprintf(wanted, sizeof wanted, "part 0 is broken\n  Hint: mend it");
    else
        snprintf(wanted, sizeof wanted, "rank %d: part %d is broken\n  Hint: mend it", first, first);
    return s == kinds[first % 4] && strcmp(nf_diagnosis(), wanted) == 0 && nf_diagnosis_status() == s;
}

static void same(const nf_mesh *mesh, int rank, int ranks)
{
    static unsigned char bytes[10000];
    const size_t n = sizeof bytes;
    char wanted[128];

    nf_diagnosis_clear();
    tap_ok(nf_same(mesh, bytes, n, "the table") == NF_OK && nf_same(mesh, bytes, 0, "nothing") == NF_OK,
           "equal bytes are the same");
    for (int odd = 1; odd < ranks; odd++) {
        bytes[n - 1] = rank == odd;
        nf_status s = nf_same(mesh, bytes, n, "the table");
        snprintf(wanted, sizeof wanted, "the table: rank %d differs from rank 0", odd);
        tap_ok(s == NF_EDIVERGED && strcmp(nf_diagnosis(), wanted) == 0, "rank %d differs in the last byte", odd);
        nf_diagnosis_clear();
        bytes[n - 1] = 0;
        s = nf_same(mesh, bytes, rank >= odd ? n - 1 : n, "the table");
        snprintf(wanted, sizeof wanted, "the table: rank %d differs from rank 0 in length", odd);
        tap_ok(s == NF_EDIVERGED && strcmp(nf_diagnosis(), wanted) == 0, "rank %d differs in length", odd);
        nf_diagnosis_clear();
    }
}

int main(void)
{
    MPI_Comm world = MPI_COMM_WORLD;
    nf_mesh *mesh;

    tap_open_mpi();
    struct world w = world_open(1 << 20);
    need(nf_mesh_new(&world, 1, w.device, &mesh));
    int rank = nf_mesh_rank(mesh), ranks = nf_mesh_ranks(mesh);
    for (unsigned mask = 0; mask < 1u << ranks; mask++)
        tap_ok(agreed(mesh, mask), "ranks failing: mask %#x", mask);
    nf_diagnosis_clear();
    bool silent = rank == ranks - 1;
    tap_ok(nf_agree(mesh, silent ? NF_EPERM : NF_OK) == NF_EPERM, "a failure without words still ends all");
    same(mesh, rank, ranks);
    nf_mesh_free(mesh);
    world_close(&w);
    return tap_done();
}
