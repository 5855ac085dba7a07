/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_golden.c: `nemafit --golden` in one process for every ep that divides the ranks and every combination of expert back end
 * and dispatch; then recompute, chunks and windows too small for what arrives; then in bf16. A reference that must fail does.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nemafit/input.h"
#include "nemafit/log.h"
#include "nemafit/train.h"
#include "tap.h"

static const char *const fixtures[] = {"nemotron_h", "nemotron_h_grouped_router", "nemotron_h_packed"};
#define EXPERTS 8 /* divides those of all */

static nf_status golden(const char *fixture, int ranks, int rank, char **words, int n)
{
    MPI_Comm world = MPI_COMM_WORLD;
    const char *srcdir = getenv("srcdir");
    nf_input *input = NULL;
    char dir[4096];
    nf_status s;

    snprintf(dir, sizeof dir, "%s/validation/golden/%s", srcdir ? srcdir : ".", fixture);
    nf_diagnosis_clear();
    s = nf_input_defaults(words, n, &input);
    if (!s)
        s = nf_train_golden(dir, input, &world, ranks, rank);
    nf_input_free(input);
    if (s && rank == 0)
        tap_note("%s", nf_diagnosis());
    return s;
}

static void all_settings(const char *fixture, int ep, int ranks, int rank)
{
    static const char *const experts[] = {"eager", "batched", "grouped"}, *const dispatch[] = {"allgather", "alltoall"};

    for (int e = 0; e < 3; e++)
        for (int d = 0; d < 2; d++) {
            char a[64], b[64], c[64], *words[] = {a, b, c};
            snprintf(a, sizeof a, "parallel.ep=%d", ep);
            snprintf(b, sizeof b, "backend.experts='%s'", experts[e]);
            snprintf(c, sizeof c, "parallel.dispatch='%s'", dispatch[d]);
            tap_ok(golden(fixture, ranks, rank, words, 3) == NF_OK, "%s ep=%d %s %s", fixture, ep, experts[e], dispatch[d]);
        }
}

/* Further ways to compute the same. */
static void other_ways(const char *fixture, int ep, int ranks, int rank)
{
    static const char *const ways[][3] = {
        {"model.recompute='block'", "parallel.chunks=1", "parallel.recv_factor=2.0"},
        {"model.recompute='selective'", "parallel.chunks=3", "parallel.recv_factor=2.0"},
        {"model.recompute='none'", "parallel.chunks=2", "parallel.recv_factor=0.25"},
        {"model.recompute='block'", "parallel.chunks=5", "parallel.recv_factor=0.25"},
        {"backend.threads=2", "parallel.chunks=1", "parallel.recv_factor=100.0"},
    };

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char a[64], b[64], c[64], d[64], *words[] = {a, b, c, d};
        snprintf(a, sizeof a, "parallel.ep=%d", ep);
        snprintf(b, sizeof b, "%s", ways[i][0]);
        snprintf(c, sizeof c, "%s", ways[i][1]);
        snprintf(d, sizeof d, "%s", ways[i][2]);
        tap_ok(golden(fixture, ranks, rank, words, 4) == NF_OK, "%s ep=%d %s %s %s", fixture, ep, b, c, d);
    }
}

/* Held to what doc/numerics.md derives, under each scheme of AdamW's state */
static void in_bf16(const char *fixture, int ep, int ranks, int rank)
{
    static const char *const ways[][3] = {
        {"optim.state='fp32'", "model.recompute='none'", "optim.grad_dtype='auto'"},
        {"optim.state='split'", "model.recompute='block'", "optim.grad_dtype='bf16'"},
        {"optim.state='bf16'", "model.recompute='selective'", "optim.grad_dtype='fp32'"},
    };

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) { /* on several ranks one way an ep */
        char a[64], b[64], c[64], d[64], e[] = "model.dtype='bf16'", *words[] = {a, b, c, d, e};
        if (ranks > 1 && i != (size_t)ep % (sizeof ways / sizeof *ways))
            continue;
        snprintf(a, sizeof a, "parallel.ep=%d", ep);
        snprintf(b, sizeof b, "%s", ways[i][0]);
        snprintf(c, sizeof c, "%s", ways[i][1]);
        snprintf(d, sizeof d, "%s", ways[i][2]);
        tap_ok(golden(fixture, ranks, rank, words, 5) == NF_OK, "%s in bf16 ep=%d %s %s %s", fixture, ep, b, c, d);
    }
}

int main(void)
{
    char decay[] = "optim.weight_decay=0.4", beta[] = "optim.beta2=0.9";
    char *wrong[] = {decay}, *wrong2[] = {beta};
    int ranks, rank;

    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    nf_log_open(rank, ranks, NF_LOG_QUIET, stdout);
    for (size_t f = 0; f < sizeof fixtures / sizeof *fixtures; f++)
        for (int ep = 1; ep <= ranks; ep++)
            if (ranks % ep == 0 && EXPERTS % ep == 0) {
                all_settings(fixtures[f], ep, ranks, rank);
                other_ways(fixtures[f], ep, ranks, rank);
                in_bf16(fixtures[f], ep, ranks, rank);
            }
    tap_ok(golden(fixtures[0], ranks, rank, wrong, 1) == NF_EDIVERGED, "another weight decay is told from the reference");
    tap_ok(golden(fixtures[0], ranks, rank, wrong2, 1) == NF_EDIVERGED, "another beta2 is told from the reference");
    return tap_done();
}
