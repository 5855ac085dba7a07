/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h: the state of a run on disk, so that it can go on from there on any number of ranks.
 *
 * A run directory holds run.lock (the lease) and committed snapshots:
 *
 *     step-00000100/   rank-00000.h5 ...   1-D pieces of the logical tensors, serial HDF5, contiguous, one file a rank
 *                      snapshot.h5         virtual datasets that show each logical tensor whole (/weights/NAME ...)
 *                      input.used.nml ...  attachments
 *                      MANIFEST            every file with size and CRC32C, every piece with place and CRC32C, SHA-256 of
 * itself
 *
 * Everything is written in step-00000100.g3.tmp/ (3: the generation of the lease), brought to the disk, read back, and one
 * rename commits. Valid is what its MANIFEST says it is: there is no pointer file and no marker. What a reader uses it has held
 * to the MANIFEST first; libhdf5 is never given a file that was not.
 *
 * HDF5 and MPI are called by the calling thread only; a snapshot written behind the run has one thread that only writes,
 * fsyncs and reads back.
 */
#ifndef NEMAFIT_IO_SNAPSHOT_H
#define NEMAFIT_IO_SNAPSHOT_H

#include "nemafit/mesh.h"
#include "nemafit/str.h"
#include "nemafit/tensor.h"

#define NF_SNAPSHOT_FORMAT 1 /* of the MANIFEST; a reader refuses others */

/* ---- the lease: one run at a time in a run directory ------------------------------------------------------------- */

/*
 * nf_lease_take: make `dir` if it is not there, lock dir/run.lock, count its generation up, and remove what earlier generations
 * left unfinished (step-*.tmp). While another process holds the lock, it waits up to `seconds` (usual: 30), with a line saying
 * so. A file system without locks gets a warning, and the generation alone guards then. Collective  world Memory      the lease
 * is malloc'd and holds an open file on rank 0; nf_lease_drop() (not collective; NULL allowed) Errors      agreed: NF_EEXISTS
 * (held, with who holds it), NF_EPERM, NF_EIO, NF_EDATA (run.lock is not ours), NF_ENOMEM
 */
typedef struct nf_lease nf_lease;
nf_status nf_lease_take(const nf_mesh *mesh, const char *dir, double seconds, nf_lease **lease);
void nf_lease_drop(nf_lease *lease);
const char *nf_lease_dir(const nf_lease *lease);
int64_t nf_lease_generation(const nf_lease *lease);
/* Is it still ours? NF_EEXISTS once a later generation has the directory. Rank 0 looks, the others know nothing: not
 * collective. */
nf_status nf_lease_check(const nf_lease *lease);

/* Who wants to know that work goes on (a watchdog): told of bytes written and bytes read, from whichever thread did it. */
struct nf_snapshot_watch {
    void (*moved)(void *ctx, int64_t bytes);
    void *ctx;
};

/* ---- what a snapshot holds --------------------------------------------------------------------------------------- */

/* Where the run stood. Plain data, the same on every rank. */
struct nf_snapshot_meta {
    int64_t step;      /* optimizer steps done; names the directory */
    int64_t row;       /* rows of the data drawn so far: the cursor */
    int64_t updates;   /* of them, updates applied: AdamW's t */
    int64_t skipped;   /* steps skipped in a row, up to now */
    int64_t best_step; /* of the smallest validation loss so far; -1: none yet */
    double best_loss;  /* any bits, NaN too, come back as they were */
    double last_loss;  /* the last validation loss, or NaN */
    uint64_t train_seed, data_seed;
    int64_t csv_bytes, jsonl_bytes; /* length of log.csv and log.jsonl that belongs to the steps done; -1: no such file */
    double seconds;                 /* wall-clock time that the run spent on these steps */
    bool finished;                  /* the run had all its steps */
    char model[65], data[65]; /* fingerprints (hexadecimal digits, up to 64) of the model's configuration and of the data */
    /* Set by the writer, whatever is given: */
    int64_t generation;
    int format, ranks, ep;
    char program[64]; /* "nemafit 0.1" */
};

/* A whole small file beside the tensors: "input.used.nml", "algorithms" ... Name: letters, digits, '.', '_', '-'; at most 64.
 */
struct nf_snapshot_attachment {
    const char *name;
    const void *bytes;
    size_t n;
};

/* Which tensors of a field must be there. */
enum nf_snapshot_want {
    NF_WANT_ALL,     /* weights */
    NF_WANT_TRAINED, /* moments: all but frozen ones and buffers */
    NF_WANT_HELD     /* remainders: those that some rank holds */
};

