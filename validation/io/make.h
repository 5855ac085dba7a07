/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make.h: files for the tests of io, made without the code that is tested: a small safetensors writer, folders that go away,
 * and what two directories have in common.
 */
#ifndef NEMAFIT_VALIDATION_IO_MAKE_H
#define NEMAFIT_VALIDATION_IO_MAKE_H

#include "nemafit/base.h"
#include "nemafit/str.h"

#include <sys/types.h>

/* A safetensors file in the making. Zero-initialise. */
struct make {
    nf_str json, data;
};
void make_tensor(struct make *m, const char *name, const char *dtype, int nd, const int64_t *dim, const void *bytes, size_t n);
bool make_write(struct make *m, const char *path); /* and empties m */

bool make_file(const char *path, const void *bytes, size_t n);
bool make_text(const char *path, const char *text);
/* A new folder below the working directory; into `out`. */
bool make_folder(char out[256], const char *name);
void make_remove(const char *path);                   /* with all that is in it */
bool make_same(const char *a, const char *b);         /* do two files hold the same bytes? */
int make_count(const char *dir, const char *pattern); /* entries whose name matches */
char *make_read(const char *path, size_t *n);         /* malloc'd, NUL added; NULL if there is none */

/* nf_diagnosis() holds `text`, and the status is that wanted; clears it. Says what was there if not. */
bool make_diagnosed(nf_status got, nf_status wanted, const char *text);

#endif
