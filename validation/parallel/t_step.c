/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_step.c: what a training step may take. Each arena's peak is what the rehearsal on a dry device said, to the byte: nothing
 * is taken for luck, nothing is forgotten. On one rank the heap holds as much after ten steps as after three: a step allocates
 * nothing that it keeps. The host waits as often in every step, and not more often than the exchange and the update need, also
 * while times are measured. `t_step.mpi cuda` does the same on a GPU.
 */
#include <malloc.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "nemafit/input.h"
#include "nemafit/log.h"
#include "tap.h"
#include "train/loop.h"

/* With more ranks the heap is MPI's too, whose pools grow as messages meet; under a sanitizer it is not malloc's. */
#ifdef __SANITIZE_ADDRESS__
enum { HEAP_KNOWN = 0 };
#else
enum { HEAP_KNOWN = 1 };
#endif

static void peaks(const struct session *s, const struct engine *e)
{
    static const char *const name[ARENA_KINDS] = {"run", "state", "step", "work", "exchange work", "reduction work"};

    for (int i = 0; i < ARENA_KINDS; i++)
        if (!tap_ok(nf_arena_peak(e->arena[i]) == s->bytes[i], "%s arena: the peak is the rehearsed one", name[i]))
            tap_note("peak %zu, rehearsed %zu", nf_arena_peak(e->arena[i]), s->bytes[i]);
}

static void steps(struct session *s, struct engine *e)
{
    struct batches batches;
    struct stepper stepper;
    struct step_result r;
    size_t heap[2] = {0, 0};
    int64_t waits[12];
    bool finite = true, even = true;

    if (!tap_ok(!nf_batches_new(s->train, s->mesh, s->p->train.local_batch, s->micro_batches, &batches), "batches"))
        return;
    nf_stepper_new(e, &batches, 12, &stepper);
    if (!tap_ok(!nf_batches_fetch(&batches, 0), "rows of step 0"))
        return;
    for (int i = 0; i < 12; i++) {
        int64_t before = nf_device_host_waits(e->device);
        finite &= !nf_stepper_run(&stepper, i, i < 11, NULL) && !nf_stepper_result(&stepper, i, &r) && !r.skipped;
        waits[i] = nf_device_host_waits(e->device) - before;
        if (i == 2 || i == 10)
            heap[i == 10] = mallinfo2().uordblks;
        even &= waits[i] == waits[0];
    }
    tap_ok(finite, "12 steps");
    tap_ok(r.seconds > 0 && r.ms_forward > 0 && r.ms_backward > 0 && r.ms_update > 0 &&
               r.ms_forward + r.ms_backward + r.ms_update <= 1.001e3 * r.seconds,
           "their parts take time, together not more than a step");
    /* targets of the step, a slot of step variables a micro-batch, the result; with ep > 1 the counts of each MoE layer */
    int64_t layers = s->model->moe_layers, some = nf_group_size(nf_mesh_group(s->mesh, NF_EP)) > 1;
    bool staged = nf_device_kind(e->device) == NF_CUDA && nf_mesh_ranks(s->mesh) > 1; /* collectives of its own that wait */
    if (!tap_ok(even && (staged || waits[0] <= 2 + s->micro_batches * (1 + 2 * some * layers)),
                "host waits a step: few, and always as many"))
        tap_note("%lld, %lld, %lld", (long long)waits[0], (long long)waits[1], (long long)waits[2]);
    if (HEAP_KNOWN && nf_device_kind(e->device) == NF_HOST && nf_mesh_ranks(s->mesh) == 1 &&
        !tap_ok(heap[0] == heap[1], "the heap after 11 steps is that after 3"))
        tap_note("%zu, then %zu bytes", heap[0], heap[1]);
    peaks(s, e);
    nf_batches_free(&batches, e->device);
}

static void try(const char *device, int ranks, int ep, int micro, const char *recompute, const char *dtype)
{
    char path[4096], words[8][64], *word[10] = {path};
    const char *srcdir = getenv("srcdir");
    MPI_Comm world = MPI_COMM_WORLD;
    nf_input *input = NULL;
    struct session s = {0};
    struct engine e = {0};
    int n = 1;

    snprintf(path, sizeof path, "model.path='%s/validation/cases/tiny'", srcdir ? srcdir : ".");
    snprintf(words[0], sizeof words[0], "parallel.ep=%d", ep);
    snprintf(words[1], sizeof words[1], "train.global_batch=%d", 2 * ranks * micro);
    snprintf(words[2], sizeof words[2], "model.recompute='%s'", recompute);
    snprintf(words[3], sizeof words[3], "train.local_batch=2");
    snprintf(words[4], sizeof words[4], "model.init='random'");
    snprintf(words[5], sizeof words[5], "data.seq_len=24");
    snprintf(words[6], sizeof words[6], "model.dtype='%s'", dtype);
    snprintf(words[7], sizeof words[7], "backend.device='%s'", device);
    for (int i = 0; i < 8; i++)
        word[n++] = words[i];
    word[n++] = (char[]){"data.format='mock'"};
    tap_note("ep %d, %d micro-batches, recompute '%s', %s", ep, micro, recompute, dtype);
    nf_diagnosis_clear();
    bool open = !nf_input_defaults(word, n, &input);
    if (open) {
        nf_input_params_mut(input)->train.steps = 12;
        nf_input_params_mut(input)->log.profile = micro == 2;
        nf_input_params_mut(input)->optim.lr = 1e-3;
        open = !nf_session_open(input, &world, ranks, false, &s);
    }
    if (open) {
        struct engine_arg arg = nf_session_engine(&s);
        open = !nf_engine_new(&arg, s.mesh, s.device, s.bytes, &e) && !nf_engine_load(&e, s.source);
    }
    if (tap_ok(open, "an engine"))
        steps(&s, &e);
    else
        tap_note("%s", nf_diagnosis());
    nf_engine_free(&e);
    nf_session_close(&s);
    nf_input_free(input);
}

int main(int argc, char **argv)
{
    static const char *const recompute[] = {"none", "selective", "block"};
    int ranks, rank;

    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    nf_log_open(rank, ranks, NF_LOG_QUIET, stdout);
    for (int ep = 1; ep <= ranks; ep++)
        if (ranks % ep == 0 && 8 % ep == 0)
            for (int i = 0; i < 3; i++)
                for (int micro = 1; micro <= 2; micro++)
                    try(argc > 1 ? argv[1] : "cpu", ranks, ep, micro, recompute[i], (i + micro) % 2 ? "fp32" : "bf16");
    return tap_done();
}
