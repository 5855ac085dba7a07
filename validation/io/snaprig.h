/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snaprig.h: a state whose every element says where it belongs, on the ranks of any mesh, for the tests of snapshots.
 */
#ifndef NEMAFIT_VALIDATION_IO_SNAPRIG_H
#define NEMAFIT_VALIDATION_IO_SNAPRIG_H

#include "nemafit/io/snapshot.h"

#include <mpi.h>

enum { SNAP_PARAMS = 9, SNAP_FIELDS = 4 };

/* A mesh over the first `ranks` of the world; the others have mesh NULL and take no part. */
struct snaprig {
    MPI_Comm comm;
    int ranks, ep;
    nf_device *device;
    nf_mesh *mesh;
    nf_queue *queue;
    nf_param_desc desc[SNAP_PARAMS];
    nf_named named[SNAP_FIELDS][SNAP_PARAMS];
    nf_dtype dtype[SNAP_FIELDS][SNAP_PARAMS];
    struct nf_snapshot_field field[SNAP_FIELDS];
};
/* ragged: pieces of uneven length, as under full sharding. Ends the program if it cannot be had. */
struct snaprig snaprig_open(int ranks, int ep, bool ragged);
/* The same with an embedding of few rows, so that a snapshot takes 200 KB instead of 10 MB. */
struct snaprig snaprig_open_small(int ranks);
void snaprig_close(struct snaprig *s);
void snaprig_fill(struct snaprig *s, int version); /* element values, different in every bit for every version */
void snaprig_clear(struct snaprig *s);
int64_t snaprig_wrong(const struct snaprig *s, int version); /* elements that are not as filled */
/* What element i of a parameter's field is filled with: as many of its bytes as the type has. */
uint64_t snaprig_value(int version, int f, int p, int64_t i);

struct nf_snapshot_meta snaprig_meta(int64_t step);
/* Take a snapshot of the state as version `step`. */
nf_status snaprig_take(struct snaprig *s, const nf_lease *lease, int64_t step, bool async);

/* The folder of a test below the build, empty, the same on all ranks. */
void snaprig_dir(const char *name, char out[256]);
void snaprig_remove(const char *dir); /* at the end; kept if NF_KEEP is set */
/* Change bytes of a file: xor with `mask` at byte `at`; negative: from its end. */
void snaprig_flip(const char *dir, const char *file, long at, unsigned char mask);

#endif
