/* SPDX-License-Identifier: Apache-2.0 */
/*
 * str.h: strings that grow, paths, patterns, and text made safe to print.
 */
#ifndef NEMAFIT_STR_H
#define NEMAFIT_STR_H

#include "nemafit/base.h"

/* A growing string; `text` is never NULL after the first append and always ends in NUL. Zero-initialise; nf_str_free(). */
typedef struct nf_str {
    char *text;
    size_t len, cap;
    bool failed; /* out of memory at some append: the text is cut there */
} nf_str;

void nf_str_add(nf_str *s, const char *text);
void nf_str_addn(nf_str *s, const char *text, size_t n);
void nf_str_addf(nf_str *s, const char *fmt, ...) NF_PRINTF(2, 3);
void nf_str_free(nf_str *s);

/* A list of strings, as namelist arrays give it. */
typedef struct nf_strings {
    char **item;
    int count;
} nf_strings;

/* Bytes of foreign origin for a message: control bytes and invalid UTF-8 as \xNN, cut at 256. `out` holds >= 280 bytes. */
const char *nf_str_shown(char out[280], const char *text, size_t n);

/* "1.50 GiB", "312 KiB"; "12.3 k", "4.10 G". `out` holds >= 32 bytes; returned. */
const char *nf_str_bytes(char out[32], double bytes);
const char *nf_str_count(char out[32], double n);

/* Shell-like pattern over a whole name: '*' any run (dots and slashes too), '?' one byte, '[abc]' a set. */
bool nf_str_match(const char *pattern, const char *name);

/* Smallest number of inserted, deleted, changed or swapped letters, case-blind; gives up above `limit` (returns limit + 1). */
int nf_str_distance(const char *a, const char *b, int limit);

/* Paths. Results of join are malloc'd (NULL: no memory). */
char *nf_path_join(const char *dir, const char *name);
char *nf_path_dir(const char *path); /* "." if it has none */
const char *nf_path_base(const char *path);

/*
 * Files. All refuse what is not a regular file (FIFO, device, directory) and say path and reason.
 * nf_file_read: whole file, NUL added after it; malloc'd, free() by the caller. limit: larger files are refused.
 * nf_file_read_below: the same, of a file that lies below `root` once all links are followed.
 * nf_file_write: temporary beside it, write, fsync, rename, fsync of the directory.
 * nf_dir_make: with parents, like mkdir -p, mode 0750.
 * Collective  no      Errors  local: NF_EMISSING, NF_EPERM, NF_EIO, NF_EDATA (not regular, too large), NF_ENOMEM
 */
nf_status nf_file_read(const char *path, size_t limit, char **bytes, size_t *n);
nf_status nf_file_read_below(const char *path, const char *root, size_t limit, char **bytes, size_t *n);
nf_status nf_file_write(const char *path, const void *bytes, size_t n);

/*
 * Ranges of a file. nf_file_open: to read, a regular file that lies below `root` (NULL: anywhere); who it is comes out. The
 * codes stand before the words of a diagnosis ("IX-17: ", or ""). nf_pread, nf_pwrite: all n bytes at `at`, whatever signals
 * come; a file that ends before is damaged.
 * Collective  no      Errors  local: as above; NF_EDATA for what is not regular, leads out, or became shorter
 */
struct nf_file_codes {
    const char *kind, *outside; /* not a regular file; outside root */
};
struct nf_file_id {
    uint64_t size, dev, ino;
    int64_t mtime_ns;
};
nf_status nf_file_open(const char *path, const char *root, const struct nf_file_codes *codes, int *fd, struct nf_file_id *id);
nf_status nf_pread(int fd, const char *path, const char *code, void *bytes, size_t n, uint64_t at);
nf_status nf_pwrite(int fd, const char *path, const void *bytes, size_t n, uint64_t at);

nf_status nf_dir_make(const char *path);
nf_status nf_dir_sync(const char *path);

/*
 * Where links of a directory may lead. A hub cache holds models--x/snapshots/<revision>/NAME -> ../../blobs/<hash>: there the
 * root is models--x, anywhere else the directory itself; malloc'd. nf_root_check: does the open file lie below it? `code` is
 * put before the words ("IX-16: ", or "").
 * Collective  no      Errors  local: NF_EMISSING, NF_EPERM, NF_EDATA (leads out), NF_EIO
 */
nf_status nf_root_of(const char *dir, char **root);
nf_status nf_root_check(int fd, const char *path, const char *root, const char *code);

/* Status that fits an errno of a file operation, with diagnosis "<path>: <what>: <strerror>". */
NF_COLD nf_status nf_fail_errno(int err, const char *path, const char *what);

#endif
