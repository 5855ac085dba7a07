/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share. From the bottom up:
 *
 *   crc32c, sha256                     checksums
 *   manifest, manifest_parse           the table of a snapshot <-> its text; pure
 *   image, types, rank_file, shown     HDF5 files as libhdf5 lays them out, in memory: it never touches the disk
 *   file, dir                          checked writing and reading; names, room, removal
 *   plan, staging, stream, begin, commit  writing
 *   check, open, verify, load          reading
 *   lease, list, prune                 the run directory
 */
#ifndef NEMAFIT_IO_HDF5_PRIVATE_H
#define NEMAFIT_IO_HDF5_PRIVATE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2, sync_file_range: this header comes first */
#endif

#include "nemafit/io/snapshot.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    NF_H5_BLOCK = 1 << 20, /* bytes under one checksum of `checksums`: damage is named to this grain */
    NF_H5_CHUNK = 8 << 20, /* bytes written or read at a time; whole blocks */
    NF_H5_NAME_MAX = 1024, /* of a tensor */
    NF_H5_FILE_NAME_MAX = 64
};
#define NF_H5_MANIFEST_MAX ((size_t)1 << 30)

/* ---- crc32c.c, sha256.c ----------------------------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli) of bytes behind those that gave `crc`; start with 0. */
uint32_t nf_crc32c(uint32_t crc, const void *bytes, size_t n);
uint32_t nf_crc32c_table(uint32_t crc, const void *bytes, size_t n); /* the same without the processor's instruction */

struct nf_sha256 {
    uint32_t h[8];
    uint64_t bytes;
    unsigned char block[64];
};
void nf_sha256_start(struct nf_sha256 *s);
void nf_sha256_add(struct nf_sha256 *s, const void *bytes, size_t n);
void nf_sha256_end(struct nf_sha256 *s, char hex[65]);

/* ---- manifest.c, manifest_parse.c ------------------------------------------------------------------------------------- */

struct nf_h5_tensor {
    char *field, *name;
    nf_dtype dtype;
    int nd;
    int64_t dim[3];
};
int64_t nf_h5_tensor_count(const struct nf_h5_tensor *t);

struct nf_h5_file {
    char *name;
    uint64_t size;
    uint32_t crc;
};

/* Elements [first, first + count) of a tensor, at byte `at` of a file. */
struct nf_h5_piece {
    int tensor, file;
    int64_t first, count;
    uint64_t at;
    uint32_t crc;
};

/* Files: those of the ranks first, in order; then the others. Pieces: by tensor, then by first; they tile every tensor. */
struct nf_h5_manifest {
    struct nf_snapshot_meta meta;
    char run[33]; /* names the run: drawn when its directory was made */
    int files, tensors;
    int64_t pieces;
    struct nf_h5_file *file;
    struct nf_h5_tensor *tensor;
    struct nf_h5_piece *piece;
    int64_t *piece_of; /* [tensors + 1] first piece of each tensor */
};
void nf_h5_manifest_free(struct nf_h5_manifest *m);
bool nf_h5_file_name_ok(const char *name); /* of an attachment */
nf_status nf_h5_manifest_print(const struct nf_h5_manifest *m, nf_str *text);
/*
 * From the text. `file` names it in messages. Pure: no file is touched, no byte of the text is trusted.
 * nf_h5_manifest_body: without the last line (SHA-256 of what precedes it), so that a fuzzer gets behind it.
 * Errors  local: NF_EDATA with the line; NF_ENOMEM
 */
nf_status nf_h5_manifest_parse(const char *file, const char *text, size_t n, struct nf_h5_manifest *m);
nf_status nf_h5_manifest_body(const char *file, const char *text, size_t n, struct nf_h5_manifest *m);

/* ---- image.c: a file that libhdf5 writes into memory -------------------------------------------------------------------- */

