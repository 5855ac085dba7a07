/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.h: files that tests work through: cases of the input, seeds of random texts. Paths are below $srcdir, which the harness
 * sets ("." without it).
 */
#ifndef NEMAFIT_VALIDATION_FILES_H
#define NEMAFIT_VALIDATION_FILES_H

#include <stddef.h>

struct files {
    char **path;
    int count;
};

/* Files of validation/<folder> that end in `ending`, sorted, without hidden ones. A folder that cannot be read gives none. */
struct files files_list(const char *folder, const char *ending);
void files_free(struct files *list);
/* The whole file, NUL added; NULL if it cannot be read. */
char *files_read(const char *path, size_t *n);
/* malloc'd: path with another ending, and the name behind its last '/'. */
char *files_other(const char *path, const char *ending);
const char *files_name(const char *path);
/* The lines of a text, cut in place; at most `limit`. Returns how many. */
int files_lines(char *text, char **line, int limit);

#endif
