/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c: conditions over the values of a whole input that need neither model nor mesh: what is missing, what this version
 * lacks, what contradicts what. A row whose own error was told is left out of all of them: what follows from an error is not
 * another.
 */
#include <stdlib.h>
#include <string.h>

#include "private.h"

static bool is_fine(const nf_input *input, const char *group, const char *key)
{
    return !input->troubled[nf_table_find(group, key)];
}

/* "&model is missing, and with it path" or "path is missing in &model"; `what` may name several keys. */
static void missing(nf_input *input, const char *group, const char *what, const char *example)
{
    nf_str text = {0}, hint = {0};
    if (input->has_group[nf_table_group_find(group)]) {
        nf_str_addf(&text, "%s is missing in &%s", what, group);
        nf_str_addf(&hint, "Add %s to &%s.", example, group);
    } else {
        int seen = 0;
        nf_str_addf(&text, "&%s is missing, and with it %s", group, what);
        for (int g = 0; g < nf_table_groups(); g++)
            if (input->has_group[g])
                nf_str_addf(&text, "%s&%s", seen++ ? ", " : " (groups seen: ", nf_table_group(g));
        nf_str_add(&text, seen ? ")" : " (no group was seen)");
        nf_str_addf(&hint, "Add &%s %s /", group, example);
    }
    nf_message_add(input, NF_NOWHERE, hint.text, "%s", text.text ? text.text : "");
    input->no_memory |= text.failed || hint.failed;
    nf_str_free(&text);
    nf_str_free(&hint);
}

static void check_required(nf_input *input)
{
    const struct nf_params *p = &input->params;
    if (!p->model.path && is_fine(input, "model", "path"))
        missing(input, "model", "path", "path = 'directory'");
    bool has_format = is_fine(input, "data", "format");
    if (!p->data.train.count && is_fine(input, "data", "train") && has_format && p->data.format != NF_FORMAT_MOCK)
        missing(input, "data", "train", "train = 'file'");
    /* steps = 0 is no step, if it was said */
    if (!p->train.steps && p->train.epochs == 0.0 && !nf_input_given(input, "train", "steps") &&
        is_fine(input, "train", "steps") && is_fine(input, "train", "epochs"))
        missing(input, "train", "steps or epochs", "steps = 100 (or epochs = 1.0)");
}

/* What of a choice this version has: "'text' or 'mock'". */
static void too_early_choice(nf_input *input, int i, const struct nf_choice *c)
{
    const struct nf_row *row = nf_table_row(i);
    nf_str hint = {0};
    nf_str_addf(&hint, "Change %s to ", row->key);
    nf_describe_choices(row, false, &hint);
    nf_str_add(&hint, ".");
    nf_message_add(input, input->given[i], hint.text, "%s = '%s': not in this version (%s)", row->key, c->name, c->later);
    input->no_memory |= hint.failed;
    nf_str_free(&hint);
}

static bool is_positive(const struct nf_row *row, const void *field)
{
    return row->kind == NF_KIND_INT ? *(const int64_t *)field > 0 : *(const double *)field > 0.0;
}

/* Does a row whose feature comes later have a value that needs it? */
static bool is_too_early(const struct nf_row *row, const void *field, const char *value)
{
    if (!row->later)
        return false;
    return row->flags & NF_ROW_LATER_IF_POSITIVE ? is_positive(row, field) : strcmp(value, row->standard) != 0;
}

static void check_version(nf_input *input)
{
    for (int i = 0; i < nf_table_rows(); i++) {
        const struct nf_row *row = nf_table_row(i);
        const void *field = nf_assign_const_field(input, row);
        nf_str value = {0};
        if (input->troubled[i])
            continue;
        for (const struct nf_choice *c = row->choice; c && c->name; c++)
            if (c->value == *(const int *)field && c->later)
                too_early_choice(input, i, c);
        nf_echo_value(row, field, &value);
        if (value.text && is_too_early(row, field, value.text)) {
            bool is_number = row->flags & NF_ROW_LATER_IF_POSITIVE;
            char *hint = nf_message_format(is_number ? "Change %s to 0, or remove it." : "Remove %s.", row->key);
            nf_str shown = {0};
            nf_message_shown(&shown, value.text, value.len, 40);
            nf_message_add(input, input->given[i], hint, "%s = %s: not in this version (%s)", row->key,
                           shown.text ? shown.text : "", row->later);
            input->no_memory |= !hint || shown.failed;
            nf_str_free(&shown);
            free(hint);
        }
        input->no_memory |= value.failed;
        nf_str_free(&value);
    }
}

