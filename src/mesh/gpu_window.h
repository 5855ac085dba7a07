/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_window.h: the token exchange through windows, as program and plug-in share it. A window block is one piece of device
 * memory a rank, laid out alike on all ranks of ep; each rank sees the blocks of all (CUDA IPC) and writes what it sends
 * straight into them. doc/parallelism.md tells the protocol.
 *
 * Who writes what in the block of rank r:
 *
 *     ready[way][slot][s]        rank s: its own window (or home) `slot` may be written into from now on
 *     counted[s]                 rank s: its row of the matrix of counts is here
 *     arrived[way][slot][s][b]   rank s: all that its block of threads b sends has been written
 *     counts[parity][s]          rank s: tokens and expert rows for each chunk and rank
 *     rows side ids [slot]       rank s: its part of a slice, behind those of lower ranks
 *     home rows, side [slot]     rank d: partial rows, to where their tokens' list for d begins
 *     epoch, turns, sent, tiles  rank r itself
 *
 * Flags hold epochs that only grow. What one says is written before it (release at system scope), and read after it (acquire).
 */
#ifndef NEMAFIT_MESH_GPU_WINDOW_H
#define NEMAFIT_MESH_GPU_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define NF_BOTH static inline __host__ __device__
#else
#define NF_BOTH static inline
#endif

enum {
    NF_WINDOW_RANKS = 32,  /* of ep, at most: a token's ranks are bits of a word, one lane a rank */
    NF_WINDOW_BLOCKS = 16, /* of threads: fills NVLink, and leaves the other multiprocessors to the experts */
    NF_WINDOW_TILE = 512   /* tokens counted by a block at once, a thread each */
};
enum nf_window_way { NF_WAY_OUT, NF_WAY_BACK };

struct nf_window_control {
    uint64_t ready[2][2][NF_WINDOW_RANKS];
    uint64_t counted[NF_WINDOW_RANKS];
    uint64_t arrived[2][2][NF_WINDOW_RANKS][NF_WINDOW_BLOCKS];
    uint64_t epoch[2][2], counts_epoch; /* done */
    uint64_t sent[2];                   /* bytes to other ranks, by way */
    uint32_t turns;                     /* of blocks through barriers of the grid */
};

/* Why a kernel waits: what `waiting` and `expired` below are made of. */
enum nf_window_wait { NF_WAIT_NONE, NF_WAIT_COUNTS, NF_WAIT_READY, NF_WAIT_ARRIVED };
NF_BOTH uint64_t nf_wait_pack(int way, int why, int peer, uint64_t number)
{
    return number << 16 | (uint64_t)way << 12 | (uint64_t)why << 8 | (uint64_t)peer;
}
NF_BOTH int nf_wait_peer(uint64_t word) /* rank of ep */
{
    return (int)(word & 0xff);
}
NF_BOTH enum nf_window_wait nf_wait_why(uint64_t word)
{
    return (enum nf_window_wait)(word >> 8 & 0xf);
}
NF_BOTH enum nf_window_way nf_wait_way(uint64_t word)
{
    return (enum nf_window_way)(word >> 12 & 0xf);
}
NF_BOTH uint64_t nf_wait_number(uint64_t word)
{
    return word >> 16;
}

/* Pinned memory of the host that kernels write: what the host may look at any time. */
struct nf_window_told {
    uint64_t waiting; /* a kernel has waited for more than a second; 0: none does */
    uint64_t expired; /* a wait was given up: the device has stopped for good */
    uint64_t sent[2];
};

/* Constant while an exchange lives. Offsets count from the beginning of a block. */
struct nf_gpu_windows {
    int ranks, rank;
    char *block[NF_WINDOW_RANKS]; /* as this process sees them; its own is the memory itself */
    size_t control, counts[2], tiles;
    size_t rows[2], side[2], ids[2], count[2];
    size_t home_rows[2], home_side[2];
    struct nf_window_told *told;
    int32_t *overflow; /* set to 1 once slices did not hold everything, to 2 or 3 if an expert's number was none */
};

/* A slice on its way out, or a chunk's partial rows on their way back. */
struct nf_gpu_trip {
    int slot, chunk, chunks; /* slot: which window or home of two */
    int k, local, slots;     /* local: experts of a rank; slots: of `where`, a token */
    bool count;              /* first count all chunks: fills where and table */
    int64_t tokens, chunk_tokens, row_cap, expert_cap;
    const int32_t *ids; /* [tokens, k] */
    int32_t *where;     /* [tokens, slots] */
    int32_t *table;     /* [chunks][nf_window_table(ranks)] */
    const void *rows;   /* out: of the chunk's tokens, `stride` bytes apart; back: [row_cap], dense */
    size_t stride, row; /* bytes */
    const float *side;  /* [., k] likewise, or NULL */
    uint64_t number;    /* of the call, for people */
    double limit;       /* seconds that a wait may last */
};

/*
 * A chunk's numbers in a plan: where this rank's rows to each rank begin in its own list (and end), and among that rank's
 * received rows; where the rows of each rank begin among those received here (and end), and where the list that they come from
 * has them.
 */
NF_BOTH int nf_window_table(int ranks)
{
    return 4 * ranks + 2;
}
NF_BOTH int nf_window_list(int ranks, int d)
{
    (void)ranks;
    return d;
}
NF_BOTH int nf_window_begin(int ranks, int s)
{
    return ranks + 1 + s;
}
NF_BOTH int nf_window_at(int ranks, int d)
{
    return 2 * ranks + 2 + d;
}
NF_BOTH int nf_window_home(int ranks, int s)
{
    return 3 * ranks + 2 + s;
}

NF_BOTH int64_t nf_window_tiles(int64_t chunk_tokens, int chunks) /* of NF_WINDOW_TILE tokens */
{
    return (chunk_tokens + NF_WINDOW_TILE - 1) / NF_WINDOW_TILE * chunks;
}

#endif