/* The bytes that were written, as pages; raw data has its place but no bytes. */
struct nf_h5_page {
    uint64_t at;
    unsigned char *bytes;
};
struct nf_h5_image {
    struct nf_h5_page *page;
    size_t pages, cap;
    uint64_t size; /* of the file */
    bool failed;   /* no memory */
};
void nf_h5_image_free(struct nf_h5_image *image);
/* Lay what was written over out[0..n), which is bytes [at, at + n) of the file. */
void nf_h5_image_lay(const struct nf_h5_image *image, uint64_t at, size_t n, unsigned char *out);

/* ---- rank_file.c, shown.c -------------------------------------------------------------------------------------------- */

/* The file of `rank`, laid out: at[i] is the place of the i-th of its pieces (those of m whose file is rank). */
nf_status nf_h5_rank_file(const struct nf_h5_manifest *m, int rank, struct nf_h5_image *image, uint64_t *at);
/* snapshot.h5: each tensor whole, as virtual datasets over the ranks' files. */
nf_status nf_h5_shown(const struct nf_h5_manifest *m, struct nf_h5_image *image);

/* ---- file.c, dir.c ----------------------------------------------------------------------------------------------------- */

/* A failed operation, told later by the thread that may speak. err 0: none. */
struct nf_h5_fault {
    int err;
    const char *what;
    uint64_t at;
};
/* The diagnosis of a fault: path, what, errno; for a full disk the bytes needed and free. */
NF_COLD nf_status nf_h5_fail(const struct nf_h5_fault *fault, const char *path, uint64_t need);
int nf_h5_pwrite(int fd, const void *bytes, size_t n, uint64_t at); /* 0 or errno */
int nf_h5_pread(int fd, void *bytes, size_t n, uint64_t at);        /* 0, errno, or -1: the file ends before */
/* A small file: create, write, fsync, read back from the disk, compare. */
nf_status nf_h5_put(const char *dir, const char *name, const void *bytes, size_t n, uint32_t *crc);
/* Open a regular file for reading. */
nf_status nf_h5_open(const char *path, int *fd, uint64_t *size);

nf_status nf_h5_remove_dir(const char *path); /* a directory of ours: files only; a missing one is fine */
void nf_h5_rank_name(char out[NF_H5_FILE_NAME_MAX], int rank);
nf_status nf_h5_move_away(const char *path); /* a committed snapshot gives up its name and goes */
#define NF_H5_ASIDE ".old.tmp"               /* behind the name of one that was put aside */
/* MANIFEST right, every file there with its size: cheap, and all that a kill or a full disk could have spoiled. */
bool nf_h5_looks_whole(const char *path);
bool nf_h5_is_temporary(const char *name); /* step-*.tmp, and of the run's small files */

/* ---- lease.c -------------------------------------------------------------------------------------------------------- */

struct nf_lease {
    char *dir;
    char run[33];
    int64_t generation;
    int fd; /* -1: not rank 0 */
};

/* ---- plan.c: who writes what --------------------------------------------------------------------------------------------- */

/* A manifest without offsets and checksums: tensors, and pieces whose file is their rank. source[t]: number of tensor t in the
 * fields strung together. Collective. */
struct nf_h5_plan {
    struct nf_h5_manifest m;
    int *source;
};
nf_status nf_h5_plan_make(const nf_mesh *mesh, const struct nf_snapshot_field *field, int fields, struct nf_h5_plan *plan);
void nf_h5_plan_free(struct nf_h5_plan *plan);
const nf_named *nf_h5_named(const struct nf_snapshot_field *field, int fields, int source, nf_dtype *dtype);

/* ---- staging.c: what writing takes beside the state -------------------------------------------------------------------- */

struct nf_snapshot_staging {
    nf_device *device;
    nf_queue *queue;     /* for copies out of the device */
    unsigned char *copy; /* pinned; NULL: none */
    uint64_t copy_bytes;
    unsigned char *chunk; /* [NF_H5_CHUNK] pinned */
    bool taken;           /* by a snapshot under way */
};

