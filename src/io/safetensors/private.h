/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share. Three layers:
 *
 *   scan, prefix, header, index   pure: bytes in, tables out; everything hostile is met here
 *   file, open, table             the shards of a directory, parsed by rank 0, known to all
 *   link, check, read, layout, write, dir   tensors on disk <-> pieces of logical tensors
 */
#ifndef NEMAFIT_IO_SAFETENSORS_PRIVATE_H
#define NEMAFIT_IO_SAFETENSORS_PRIVATE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* qsort_r, renameat2: this header comes first */
#endif

#include "nemafit/io/safetensors.h"
#include "nemafit/str.h"

#include <sys/types.h>

/* ---- limits of the reader ------------------------------------------------------------------------------------------ */

enum {
    NF_ST_HEADER_MAX = 100000000, /* of the format */
    NF_ST_TENSORS_MAX = 262144,   /* a file */
    NF_ST_NAME_MAX = 1024,
    NF_ST_RANK_MAX = 8,
    NF_ST_DEPTH_MAX = 64,
    NF_ST_CHUNK = 2 << 20 /* elements converted at a time: 8 MiB of fp32 */
};

/* ---- scan.c: a pull scanner of JSON that knows where it stands ------------------------------------------------------- */

/* Codes of what can be wrong with JSON as such. */
struct nf_st_codes {
    const char *syntax, *utf8, *depth;
};

struct nf_st_scan {
    const char *file; /* for messages; escaped already */
    const char *text;
    size_t n, at;
    const struct nf_st_codes *code;
    char *buffer; /* of the last string; n + 1 bytes */
};

/* A string as it was decoded: valid until the next one is read. */
struct nf_st_text {
    const char *text; /* ends in NUL, but may hold others */
    size_t n, at;     /* bytes; place of its opening quote */
};

enum nf_st_number_kind {
    NF_ST_NATURAL,  /* 0 .. 2^64 - 1 */
    NF_ST_NEGATIVE, /* also -0 */
    NF_ST_HUGE,     /* an integer beyond 2^64 - 1 */
    NF_ST_REAL
};
struct nf_st_number {
    enum nf_st_number_kind kind;
    uint64_t value;
    size_t at, n; /* place and length of its text */
};

nf_status nf_st_scan_open(struct nf_st_scan *s, const char *file, const char *text, size_t n, const struct nf_st_codes *code);
void nf_st_scan_close(struct nf_st_scan *s);
int nf_st_scan_peek(struct nf_st_scan *s); /* first byte of the next token; -1 at the end */
nf_status nf_st_scan_string(struct nf_st_scan *s, struct nf_st_text *out);
nf_status nf_st_scan_number(struct nf_st_scan *s, struct nf_st_number *out);
nf_status nf_st_scan_skip(struct nf_st_scan *s); /* any value */
/* Walk an object or an array. `first` starts as true; *more is false once the closing bracket is eaten. */
nf_status nf_st_scan_enter(struct nf_st_scan *s, char bracket);
nf_status nf_st_scan_member(struct nf_st_scan *s, bool *first, bool *more, struct nf_st_text *key);
nf_status nf_st_scan_element(struct nf_st_scan *s, bool *first, bool *more);
nf_status nf_st_scan_end(struct nf_st_scan *s); /* nothing but white space may follow */

/* ---- prefix.c, header.c, spans.c ----------------------------------------------------------------------------------- */

/*
 * The first bytes of a file (up to NF_ST_HEAD of them): the length of the header, or what the file is instead.
 * Errors  same: NF_EDATA ST-001 .. ST-004, ST-040 .. ST-044
 */
enum { NF_ST_HEAD = 512 };
nf_status nf_st_prefix(const char *file, const unsigned char *head, size_t n, uint64_t file_size, uint64_t *header);

/* Text of what is suspicious but not wrong, one line each; kept short. */
struct nf_st_notes {
    nf_str text;
    int lines, dropped;
};
void nf_st_note(struct nf_st_notes *notes, const char *fmt, ...) NF_PRINTF(2, 3);
nf_status nf_st_header_read(const char *file, const char *bytes, size_t n, uint64_t file_size, struct nf_st_notes *notes,
                            struct nf_st_entry **entries, int64_t *count);

/* Sort entries by place and hold them to the format: no overlap, no hole, nothing behind. start: of the data; shown: the file.
 */
