/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv.c: log.csv. Rows are flushed as they come, so a plot can follow a run; a failed write is told at the end. A run that goes
 * on from a snapshot cuts the table where it stood when the snapshot was taken, so each step has its row once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "nemafit/log.h"

static const char header[] =
    "step,loss,valid_loss,grad_norm,lr,skipped,tokens,scored,tokens_per_s,tokens_per_s_rank,tflops_rank,peak_rss_mib,"
    "ms_forward,ms_backward,ms_update,ms_wait,expert_load_max_over_mean,dead_experts,overflow_slices\n";

struct csv {
    FILE *file;
    char *path;
    int error; /* the first */
};

static nf_status keep_older(const char *dir, const char *path)
{
    char name[64];

    for (int i = 1; access(path, F_OK) == 0; i++) {
        char *aside;
        bool taken;
        snprintf(name, sizeof name, "log.%d.csv", i);
        aside = nf_path_join(dir, name);
        if (!aside)
            return nf_fail(NF_ENOMEM, "no memory for a path");
        taken = access(aside, F_OK) == 0;
        if (!taken && rename(path, aside)) {
            nf_status s = nf_fail_errno(errno, aside, "cannot keep the older table here");
            free(aside);
            return s;
        }
        free(aside);
    }
    return NF_OK;
}

/* A table behind fd, which is closed if there is no memory. */
static FILE *opened(int fd, const char *mode)
{
    FILE *file = fd >= 0 ? fdopen(fd, mode) : NULL;

    if (fd >= 0 && !file) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return file;
}

/* A new file, never through a link, and not for everybody's eyes. */
static FILE *create(const char *path)
{
    return opened(open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640), "w");
}

/* Does the file begin with our header, and does a row end where the snapshot left it? */
static bool is_ours(int fd, int64_t keep)
{
    char begin[sizeof header], end;
    const size_t n = sizeof header - 1;

    return keep >= (int64_t)n && pread(fd, begin, n, 0) == (ssize_t)n && !memcmp(begin, header, n) &&
           pread(fd, &end, 1, keep - 1) == 1 && end == '\n';
}

/* The first `keep` bytes as a new file of that name, open at its end. The old one may still be open in a process of an earlier
 * start that was stopped and is woken: its rows must not reach this table. */
static nf_status cut_to(const char *path, int64_t keep, int *fd)
{
    char *rows = malloc((size_t)keep);
    int64_t have = 0;
    ssize_t got = 1;

    while (rows && have < keep && (got = pread(*fd, rows + have, (size_t)(keep - have), have)) > 0)
        have += got;
    nf_status s = rows ? NF_OK : nf_fail(NF_ENOMEM, "%s: no memory to cut the table to the snapshot", path);
    if (s == NF_OK && have < keep)
        s = nf_fail_errno(got < 0 ? errno : EIO, path, "cannot read this table");
    if (s == NF_OK)
        s = nf_file_write(path, rows, (size_t)keep);
    free(rows);
    close(*fd);
    *fd = -1;
    if (s == NF_OK && ((*fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) < 0 || lseek(*fd, 0, SEEK_END) != keep))
        s = nf_fail_errno(*fd < 0 ? errno : EIO, path, "cannot go on with this table");
    return s;
}

/* The older table, cut to `keep` bytes; *fd -1: there is none that goes with the snapshot. */
static nf_status open_cut(const char *path, int64_t keep, int *fd)
{
    *fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? NF_OK : nf_fail_errno(errno, path, "cannot go on with this table");
    if (is_ours(*fd, keep)) {
        const nf_status s = cut_to(path, keep, fd);
        if (s == NF_OK)
            return NF_OK;
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        return s;
    }
    close(*fd);
    *fd = -1;
    nf_warn("%s does not hold the steps up to the snapshot; a new table begins here", path);
    return NF_OK;
}

static nf_status open_table(struct csv *c, const char *dir, int64_t keep)
{
    int fd = -1;

    if (keep >= 0)
        NF_TRY(open_cut(c->path, keep, &fd));
    if (fd >= 0)
        c->file = opened(fd, "a");
    else
        NF_TRY(keep_older(dir, c->path));
    if (fd < 0 && (c->file = create(c->path)))
        fputs(header, c->file);
    return c->file ? NF_OK : nf_fail_errno(errno, c->path, "cannot create");
}

nf_status nf_csv_open(const char *dir, int64_t keep, struct csv **out)
{
    struct csv *c = calloc(1, sizeof *c);
    nf_status s = NF_OK;

    if (!c || !(c->path = nf_path_join(dir, "log.csv")))
        s = nf_fail(NF_ENOMEM, "no memory for a path");
    if (!s)
        s = open_table(c, dir, keep);
    if (s) {
        free(c ? c->path : NULL);
        free(c);
        return s;
    }
    *out = c;
    return NF_OK;
}

static void flushed(struct csv *c)
{
    if ((fflush(c->file) || ferror(c->file)) && !c->error)
        c->error = errno ? errno : EIO;
}

void nf_csv_step(struct csv *c, const struct step_result *r, int ranks, double flops_per_token)
{
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    fprintf(c->file,
            "%" PRId64 ",%.9g,,%.9g,%.9g,%d,%" PRId64 ",%" PRId64 ",%.6g,%.6g,%.6g,%ld,%.4g,%.4g,%.4g,%.4g,%.4g,%" PRId64
            ",%" PRId64 "\n",
            r->step + 1, r->loss, r->grad_norm, r->lr, r->skipped, r->tokens, r->scored, rate, rate / ranks,
            rate / ranks * flops_per_token * 1e-12, use.ru_maxrss / 1024, r->ms_forward, r->ms_backward, r->ms_update,
            r->ms_wait, r->load_worst, r->load_dead, r->overflow_slices);
    flushed(c);
}

void nf_csv_evaluation(struct csv *c, int64_t step, const struct evaluation *v)
{
    fprintf(c->file, "%" PRId64 ",,%.9g,,,,,%" PRId64 ",,,,,,,,,,,\n", step, v->loss, v->scored);
    flushed(c);
}

int64_t nf_csv_bytes(struct csv *c)
{
    struct stat st;

    flushed(c);
    if (fsync(fileno(c->file)) && errno != EINVAL && errno != ENOTSUP && !c->error) /* of some files there is no fsync */
        c->error = errno;
    return fstat(fileno(c->file), &st) == 0 ? (int64_t)st.st_size : -1;
}

nf_status nf_csv_close(struct csv *c)
{
    nf_status s = NF_OK;

    if (!c)
        return NF_OK;
    flushed(c);
    if (fclose(c->file) && !c->error)
        c->error = errno;
    if (c->error)
        s = nf_fail_errno(c->error, c->path, "the table of steps is not whole");
    free(c->path);
    free(c);
    return s;
}