/*
 * One kind of state: an array of named tensors, the same list in the same order on every rank, of each the piece that lies
 * here. data NULL or count 0: nothing of it lies here. Names of fields are "weights", "remainder", "m", "v"; the tensor's
 * logical shape is that of its desc, its element type dtype[i] (dtype NULL: that of its desc).
 */
struct nf_snapshot_field {
    const char *name;
    const nf_named *named;
    int n;
    const nf_dtype *dtype;
    enum nf_snapshot_want want;
};

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/*
 * nf_snapshot_staging_new: what writing takes beside the state, for all snapshots of a run, one at a time: some MiB of pinned
 * host memory, a queue of its own for copies out of the device, and, with async, a copy of this rank's file (rank_bytes of
 * nf_snapshot_size()) in pinned host memory. Without room for the copies of all ranks of a node nobody has one: snapshots are
 * synchronous then, said by a note.
 * Collective  world      Memory  nf_snapshot_staging_free() (local; NULL allowed), when no snapshot uses it any more
 * Errors      agreed: NF_ENOMEM, NF_EDEVICE
 */
typedef struct nf_snapshot_staging nf_snapshot_staging;
nf_status nf_snapshot_staging_new(const nf_mesh *mesh, nf_device *device, uint64_t rank_bytes, bool async,
                                  nf_snapshot_staging **staging);
uint64_t nf_snapshot_staging_bytes(const nf_snapshot_staging *staging); /* of host memory, on this rank */
void nf_snapshot_staging_free(nf_snapshot_staging *staging);

struct nf_snapshot_arg {
    const nf_mesh *mesh;
    const nf_lease *lease;
    const struct nf_snapshot_meta *meta;
    const struct nf_snapshot_field *field;
    int fields;
    const struct nf_snapshot_attachment *attachment; /* rank 0's count */
    int attachments;
    nf_queue *queue;              /* on which the state is ready */
    bool async;                   /* copy to host memory now, write behind; without a copy in the staging it is synchronous */
    nf_snapshot_staging *staging; /* NULL: one for this snapshot alone */
    const struct nf_snapshot_watch *watch; /* NULL: nobody */
};
typedef struct nf_snapshot nf_snapshot;

/*
 * nf_snapshot_begin: plan who writes what (every element of every tensor exactly once; what several ranks hold is shared out
 * between them), check the room on the disk, make the temporary. async: copies are enqueued and a thread writes once they are
 * there; else all is written on return. meta, fields and attachments are copied or not needed after the return; the tensors'
 * data must not change before nf_snapshot_copied() has happened.
 * Collective  world      Memory  nf_snapshot_free()
 * Errors      agreed: NF_EIO (path, what failed, errno; bytes needed and free), NF_EEXISTS (the lease is lost), NF_EPERM,
 *             NF_ENOMEM, NF_EBUG (elements held by no rank, or not as desc says). Nothing of a failed snapshot stays behind.
 */
nf_status nf_snapshot_begin(const struct nf_snapshot_arg *arg, nf_snapshot **snapshot);
nf_event nf_snapshot_copied(const nf_snapshot *snapshot); /* later work of the queue that changes the state waits for this */
/*
 * nf_snapshot_poll: at step boundaries: where all ranks have written and read back their files, gather, write the MANIFEST and
 * commit. block: wait for it. *committed: it has its name; then, or after an error, only nf_snapshot_free() is left to do.
 * Collective  world      Errors  agreed, as of begin: the previous snapshots are untouched
 */
nf_status nf_snapshot_poll(nf_snapshot *snapshot, bool block, bool *committed);
/* Joins the thread; what is not committed is removed. NULL allowed. Not collective. */
void nf_snapshot_free(nf_snapshot *snapshot);
/* begin, poll and free at once. */
nf_status nf_snapshot_take(const struct nf_snapshot_arg *arg);

struct nf_snapshot_cost {
    uint64_t bytes;                                /* of the snapshot, all ranks */
    uint64_t rank_bytes;                           /* of this rank's file: what an asynchronous copy takes in host memory */
    double seconds_write, seconds_verify, seconds; /* of this rank: pwrite and fsync; reading back; from begin to commit */
};
struct nf_snapshot_cost nf_snapshot_cost(const nf_snapshot *snapshot);
/* What a snapshot of these fields will take on disk, before any is taken (within 1 %). Collective world. Errors as begin's
 * plan. */
nf_status nf_snapshot_size(const struct nf_snapshot_arg *arg, struct nf_snapshot_cost *cost);
/* Bytes that this user may still write below dir (which may not exist yet: the nearest parent that does counts). Local. */
nf_status nf_snapshot_room(const char *dir, uint64_t *bytes);