static void check_data(nf_input *input, bool needs_all)
{
    const struct nf_params *p = &input->params;
    const char *format = p->data.format == NF_FORMAT_TEXT ? "text" : "mock";
    if (!is_fine(input, "data", "seq_len") || !is_fine(input, "data", "format"))
        return;
    if (p->data.seq_len == 1)
        nf_input_complain(input, "data", "seq_len", "Change seq_len to 2 or more.",
                          "a row of seq_len = 1 has no next token to predict");
    if (p->data.seq_len || p->data.format == NF_FORMAT_HDF5 || !nf_input_given(input, "data", "format"))
        return;
    if (nf_input_given(input, "data", "seq_len"))
        nf_input_complain(input, "data", "seq_len", "Change seq_len to the length of a row in tokens, as in seq_len = 512.",
                          "data of format '%s' have no seq_len of their own", format);
    else if (needs_all && !input->torn)
        nf_message_add(input, NF_NOWHERE, "Add the length of a row in tokens, as in seq_len = 512, to &data.",
                       "seq_len is missing in &data: data of format '%s' have none of their own", format);
}

static void check_train(nf_input *input)
{
    const struct nf_params *p = &input->params;
    int64_t local = p->train.local_batch, global = p->train.global_batch;
    if (p->train.steps > 0 && p->train.epochs > 0.0 && is_fine(input, "train", "steps") && is_fine(input, "train", "epochs"))
        nf_input_complain(input, "train", nf_input_given(input, "train", "epochs") ? "epochs" : "steps",
                          "Remove one of them (on the command line: set it to 0).",
                          "steps = %lld and epochs = %g: both set the length of the run", (long long)p->train.steps,
                          p->train.epochs);
    if (global > 0 && global % local && is_fine(input, "train", "local_batch") && is_fine(input, "train", "global_batch")) {
        int64_t below = global / local * local;
        char *hint = below ? nf_message_format("Change global_batch to %lld or %lld (a multiple of ranks x local_batch).",
                                               (long long)below, (long long)(below + local))
                           : nf_message_format("Change global_batch to a multiple of %lld x ranks.", (long long)local);
        nf_input_complain(input, "train", "global_batch", hint, "global_batch = %lld is not a multiple of local_batch = %lld",
                          (long long)global, (long long)local);
        input->no_memory |= !hint;
        free(hint);
    }
    if (p->train.eval_every > 0 && !p->data.valid.count && p->data.format != NF_FORMAT_MOCK && !input->torn &&
        is_fine(input, "train", "eval_every") && is_fine(input, "data", "valid") && is_fine(input, "data", "format"))
        nf_input_complain(input, "train", "eval_every", "Add valid = 'file' to &data, or remove eval_every.",
                          "eval_every = %lld, but there are no data to evaluate on", (long long)p->train.eval_every);
}

static void check_optim(nf_input *input)
{
    const struct nf_params *p = &input->params;
    bool has_steps = is_fine(input, "train", "steps") && p->train.steps > 0 && p->train.epochs == 0.0;
    if (has_steps && is_fine(input, "optim", "warmup") && p->optim.warmup > p->train.steps) {
        char *hint = nf_message_format("Change warmup to at most %lld, or raise steps.", (long long)p->train.steps);
        nf_input_complain(input, "optim", "warmup", hint, "warmup = %lld is longer than the run: steps = %lld",
                          (long long)p->optim.warmup, (long long)p->train.steps);
        input->no_memory |= !hint;
        free(hint);
    }
    if (p->optim.min_lr > p->optim.lr && is_fine(input, "optim", "min_lr") && is_fine(input, "optim", "lr"))
        nf_input_complain(input, "optim", nf_input_given(input, "optim", "min_lr") ? "min_lr" : "lr",
                          "Change min_lr to at most lr, or raise lr.", "min_lr = %g is above lr = %g", p->optim.min_lr,
                          p->optim.lr);
}

/* What is for bf16 weights alone. Whether 'auto' is bf16 is known once there is a device. */
static void check_types(nf_input *input)
{
    const struct nf_params *p = &input->params;
    if (p->model.dtype != NF_F32 || !is_fine(input, "model", "dtype"))
        return;
    if (p->optim.state != NF_STATE_FP32 && is_fine(input, "optim", "state"))
        nf_input_complain(input, "optim", "state", "Change state to 'fp32', or model.dtype to 'bf16'.",
                          "state = '%s' is for bf16 weights: with dtype = 'fp32' the weight is its own master",
                          p->optim.state == NF_STATE_SPLIT ? "split" : "bf16");
    if (p->optim.grad_dtype == NF_BF16 && is_fine(input, "optim", "grad_dtype"))
        nf_input_complain(input, "optim", "grad_dtype", "Change grad_dtype to 'auto' or 'fp32', or model.dtype to 'bf16'.",
                          "grad_dtype = 'bf16' is for bf16 weights: with dtype = 'fp32' gradients are fp32");
}

