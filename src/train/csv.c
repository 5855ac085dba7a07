/* SPDX-License-Identifier: Apache-2.0 */
/* csv.c: log.csv. Rows are flushed as they come, so a plot can follow a run; a failed write is told at the end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log.h"

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

/* A new file, never through a link, and not for everybody's eyes. */
static FILE *create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640), error;
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (fd >= 0 && !file) {
        error = errno;
        close(fd);
        errno = error;
    }
    return file;
}

nf_status nf_csv_open(const char *dir, struct csv **out)
{
    struct csv *c = calloc(1, sizeof *c);
    nf_status s = NF_OK;

    if (!c || !(c->path = nf_path_join(dir, "log.csv")))
        s = nf_fail(NF_ENOMEM, "no memory for a path");
    if (!s)
        s = keep_older(dir, c->path);
    if (!s && !(c->file = create(c->path)))
        s = nf_fail_errno(errno, c->path, "cannot create");
    if (s) {
        free(c ? c->path : NULL);
        free(c);
        return s;
    }
    fputs("step,loss,valid_loss,grad_norm,lr,skipped,tokens,scored,tokens_per_s,tokens_per_s_rank,tflops_rank,peak_rss_mib,"
          "ms_forward,ms_backward,ms_update,ms_wait,expert_load_max_over_mean,dead_experts,overflow_slices\n",
          c->file);
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
