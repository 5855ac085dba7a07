/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io/safetensors.h: read and write Hugging Face checkpoint directories. Rank 0 parses and checks all headers and broadcasts one
 * table; each rank preads (never maps) only the bytes it owns. Ranks write their own byte ranges of the same shard files.
 *
 * Layout of a file: 8 bytes little-endian header length N, N bytes JSON {name: {dtype, shape, data_offsets}}, then the data,
 * row-major, without holes.
 */
#ifndef NEMAFIT_IO_SAFETENSORS_H
#define NEMAFIT_IO_SAFETENSORS_H

#include "nemafit/mesh.h"
#include "nemafit/tensor.h"

/* What a header says of one tensor. */
struct nf_st_entry {
    char *name;
    char dtype[12]; /* as written: "BF16", "F8_E4M3", ... */
    int nd;
    int64_t dim[8];
    int file;              /* index of the shard */
    uint64_t begin, bytes; /* absolute in the file */
};

/*
 * nf_st_header_parse: the pure reader, for fuzzing: `bytes` is the header's JSON, file_size the whole file's. Every condition
 * of the format is checked (ST-002 ...): duplicates, types, overflow, order, overlaps, holes, trailing bytes. Entries come in
 * the order of their bytes.
 * Errors  same: NF_EDATA "<file>: ST-0NN tensor '<name>': ..."
 */
nf_status nf_st_header_parse(const char *file, const char *bytes, size_t n, uint64_t file_size, struct nf_st_entry **entries,
                             int64_t *count);
void nf_st_entries_free(struct nf_st_entry *entries, int64_t count);

/* An opened checkpoint: the table of all tensors of all shards, the same on every rank. */
typedef struct nf_st nf_st;
/*
 * nf_st_open: dir with model.safetensors or model.safetensors.index.json and its shards.
 * Collective  world      Errors  agreed: NF_EMISSING, NF_EDATA, NF_EPERM, NF_EIO
 */
nf_status nf_st_open(const nf_mesh *mesh, const char *dir, nf_st **st);
/* The same for one file, whatever its name; nf_st_dir is then the directory it lies in. */
nf_status nf_st_open_file(const nf_mesh *mesh, const char *path, nf_st **st);
void nf_st_free(nf_st *st);
const char *nf_st_dir(const nf_st *st);
int64_t nf_st_count(const nf_st *st);
const struct nf_st_entry *nf_st_entry(const nf_st *st, int64_t i);
const struct nf_st_entry *nf_st_find(const nf_st *st, const char *name); /* by name as found on disk */

/*
 * nf_st_check: hold the checkpoint to the family's map: every tensor of the map there once with its shape and a dtype that can
 * be read (F32, BF16, F16), nothing else but pass-through names. All faults are told at once (MD-01 ...). Not strict: unknown
 * tensors are a warning, and pass through.
 * Not collective: all ranks reach the same verdict.      Errors  same: NF_EDATA, NF_EMODEL (FP8)
 */
nf_status nf_st_check(const nf_st *st, const nf_weight_map *map, const nf_param_desc *desc, int params, bool strict);

/*
 * nf_st_read: fill named[0..n) (each a contiguous piece of its logical tensor) from disk, widening or rounding to desc->dtype.
 * Every destination element is written exactly once; that is counted and checked. Dense tensors are read once a node and
 * passed on. An optional tensor that is absent gives zeros. Values that are not finite, or would not be in desc->dtype, are
 * refused with tensor and index (ST-027). With the fp32 value of a bf16 weight its remainder or master is filled too.
 * Collective  world      Errors  agreed: NF_EDATA, NF_EIO, NF_ENONFINITE
 */
nf_status nf_st_read(const nf_st *st, const nf_mesh *mesh, const nf_weight_map *map, const nf_param_desc *desc,
                     const nf_named *named, int n, nf_queue *queue);

/*
 * nf_st_write: the checkpoint directory `dir`, from the pieces on all ranks: tensors of the map under the map's names, pass-
 * through tensors copied byte for byte from `source`, the other files of source_dir (no weights, no folders) carried over.
 * Wider types than bf16 get a weight's fp32 value where it is known (nf_named: low, master).
 * dtype: NF_AUTO (-1) keeps the source's, else an nf_dtype; a buffer (e_score_correction_bias) is never narrowed. Without
 * source (random init): desc dtype, config.json from source_dir. Written in `dir.tmp-*`, fsynced, read back, renamed; an
 * existing dir is replaced, in one step, only if it is such a checkpoint (config.json, weights, no folder in it) and not what
 * the run reads.
 * Collective  world      Errors  agreed: NF_EIO (bytes needed and free), NF_EEXISTS, NF_EPERM, NF_ENONFINITE
 */
struct nf_st_write_arg {
    const char *dir, *source_dir;
    int dtype;       /* NF_AUTO, NF_F32, NF_BF16, NF_F16 */
    double shard_gb; /* 0: reuse the source's own distribution, else 5 */
    /* Where `data` of named does not lie in memory: elements [first, first + count) of the piece of named[i] to host memory,
     * which has room for fp32; in `type`, of which `to` is made. NULL: from data. Called twice for every element: to write it,
     * and to compare what reads back. */
    nf_status (*get)(void *ctx, int i, int64_t first, int64_t count, nf_dtype to, void *out, nf_dtype *type);
    void *ctx;
};
nf_status nf_st_write(const nf_st *source, const nf_mesh *mesh, const nf_weight_map *map, const nf_param_desc *desc, int params,
                      const nf_named *named, int n, nf_queue *queue, const struct nf_st_write_arg *arg);
/*
 * nf_st_write_check: what nf_st_write would refuse of dir and source_dir, asked before hours of work; changes nothing.
 * Collective  world      Errors  agreed: NF_EUSAGE, NF_EEXISTS, NF_EPERM, NF_EDATA (a link that leads out of source_dir)
 */
nf_status nf_st_write_check(const nf_st *source, const nf_mesh *mesh, const struct nf_st_write_arg *arg);

/* A whole small tensor as fp32 (of F32, BF16, F16, F64) or int64 (of I64, I32, U8, BOOL): goldens, tests; malloc'd. Not
 * collective. Errors  local: NF_EDATA, NF_EIO, NF_ENOMEM */
nf_status nf_st_load_f32(const nf_st *st, const char *name, float **data, int64_t *count);
nf_status nf_st_load_i64(const nf_st *st, const char *name, int64_t **data, int64_t *count);

#endif
