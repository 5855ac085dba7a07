/* SPDX-License-Identifier: Apache-2.0 */
/* run.c: the commands `nemafit input.nml` and `nemafit --check input.nml`, and what both do first. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "keep.h"
#include "nemafit/log.h"
#include "nemafit/signals.h"
#include "nemafit/train.h"

#define COUNTABLE 9007199254740992.0 /* 2^53: whole numbers are exact in a double up to here */

/* Steps and micro-batches; what does not fit is complained of with the numbers that would. */
static void plan_steps(struct session *s)
{
    struct nf_params *p = s->p;
    int64_t unit = nf_mesh_ranks(s->mesh) * p->train.local_batch, G = p->train.global_batch ? p->train.global_batch : unit;
    char hint[128];

    if (G / unit > INT_MAX) {
        snprintf(hint, sizeof hint, "Change train.global_batch to at most %" PRId64, INT_MAX * unit);
        nf_input_complain(s->input, "train", "global_batch", hint,
                          "global_batch = %" PRId64 " is more than %d micro-batches of %" PRId64 " rows on all ranks", G,
                          INT_MAX, unit);
        return;
    }
    if (G % unit) {
        int64_t below = G / unit * unit;
        if (below)
            snprintf(hint, sizeof hint, "Change train.global_batch to %" PRId64 " or %" PRId64, below, below + unit);
        else
            snprintf(hint, sizeof hint, "Change train.global_batch to %" PRId64, unit);
        nf_input_complain(s->input, "train", "global_batch", hint,
                          "global_batch = %" PRId64 " is not a multiple of %d ranks x local_batch = %" PRId64 " rows", G,
                          nf_mesh_ranks(s->mesh), p->train.local_batch);
    }
    s->global_batch = p->train.global_batch = G; /* told in input.used.nml: it is not what another number of ranks would mean */
    s->micro_batches = (int)(G / unit);
    s->steps = p->train.steps;
    if (p->train.epochs > 0) {
        double steps = ceil(p->train.epochs * (double)nf_dataset_rows(s->train) / (double)G);
        if (steps > COUNTABLE) {
            nf_input_complain(s->input, "train", "epochs", "Give a smaller train.epochs, or train.steps",
                              "epochs = %g of %" PRId64 " rows are %g steps, more than can be counted", p->train.epochs,
                              nf_dataset_rows(s->train), steps);
            return;
        }
        s->steps = (int64_t)steps;
    }
    if (p->optim.warmup > s->steps)
        nf_input_complain(s->input, "optim", "warmup", "Change optim.warmup to at most the number of steps",
                          "warmup = %" PRId64 " steps is longer than the run of %" PRId64, p->optim.warmup, s->steps);
}

static nf_status open_data(struct session *s)
{
    const struct nf_params *p = s->p;
    struct nf_dataset_arg arg = {.files = &p->data.train,
                                 .format = p->data.format,
                                 .seq_len = p->data.seq_len,
                                 .vocab = s->model->vocab,
                                 .model_dir = p->model.path,
                                 .shuffle = p->data.shuffle,
                                 .seed = (uint64_t)p->data.seed,
                                 .mock_rows = 1 << 16};

    NF_TRY(nf_dataset_open(s->mesh, &arg, &s->train));
    if (!p->data.valid.count)
        return NF_OK;
    arg.files = &p->data.valid;
    arg.seq_len = nf_dataset_seq_len(s->train);
    arg.seq_len_from = p->data.seq_len ? NULL : "the rows of data.train";
    arg.shuffle = false;
    return nf_dataset_open(s->mesh, &arg, &s->valid);
}

/* A prompt that the data cannot turn into tokens is found here, not at the first sample. */
static void check_prompt(const struct session *s)
{
    int32_t id;
    nf_str hint = {0}, known = {0};

    if (!s->p->log.sample_prompt || nf_dataset_encode(s->train, s->p->log.sample_prompt, &id, 1) > 0)
        return;
    nf_dataset_prompts(s->train, &known);
    if (known.len)
        nf_str_addf(&hint, "Change sample_prompt to one of the dataset's prompts, by text or number: %s.", known.text);
    else
        nf_str_add(&hint, "Remove sample_prompt; or, with format = 'hdf5', store it: scripts/nemafit-tokenize --prompt TEXT.");
    nf_input_complain(s->input, "log", "sample_prompt", hint.text, "these data cannot turn this text into tokens");
    nf_str_free(&known);
    nf_str_free(&hint);
}

