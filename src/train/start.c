/* SPDX-License-Identifier: Apache-2.0 */
/* start.c: what a run is, before its first step: model, mesh, memory by name, tokens a step, the first row as people read it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "nemafit/log.h"

static void tell_memory(const struct session *s, const struct engine *e)
{
    nf_str lines = {0};
    size_t sum = 0;
    char text[32];

    for (int i = 0; i < ARENA_KINDS; i++)
        sum += e->bytes[i];
    nf_memory_lines(&s->memory, sum / 40, &lines); /* what is worth a line; --check shows all */
    nf_note("memory    %s a rank\n%s", nf_str_bytes(text, (double)sum), lines.text ? lines.text : "");
    nf_str_free(&lines);
}

/* "bf16, gradients bf16, AdamW state 'split'": of the parameters that have the model's type. */
static void tell_types(const struct nf_params *p, const struct engine *e)
{
    static const char *const scheme[] = {[NF_STATE_FP32] = "fp32", [NF_STATE_SPLIT] = "split", [NF_STATE_BF16] = "bf16"};
    const nf_model *m = e->arg.model;
    const nf_dtype *type = nf_residency_types(e->res, NF_GRADIENTS);
    const nf_dtype own = (nf_dtype)p->model.dtype;
    bool half = false, wide = false;

    for (int i = 0; i < m->params; i++) {
        if (m->desc[i].frozen || m->desc[i].dtype != own)
            continue;
        half |= type[i] == NF_BF16;
        wide |= type[i] == NF_F32;
    }
    nf_note("types     %s, gradients %s%s%s, AdamW state '%s'", nf_dtype_name(own), half ? "bf16" : "",
            half && wide ? " and " : "", wide || !half ? "fp32" : "", scheme[p->optim.state]);
}

void nf_tell_start(const struct session *s, const struct engine *e)
{
    const struct nf_params *p = s->p;
    int ranks = nf_mesh_ranks(s->mesh), ep = nf_group_size(nf_mesh_group(s->mesh, NF_EP));
    int64_t len = nf_dataset_seq_len(s->train);
    char kernels[160], count[32];
    nf_str model = {0};

    nf_model_describe(s->model, &model);
    nf_note("model     %s", model.text ? model.text : "");
    nf_note("          %s %s", s->source ? "from" : "drawn at random for the config.json of", p->model.path);
    const char *tokens = ep > 1 ? nf_exchange_transport(e->exchange) : NULL;
    if (ranks > 1)
        nf_note("mesh      dp %d, ep %d, edp %d: %d ranks over %s, %d a node%s%s", ranks, ep, ranks / ep, ranks,
                nf_mesh_transport(s->mesh), nf_group_size(nf_mesh_group(s->mesh, NF_NODE)), tokens ? "; tokens over " : "",
                tokens ? tokens : "");
    else
        nf_note("mesh      one rank");
    nf_note("device    %s, %d thread%s a rank; %s", nf_device_name(s->device), nf_device_threads(s->device),
            nf_device_threads(s->device) == 1 ? "" : "s", nf_ops_describe(s->device, kernels));
    nf_note("data      %" PRId64 " rows of %" PRId64 " tokens%s", nf_dataset_rows(s->train), len,
            nf_dataset_segmented(s->train) ? ", segmented" : "");
    nf_note("step      %" PRId64 " rows = %s tokens: %d ranks x %d micro-batch%s x %" PRId64 " rows; %" PRId64 " steps",
            s->global_batch, nf_str_count(count, (double)(s->global_batch * len)), ranks, s->micro_batches,
            s->micro_batches == 1 ? "" : "es", p->train.local_batch, s->steps);
    tell_types(p, e);
    tell_memory(s, e);
    if (nf_mesh_shares_gpu(s->mesh))
        nf_warn("some ranks share a GPU: they take turns on it, and sums go through the host; for tests, not for speed"
                "\n  Hint: start one rank a GPU");
    nf_gpu_memory_tell(&s->gpu);
    if (p->train.gate != NF_GATE_ROUTER)
        nf_warn("train.gate is not 'router': tokens go to made-up experts; for measurements only");
    nf_str_free(&model);
}

/* What is scored stands between {{ and }}. */
void nf_tell_first_row(const nf_dataset *data, const struct row_buffers *rows, int64_t len)
{
    int64_t shown = !rows->rows ? 0 : len < 240 ? len : 240, next;
    nf_str line = {0};
    bool inside = false;

    for (int64_t t = 0; t < shown; t = next) { /* as far as the tokens are alike: a letter may be spelt by several */
        bool scored = t > 0 && rows->target[t - 1] != -100;
        if (scored != inside)
            nf_str_add(&line, scored ? "{{" : "}}");
        inside = scored;
        for (next = t + 1; next < shown && (rows->target[next - 1] != -100) == scored;)
            next++;
        nf_dataset_decode(data, &rows->ids[t], next - t, &line);
    }
    if (inside)
        nf_str_add(&line, shown < len ? "..." : "}}");
    nf_note("first row %s", line.text ? line.text : "");
    nf_str_free(&line);
}