/* ---- stream.c: one rank's file on its way to the disk ----------------------------------------------------------------------
 */

struct nf_h5_part {
    uint64_t at, bytes;
    const void *data;
    int64_t piece; /* the how many-th of this rank's pieces it is */
    uint32_t crc;
};
struct nf_h5_stream {
    char *path;
    const struct nf_snapshot_watch *watch;
    struct nf_h5_image image;
    struct nf_h5_part *part; /* by place */
    int64_t parts;
    nf_queue *queue;      /* for `data` */
    unsigned char *copy;  /* the whole file as it will be; NULL: chunk by chunk from `data` */
    unsigned char *chunk; /* both of the staging */
    uint32_t *block;      /* [blocks] checksums */
    int64_t blocks;
    uint32_t crc;
    struct nf_h5_fault fault;
    nf_status status; /* of a copy out of the device */
    double seconds_write, seconds_verify;
};
/* Bytes [at, at + n) of the file to out: what is not of a tensor now, the rest enqueued. */
nf_status nf_h5_stream_gather(struct nf_h5_stream *s, uint64_t at, size_t n, unsigned char *out);
/* Create, write, fsync, read back. Leaves fault or status. With a copy it calls neither MPI nor HDF5 nor the queue. */
void nf_h5_stream_run(struct nf_h5_stream *s);

/* ---- begin.c, commit.c --------------------------------------------------------------------------------------------------- */

struct nf_snapshot {
    const nf_mesh *mesh;
    const nf_lease *lease;
    nf_device *device;
    struct nf_h5_plan plan;
    char *target, *temporary;
    struct nf_snapshot_attachment *attachment; /* rank 0: copies */
    int attachments;
    struct nf_h5_stream stream;
    nf_snapshot_staging *staging, *own_staging; /* own: nobody gave one */
    nf_event copied;
    bool started, joined, over; /* a thread runs; it has ended; committed or given up */
    pthread_t thread;
    atomic_bool written;
    struct nf_snapshot_cost cost;
    double begin;
};
/* All files are on the disk: gather, write what is rank 0's, commit. Collective. */
nf_status nf_h5_commit(nf_snapshot *s);

/* ---- check.c, open.c, load.c ------------------------------------------------------------------------------------------------
 */

struct nf_snapshot_reader {
    char *path;
    struct nf_h5_manifest m;
    uint32_t **block; /* [ranks] checksums of blocks, in block_all */
    uint32_t *block_all;
    char **attached; /* [files] bytes of attachments, NUL behind */
    struct nf_snapshot_watch watch;
    int file, fd; /* the rank file that is open; -1 */
    unsigned char *chunk;
    uint64_t chunk_at, chunk_n; /* what lies in it, of `file` */
    nf_queue *reads_chunk;      /* has copies out of it that may not be over; NULL: none */
};
static inline int64_t nf_h5_blocks(uint64_t size)
{
    return (int64_t)((size + NF_H5_BLOCK - 1) / NF_H5_BLOCK);
}
/* The MANIFEST of a snapshot's directory, held to the directory's name. Local. */
nf_status nf_h5_manifest_read(const char *path, struct nf_h5_manifest *m, char **text, size_t *n);
/* MANIFEST and small files, known to all ranks; rank files are not looked at yet. Collective. */
nf_status nf_h5_open_tables(const nf_mesh *mesh, const char *path, nf_snapshot_reader **reader);
/* Every byte of file f; what is wrong is the diagnosis. Local. */
nf_status nf_h5_check_file(nf_snapshot_reader *r, int f);
/* Damage at bytes [at, at + n) of file f: names the tensor and the MiB. */
NF_COLD nf_status nf_h5_damaged(const nf_snapshot_reader *r, int f, uint64_t at, uint64_t n, const char *what);

#endif