/* What would stop the export at the end stops the run at its beginning. */
static nf_status foresee_export(const struct session *s)
{
    const struct nf_st_write_arg arg = {.dir = s->p->export_.dir, .source_dir = s->p->model.path};

    return arg.dir ? nf_st_write_check(s->source, s->mesh, &arg) : NF_OK;
}

struct engine_arg nf_session_engine(const struct session *s)
{
    return (struct engine_arg){.params = s->p,
                               .model = s->model,
                               .local_batch = s->p->train.local_batch,
                               .seq_len = nf_dataset_seq_len(s->train),
                               .micro_batches = s->micro_batches,
                               .optimizer = true,
                               .segments = nf_dataset_segmented(s->train) || (s->valid && nf_dataset_segmented(s->valid))};
}

/* What 'auto' means on this device: told in input.used.nml. grad_dtype stays: it depends on the number of ranks. */
static void choose_auto(nf_input *input, struct nf_params *p, enum nf_device_kind kind)
{
    if (p->model.dtype != NF_AUTO)
        return;
    p->model.dtype = kind == NF_CUDA ? NF_BF16 : NF_F32;
    if (p->model.dtype == NF_BF16)
        return;
    if (p->optim.state != NF_STATE_FP32)
        nf_input_complain(input, "optim", "state", "Add dtype = 'bf16' to &model, or remove state.",
                          "state is 'split' or 'bf16', which are for bf16 weights; dtype = 'auto' is fp32 on a CPU");
    if (p->optim.grad_dtype == NF_BF16)
        nf_input_complain(input, "optim", "grad_dtype", "Add dtype = 'bf16' to &model, or remove grad_dtype.",
                          "grad_dtype = 'bf16' is for bf16 weights; dtype = 'auto' is fp32 on a CPU");
}

nf_status nf_session_open(nf_input *input, const void *mpi_comm, int ranks, bool watched, struct session *s)
{
    struct nf_params *p = nf_input_params_mut(input);
    struct engine_arg arg;

    *s = (struct session){.input = input, .p = p};
    if (ranks % p->parallel.ep) {
        nf_input_complain(input, "parallel", "ep",
                          mpi_comm || ranks > 1 ? "Change parallel.ep to a divisor of the number of ranks"
                                                : "Start under mpirun, or check with --ranks N, or set parallel.ep = 1",
                          "ep = %" PRId64 " does not divide %d rank%s", p->parallel.ep, ranks, ranks == 1 ? "" : "s");
        NF_TRY(nf_input_verdict(input));
    }
    NF_TRY(nf_engine_device(p, mpi_comm, &s->device, &s->gpu));
    choose_auto(input, p, nf_device_kind(s->device));
    NF_TRY(nf_input_verdict(input));
    if (mpi_comm || ranks == 1)
        NF_TRY(nf_mesh_new(mpi_comm, (int)p->parallel.ep, s->device, &s->mesh));
    else
        NF_TRY(nf_mesh_new_virtual(ranks, 0, (int)p->parallel.ep, ranks, s->device, &s->mesh));
    if (!nf_mesh_virtual(s->mesh))
        NF_TRY(nf_agree(s->mesh, nf_gpu_memory_mark(&s->gpu, s->mesh, s->device, GPU_RANKS)));
    if (watched)
        NF_TRY(nf_watch_start(s->mesh, p->log.dir, p->train.hang_timeout, &s->watch));
    NF_TRY(nf_engine_read_config(s->mesh, p->model.path, &s->config));
    NF_TRY(nf_engine_make_model(p, s->config, &s->model));
    if (p->model.init == NF_INIT_CHECKPOINT) {
        NF_TRY(nf_st_open(s->mesh, p->model.path, &s->source));
        NF_TRY(nf_st_check(s->source, &s->model->map, s->model->desc, s->model->params, p->model.strict));
    }
    NF_TRY(foresee_export(s));
    NF_TRY(open_data(s));
    plan_steps(s);
    check_prompt(s);
    NF_TRY(nf_input_verdict(input));
    if (nf_dataset_seq_len(s->train) > s->model->context)
        nf_warn("rows of %" PRId64 " tokens are longer than the model's max_position_embeddings = %" PRId64,
                nf_dataset_seq_len(s->train), s->model->context);
    arg = nf_session_engine(s);
    NF_TRY(nf_agree(s->mesh, nf_engine_measure(&arg, s->mesh, nf_device_kind(s->device), s->bytes, &s->work, &s->memory)));
    return nf_session_fits(s);
}