nf_status nf_st_spans_check(const char *shown, struct nf_st_entry *entries, int64_t count, uint64_t start, uint64_t file_size);

/* Bits of an element; 0: no such dtype. */
int nf_st_dtype_bits(const char *name);
/* fp32, bf16 or fp16: what can be converted. */
bool nf_st_dtype_float(const char *name, nf_dtype *t);
const char *nf_st_dtype_disk(nf_dtype t); /* "F32", "BF16", "F16"; NULL */

/* ---- index.c ------------------------------------------------------------------------------------------------------- */

struct nf_st_index_item {
    char *name;
    int shard;
};
struct nf_st_index {
    struct nf_st_index_item *item; /* sorted by name */
    int64_t count;
    char **shard; /* sorted */
    int shards;
    bool has_total;
    uint64_t total;
};
nf_status nf_st_index_parse(const char *file, const char *text, size_t n, struct nf_st_notes *notes, struct nf_st_index *index);
void nf_st_index_free(struct nf_st_index *index);

/* ---- file.c -------------------------------------------------------------------------------------------------------- */

/* A regular file, never a FIFO or a device, that lies below `root` once all links are followed (NULL: anywhere). *size,
 * *mtime_ns may be NULL. Errors: local NF_EMISSING, NF_EPERM, NF_EDATA, NF_EIO */
nf_status nf_st_file_open(const char *path, const char *root, int *fd, struct nf_file_id *id);
nf_status nf_st_pread(int fd, const char *path, void *bytes, size_t n, uint64_t at);
/* ---- table.c, open.c ----------------------------------------------------------------------------------------------- */

struct nf_st_shard {
    char *name;
    uint64_t size;
    int64_t mtime_ns;
};
struct nf_st {
    char *dir, *root;
    bool indexed; /* it came with an index */
    int shards;
    struct nf_st_shard *shard;
    int64_t count;
    struct nf_st_entry *entry; /* by shard, then by place */
    int64_t *by_name;          /* numbers of entries, sorted by name */
};
nf_status nf_st_table_pack(const nf_st *st, void **bytes, size_t *n);
nf_status nf_st_table_unpack(const void *bytes, size_t n, nf_st **st);
nf_status nf_st_table_sort(nf_st *st);

/* The shard that is open now, held to what was parsed. */
struct nf_st_reader {
    const nf_st *st;
    int file, fd;
    char *path;
};
#define NF_ST_READER(the_st) ((struct nf_st_reader){.st = (the_st), .file = -1, .fd = -1})
nf_status nf_st_reader_seek(struct nf_st_reader *reader, int file);
nf_status nf_st_reader_get(struct nf_st_reader *reader, int file, void *bytes, size_t n, uint64_t at);
void nf_st_reader_close(struct nf_st_reader *reader);

/* ---- link.c: what each tensor on disk stands for --------------------------------------------------------------------- */

enum { NF_ST_PASS = -1, NF_ST_UNKNOWN = -2, NF_ST_FUSED = -3 };
struct nf_st_links {
    int64_t *row;             /* [entries] row of the map, NF_ST_PASS, NF_ST_UNKNOWN, or NF_ST_FUSED - param */
    int64_t *entry;           /* [map rows] the entry, -1 none */
    int64_t twice_a, twice_b; /* two entries that stand for the same; -1 */
    int64_t *by_name;         /* [map rows] sorted by name */
    int64_t rows;
};
nf_status nf_st_links_make(const nf_st *st, const nf_weight_map *map, const nf_param_desc *desc, int params,
                           struct nf_st_links *links);
void nf_st_links_free(struct nf_st_links *links);
int64_t nf_st_links_row(const struct nf_st_links *links, const nf_weight_map *map, const char *name); /* -1: none */
bool nf_st_matches(const char *const *patterns, const char *name);
const char *nf_st_canonical(const nf_weight_map *map, const char *name, char out[NF_ST_NAME_MAX + 64]);
int64_t nf_st_desc_count(const nf_param_desc *desc);
int64_t nf_st_entry_count(const struct nf_st_entry *entry);
/* Elements [first, first + count) of the logical tensor that a row is. Errors  same: NF_EBUG for kinds no family uses */
nf_status nf_st_row_span(const nf_map_row *row, const nf_param_desc *desc, int64_t *first, int64_t *count);