/* What cuDNN's attention cannot do whatever the model and the data; src/ops finds the rest in its rehearsal. */
static void check_attention(nf_input *input)
{
    const struct nf_params *p = &input->params;
    if (p->backend.attention != NF_ATTN_CUDNN || !is_fine(input, "backend", "attention"))
        return;
    if (p->backend.device == NF_DEVICE_CPU && is_fine(input, "backend", "device"))
        nf_input_complain(input, "backend", "attention", "Change attention to 'auto', or device to 'cuda'.",
                          "attention = 'cudnn' is for GPUs, and device = 'cpu'");
    if (p->backend.deterministic && is_fine(input, "backend", "deterministic"))
        nf_input_complain(
            input, "backend", "attention", "Add deterministic = .false. to &backend, or change attention to 'flash'.",
            "attention = 'cudnn' does not give the same bits in every run, which deterministic = .true. asks for");
    if (p->model.dtype == NF_F32 && is_fine(input, "model", "dtype"))
        nf_input_complain(input, "backend", "attention", "Change attention to 'flash', or model.dtype to 'bf16'.",
                          "attention = 'cudnn' is for bf16, and model.dtype = 'fp32'");
}

/* Windows are memory of GPUs. */
static void check_dispatch(nf_input *input)
{
    const struct nf_params *p = &input->params;
    if (p->parallel.dispatch == NF_FUSED && p->backend.device == NF_DEVICE_CPU && is_fine(input, "parallel", "dispatch") &&
        is_fine(input, "backend", "device"))
        nf_input_complain(input, "parallel", "dispatch",
                          "Change dispatch to 'alltoall', which sends the same rows, or device to 'cuda'.",
                          "dispatch = 'fused' is for GPUs, and device = 'cpu'");
}

/* The same directory, as far as spelling tells. */
static bool same_path(const char *a, const char *b)
{
    size_t na = a ? strlen(a) : 0, nb = b ? strlen(b) : 0;
    while (na > 1 && a[na - 1] == '/')
        na--;
    while (nb > 1 && b[nb - 1] == '/')
        nb--;
    return na && na == nb && !memcmp(a, b, na);
}

static void check_output(nf_input *input)
{
    const struct nf_params *p = &input->params;
    if (same_path(p->export_.dir, p->model.path))
        nf_input_complain(input, "export", "dir", "Choose another directory.",
                          "dir is model.path too: an export does not replace its source");
    if (same_path(p->log.dir, p->model.path))
        nf_input_complain(input, "log", "dir", "Choose another directory.",
                          "dir is model.path too: a run does not write into its source");
    if (!p->log.dir && is_fine(input, "log", "dir"))
        nf_input_complain(input, "log", "dir", "Give dir a directory, or remove it.",
                          "dir is empty: a run needs a directory to write into");
    if (p->export_.every > 0 && !p->export_.dir && is_fine(input, "export", "dir") && is_fine(input, "export", "every"))
        nf_input_complain(input, "export", "every", "Add dir = 'directory' to &export, or remove every.",
                          "every = %lld, but &export has no dir", (long long)p->export_.every);
}

/* Keys that mean nothing without a directory of snapshots. */
static void check_snapshot(nf_input *input)
{
    static const struct {
        const char *group, *key;
    } needs_dir[] = {{"snapshot", "every"}, {"snapshot", "keep_best"}, {"train", "max_wall"}};
    const struct nf_params *p = &input->params;
    const bool wants[] = {p->snapshot.every > 0, p->snapshot.keep_best, p->train.max_wall > 0.0};

    if (!is_fine(input, "snapshot", "dir"))
        return;
    for (size_t i = 0; i < sizeof wants / sizeof *wants && !p->snapshot.dir; i++)
        if (wants[i] && is_fine(input, needs_dir[i].group, needs_dir[i].key)) {
            char *hint = nf_message_format("Add dir = 'directory' to &snapshot, or remove %s.", needs_dir[i].key);
            nf_input_complain(input, needs_dir[i].group, needs_dir[i].key, hint, "%s is given, but &snapshot has no dir",
                              needs_dir[i].key);
            input->no_memory |= !hint;
            free(hint);
        }
    if (p->snapshot.keep_best && !p->data.valid.count && !input->torn && is_fine(input, "snapshot", "keep_best") &&
        is_fine(input, "data", "valid"))
        nf_input_complain(input, "snapshot", "keep_best", "Add valid = 'file' to &data, or remove keep_best.",
                          "keep_best is given, but there are no data to evaluate on");
    if (same_path(p->snapshot.dir, p->model.path) || same_path(p->snapshot.dir, p->export_.dir))
        nf_input_complain(input, "snapshot", "dir", "Choose another directory.",
                          "dir is %s too: snapshots need a directory of their own",
                          same_path(p->snapshot.dir, p->model.path) ? "model.path" : "export.dir");
}

void nf_check(nf_input *input, bool needs_all)
{
    if (needs_all && !input->torn)
        check_required(input);
    check_version(input);
    check_data(input, needs_all);
    check_train(input);
    check_optim(input);
    check_types(input);
    check_attention(input);
    check_dispatch(input);
    check_output(input);
    check_snapshot(input);
}
