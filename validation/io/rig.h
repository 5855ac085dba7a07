/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h: the toy model on the ranks of a mesh: pieces of it in memory, its checkpoint on disk, and comparisons of the two.
 */
#ifndef NEMAFIT_VALIDATION_IO_RIG_H
#define NEMAFIT_VALIDATION_IO_RIG_H

#include "toy.h"

#include <mpi.h>

enum { RIG_PIECES_MAX = 2 * TOY_PARAMS };

struct rig {
    MPI_Comm world;
    int rank, ranks, ep;
    nf_device *device;
    nf_mesh *mesh;
    nf_queue *queue;
    struct toy toy;
    nf_named named[RIG_PIECES_MAX];
    int n;
    char base[256], source[300], target[310];
};

/* The folder, on all ranks; a mesh for each ep. */
bool rig_open(struct rig *r, const char *name);
bool rig_mesh(struct rig *r);
void rig_mesh_free(struct rig *r);
void rig_close(struct rig *r);

/* Pieces of this rank; split: every parameter in uneven 1-D parts over its group, as under full sharding. */
bool rig_take_memory(struct rig *r, bool split);
void rig_give_memory(struct rig *r);
bool rig_memory_right(const struct rig *r, bool spare); /* is what was loaded what the toy has? */

/* A safetensors file as bytes and entries. */
struct rig_file {
    char *bytes;
    size_t n;
    struct nf_st_entry *entry;
    int64_t count;
};
extern const char *const rig_file_name[4]; /* the single one, then the shards */
bool rig_open_file(struct rig_file *o, const char *path);
void rig_close_file(struct rig_file *o);
/* Source and target hold the same tensors under their published names, byte for byte, in the same order if the source is
 * aligned. */
bool rig_same_files(const struct rig *r, const struct toy_how *how);
bool rig_right_rest(const struct rig *r); /* carried files, modes, nothing temporary */

bool rig_write_source(struct rig *r, const struct toy_how *how);
nf_status rig_load(struct rig *r, nf_st **st); /* open, check, read */
nf_status rig_export(struct rig *r, nf_st *st, int dtype, double shard_gb);
void rig_barrier(const struct rig *r);

#endif
