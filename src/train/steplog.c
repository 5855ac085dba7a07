/* SPDX-License-Identifier: Apache-2.0 */
/* steplog.c: what a person sees of a run: one line a step, a progress bar with the time left on a terminal. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "nemafit/log.h"

struct steplog {
    struct csv *csv;
    bool rank0, bar;
    int64_t steps, every;
    int ranks;
    double flops, begin;
    double moving; /* seconds a step, averaged over the last ones */
};

/*
 * Does a person read what we print? Open MPI gives its ranks a terminal of their own, whatever its own output is: so it is
 * asked of the launcher's, where that is our parent. (A launcher that gives us a pipe leaves no bar.)
 */
static bool on_a_terminal(int ranks)
{
    char path[48];
    int fd;
    bool is;

    if (!isatty(STDOUT_FILENO))
        return false;
    if (ranks == 1 && !getenv("OMPI_COMM_WORLD_SIZE"))
        return true;
    snprintf(path, sizeof path, "/proc/%ld/fd/1", (long)getppid());
    if ((fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)) < 0)
        return access("/proc/self/fd", X_OK) != 0; /* no such place on this system: as our own output says */
    is = isatty(fd);
    close(fd);
    return is;
}

nf_status nf_steplog_open(const struct session *s, int64_t csv_bytes, struct steplog **out)
{
    struct steplog *l = calloc(1, sizeof *l);
    nf_status status = l ? NF_OK : nf_fail(NF_ENOMEM, "no memory for the log");

    if (!status) {
        *l = (struct steplog){.rank0 = nf_mesh_rank(s->mesh) == 0,
                              .bar = s->p->log.progress && on_a_terminal(nf_mesh_ranks(s->mesh)),
                              .steps = s->steps,
                              .every = s->p->log.every,
                              .ranks = nf_mesh_ranks(s->mesh),
                              .flops = s->model->flops(s->model, nf_dataset_seq_len(s->train)),
                              .begin = nf_seconds()};
        if (l->rank0 && s->p->log.csv)
            status = nf_csv_open(s->p->log.dir, csv_bytes, &l->csv);
    }
    status = nf_agree(s->mesh, status);
    if (status) {
        if (l)
            nf_csv_close(l->csv);
        free(l);
        return status;
    }
    *out = l;
    return NF_OK;
}

static void draw_bar(const struct steplog *l, int64_t done)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    int full = (int)(WIDTH * done / l->steps);
    int64_t left = (int64_t)(l->moving * (double)(l->steps - done) + 0.5);

    memset(bar, ' ', WIDTH);
    memset(bar, '#', (size_t)full);
    bar[WIDTH] = 0;
    printf("\r[%s] %" PRId64 "/%" PRId64 "  %" PRId64 ":%02" PRId64 ":%02" PRId64 " left ", bar, done, l->steps, left / 3600,
           left / 60 % 60, left % 60);
    fflush(stdout);
}

static void clear_bar(const struct steplog *l)
{
    if (l->bar)
        printf("\r%*s\r", 70, "");
}

void nf_steplog_step(struct steplog *l, const struct step_result *r)
{
    double rate = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    int64_t done = r->step + 1;

    if (!l->rank0)
        return;
    l->moving = l->moving > 0 ? 0.9 * l->moving + 0.1 * r->seconds : r->seconds;
    if (l->csv)
        nf_csv_step(l->csv, r, l->ranks, l->flops);
    if (done % l->every == 0 || done == l->steps || done == 1 || r->skipped) {
        char load[48] = "";
        clear_bar(l);
        if (r->load_worst > 0)
            snprintf(load, sizeof load, "  load %.2f%s", r->load_worst, r->load_dead ? " (dead experts)" : "");
        nf_note("step %" PRId64 "/%" PRId64 "  loss %.6f  norm %.4f  lr %.3e  %.0f tok/s%s%s", done, l->steps, r->loss,
                r->grad_norm, r->lr, rate, load, r->skipped ? "  NOT FINITE: update skipped" : "");
    }
    if (l->bar && done < l->steps)
        draw_bar(l, done);
}

void nf_steplog_evaluation(struct steplog *l, int64_t step, const struct evaluation *v)
{
    if (!l->rank0)
        return;
    clear_bar(l);
    nf_note("valid %" PRId64 "/%" PRId64 "  loss %.6f  over %" PRId64 " targets", step, l->steps, v->loss, v->scored);
    if (l->csv)
        nf_csv_evaluation(l->csv, step, v);
}

void nf_steplog_sample(struct steplog *l, const char *prompt, const char *text)
{
    if (!l->rank0)
        return;
    clear_bar(l);
    nf_note("sample    %s{{%s}}", prompt, text);
}

int64_t nf_steplog_csv_bytes(struct steplog *l)
{
    return l->csv ? nf_csv_bytes(l->csv) : -1;
}

nf_status nf_steplog_close(struct steplog *l)
{
    nf_status s = NF_OK;

    if (!l)
        return NF_OK;
    if (l->rank0)
        clear_bar(l);
    s = nf_csv_close(l->csv);
    free(l);
    return s;
}