/* A range of a logical tensor and what it belongs to. */
struct nf_st_span {
    int param;
    int64_t first, count, item;
};
void nf_st_spans_sort(struct nf_st_span *span, int64_t n);
/* First span of the sorted list that ends behind `at` of `param`; n if none. */
int64_t nf_st_spans_find(const struct nf_st_span *span, int64_t n, int param, int64_t at);

/* ---- convert.c ----------------------------------------------------------------------------------------------------- */

/* Values that are not finite after conversion. */
struct nf_st_odd {
    int64_t first, count; /* first is -1 as long as count is 0 */
};
/* n elements; dst and src do not overlap; `from`: number of the first element, for odd. Types fp32, bf16, fp16. */
void nf_st_convert(void *dst, nf_dtype to, const void *src, nf_dtype type, int64_t n, int64_t from, struct nf_st_odd *odd);

/* ---- jobs.c: reading ------------------------------------------------------------------------------------------------- */

nf_status nf_st_sources_make(const nf_st *st, const nf_weight_map *map, const nf_param_desc *desc, int params,
                             struct nf_st_span **spans, int64_t *count);
nf_status nf_st_sources_check(const nf_st *st, const nf_param_desc *desc, int params, const struct nf_st_span *span, int64_t n);

/* `count` elements of an entry, from `from` on (byte `at` of the file), to element `to` of a piece. entry -1: zeros. */
struct nf_st_job {
    int named, file;
    int64_t entry, from, to, count;
    uint64_t at;
    nf_dtype type; /* on disk */
};
/* For the pieces that are taken, in the order of the bytes on disk. */
nf_status nf_st_jobs_make(const nf_st *st, const struct nf_st_span *span, int64_t spans, const nf_named *named, int n,
                          const bool *take, struct nf_st_job **jobs, int64_t *count);

/* ---- layout.c, owners.c, dir.c, carry.c: writing ----------------------------------------------------------------------------
 */

struct nf_st_out {
    struct nf_st_entry e; /* e.name is borrowed */
    int64_t row;          /* of the map; -1: passed through */
    int64_t source;       /* entry of the source; -1 */
};
struct nf_st_outfile {
    char *name;
    nf_str header; /* with its length before it */
    uint64_t size;
};
struct nf_st_layout {
    struct nf_st_out *out;
    int64_t outs;
    struct nf_st_outfile *file;
    int files;
    bool indexed;
    uint64_t total; /* bytes of all tensors */
};
nf_status nf_st_layout_make(const nf_st *source, const nf_weight_map *map, const nf_param_desc *desc, int params,
                            const struct nf_st_write_arg *arg, struct nf_st_layout *layout);
void nf_st_layout_free(struct nf_st_layout *layout);
nf_status nf_st_layout_index(const struct nf_st_layout *layout, nf_str *text);

/* What this rank writes: every element of every tensor has one writer among those that hold it. Collective over world. */
struct nf_st_share {
    int param, named; /* named: index in this rank's list */
    int64_t first, count;
};
nf_status nf_st_owners(const nf_mesh *mesh, const nf_param_desc *desc, int params, const nf_named *named, int n,
                       struct nf_st_share **shares, int64_t *count);

/* The output directory, by rank 0 alone. */
struct nf_st_dir {
    char *target, *temporary;
    int lock;      /* plus 1; 0: none. On the temporary, as long as its process lives */
    bool replaces; /* the target exists and is a checkpoint */
};
nf_status nf_st_dir_check(struct nf_st_dir *dir, const nf_st *source, const struct nf_st_write_arg *arg, uint64_t need);
/* What can be said of it before there is anything to write; changes nothing. */
nf_status nf_st_dir_foresee(const nf_st *source, const struct nf_st_write_arg *arg);
nf_status nf_st_dir_begin(struct nf_st_dir *dir, const struct nf_st_layout *layout);
nf_status nf_st_dir_carry(const struct nf_st_dir *dir, const char *source_dir);
nf_status nf_st_dir_commit(struct nf_st_dir *dir, const struct nf_st_layout *layout);
void nf_st_dir_end(struct nf_st_dir *dir);                            /* removes what was not committed */
nf_status nf_st_dir_carried(const char *source_dir, uint64_t *bytes); /* that nf_st_dir_carry would copy; all can be read */
/* A new file in the directory, never through a link. */
nf_status nf_st_dir_create(const char *dir, const char *name, int *fd);
nf_status nf_st_sync_and_close(int fd, const char *path);

#endif