void nf_session_close(struct session *s)
{
    nf_watch_leave(s->watch);
    nf_dataset_free(s->valid);
    nf_dataset_free(s->train);
    nf_st_free(s->source);
    nf_model_free(s->model);
    nf_json_free(s->config);
    nf_mesh_free(s->mesh);
    nf_device_free(s->device);
}

/* The directory of the run and the input that reproduces it. */
static nf_status keep_input(const struct session *s)
{
    nf_str text = {0};
    char *path = NULL;
    nf_status status = NF_OK;

    if (nf_mesh_rank(s->mesh) == 0) {
        status = nf_dir_make(s->p->log.dir);
        path = nf_path_join(s->p->log.dir, "input.used.nml");
        nf_input_echo(s->input, &text);
        if (!status && (!path || text.failed))
            status = nf_fail(NF_ENOMEM, "no memory for the resolved input");
        if (!status)
            status = nf_file_write(path, text.text, text.len);
    }
    free(path);
    nf_str_free(&text);
    return nf_agree(s->mesh, status);
}

/* A run that was asked to end before its first step has nothing to lose. */
static nf_status stopped_early(const struct session *s, const struct stop *stop)
{
    bool wanted;

    NF_TRY(nf_stop_ask(stop, s->mesh, &wanted));
    if (!wanted)
        return NF_OK;
    return nf_stop_status(stop, s->mesh, false,
                          "stopped while the run started: nothing is lost\n  Hint: the same command begins again");
}

/* Was the run finished before, and its last export made? Then nothing has to be loaded. */
static nf_status is_finished(const struct keeper *k, const struct resume *r, bool *finished)
{
    const struct session *s = k->s;
    bool missing = false;

    *finished = r->reader && r->state.step > 0 && r->state.step >= s->steps && !r->state.evaluation_due;
    if (!*finished)
        return NF_OK;
    nf_note("the run has all its %" PRId64 " steps", s->steps);
    if (s->p->export_.dir)
        NF_TRY(nf_keeper_export_missing(k, r->state.step, s->p->export_.dir, &missing));
    *finished = !missing;
    return NF_OK;
}

static nf_status load(struct keeper *k, struct resume *r, struct engine *e)
{
    struct session *s = k->s;
    struct engine_arg arg = nf_session_engine(s);

    (void)nf_watch_section(s->mesh, NF_SECTION_LOAD, r->state.step);
    NF_TRY(nf_engine_new(&arg, s->mesh, s->device, s->bytes, e));
    NF_TRY(nf_agree(s->mesh, nf_gpu_memory_mark(&s->gpu, s->mesh, s->device, GPU_ARENAS)));
    NF_TRY(nf_agree(s->mesh, nf_gpu_memory_check(&s->gpu, s->mesh, s->device)));
    NF_TRY(r->reader ? nf_resume_load(r, e) : nf_engine_load(e, s->source));
    NF_TRY(nf_agree(s->mesh, nf_resume_choices(r, &k->choices)));
    NF_TRY(nf_engine_tune(e, s->p->log.dir, &k->choices));
    return nf_agree(s->mesh, nf_gpu_memory_mark(&s->gpu, s->mesh, s->device, GPU_KERNELS));
}

nf_status nf_train_run(nf_input *input, const void *mpi_comm, int ranks, int rank)
{
    struct engine e = {0};
    struct keeper k = {0};
    struct resume r = {0};
    struct stop stop;
    struct session s;
    bool finished = false;
    nf_status status = nf_session_open(input, mpi_comm, ranks, true, &s);

    (void)rank;
    nf_stop_new(s.p, &stop);
    if (!stop.active)
        nf_signals_release();
    if (!status)
        status = nf_keeper_open(&s, &k);
    if (!status)
        status = nf_resume_find(&k, &r);
    if (!status)
        status = keep_input(&s);
    if (!status && stop.active)
        status = stopped_early(&s, &stop);
    if (!status)
        status = is_finished(&k, &r, &finished);
    if (!status && !finished)
        status = load(&k, &r, &e);
    if (!status && !finished && stop.active)
        status = stopped_early(&s, &stop);
    if (!status && !finished) {
        nf_tell_start(&s, &e);
        status = nf_train_loop(&s, &e, &k, &r, &stop);
    }
    nf_resume_close(&r);
    nf_keeper_close(&k);
    nf_engine_free(&e);
    nf_session_close(&s);
    return status;
}