/* ---- finding ----------------------------------------------------------------------------------------------------- */

/* Names of committed snapshots of a run directory, newest first: paths, malloc'd; nf_snapshot_list_free(). A directory that is
 * not there has none. Local; rank 0 usually. */
struct nf_snapshot_place {
    int64_t step;
    char *path;
};
struct nf_snapshot_list {
    int count;
    struct nf_snapshot_place *place;
};
nf_status nf_snapshot_list(const char *dir, struct nf_snapshot_list *list);
void nf_snapshot_list_free(struct nf_snapshot_list *list);

/*
 * nf_snapshot_prune: remove committed snapshots, oldest first, until `keep` (>= 1) are left, not counting the one of step
 * `pinned` (-1: none), which stays. Only those whose MANIFEST and file sizes are right count; the newest of them always stays;
 * damaged ones are left for people to look at and do not count. Rank 0 works. One that cannot be removed is a warning, since
 * the newest stands: it is still whole or is named *.tmp. Collective  world      Errors  agreed: NF_EEXISTS (the lease is
 * another's); NF_EIO, NF_EPERM: the directory cannot be read
 */
nf_status nf_snapshot_prune(const nf_mesh *mesh, const nf_lease *lease, int64_t keep, int64_t pinned);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/*
 * nf_snapshot_open: MANIFEST, then every byte of every file against it, shared out over the ranks: afterwards the snapshot is
 * known to be whole. Damage is named by file, tensor and MiB. watch may be NULL.
 * Collective  world      Memory  nf_snapshot_close()
 * Errors      agreed: NF_EMISSING (no such directory, or no MANIFEST), NF_EDATA (damaged, or of another format), NF_EIO,
 * NF_ENOMEM
 */
typedef struct nf_snapshot_reader nf_snapshot_reader;
nf_status nf_snapshot_open(const nf_mesh *mesh, const char *path, const struct nf_snapshot_watch *watch,
                           nf_snapshot_reader **reader);
/*
 * nf_snapshot_open_latest: the newest valid snapshot of a run directory; each that is damaged is told once, by a warning, and
 * passed over. *reader NULL: there is none at all (begin anew). If there are some and none is valid: NF_EDATA.
 */
nf_status nf_snapshot_open_latest(const nf_mesh *mesh, const char *dir, const struct nf_snapshot_watch *watch,
                                  nf_snapshot_reader **reader);
void nf_snapshot_close(nf_snapshot_reader *reader);
const char *nf_snapshot_path(const nf_snapshot_reader *reader);
const struct nf_snapshot_meta *nf_snapshot_meta(const nf_snapshot_reader *reader);
/* An attachment, whole, the same on every rank; borrowed, with a NUL behind it. false: there is none of that name. */
bool nf_snapshot_attached(const nf_snapshot_reader *reader, const char *name, const void **bytes, size_t *n);

/*
 * nf_snapshot_load: fill the pieces of these fields, whatever mesh wrote them. Each field must have just the tensors that
 * `want` names, with the same shapes and types; fields of the snapshot that are not asked for are left alone. Where data is
 * NULL names, shapes and types are compared, and nothing is read. Collective  world      Errors  agreed: NF_EDATA (tensor
 * missing, unexpected, of another shape or type: by name), NF_EIO
 */
nf_status nf_snapshot_load(nf_snapshot_reader *reader, const nf_mesh *mesh, const struct nf_snapshot_field *field, int fields,
                           nf_queue *queue);

/* One tensor at a time, without a mesh: number of a tensor (-1: none), what it is, and elements [first, first + count) of it to
 * host memory, held to the checksums again. Errors  local: NF_EDATA, NF_EIO */
struct nf_snapshot_tensor {
    const char *field, *name;
    nf_dtype dtype;
    int nd;
    int64_t dim[3];
};
int nf_snapshot_tensors(const nf_snapshot_reader *reader);
struct nf_snapshot_tensor nf_snapshot_tensor(const nf_snapshot_reader *reader, int tensor);
int nf_snapshot_find(const nf_snapshot_reader *reader, const char *field, const char *name);
nf_status nf_snapshot_get(nf_snapshot_reader *reader, int tensor, int64_t first, int64_t count, void *out);

/*
 * nf_snapshot_verify: as nf_snapshot_open, but looks at everything to the end: one line a file on rank 0's log, damaged ones
 * with what is wrong. NF_OK: it is whole. Collective  world      Errors  agreed: NF_EDATA (how many files are damaged),
 * NF_EMISSING, NF_EIO
 */
nf_status nf_snapshot_verify(const nf_mesh *mesh, const char *path);

#endif
