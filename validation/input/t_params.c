/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_params.c: the interface of the input: where values land, what was given, later complaints, help, and that a refused input
 * leaves nothing behind.
 */
#include <stdlib.h>
#include <string.h>

#include "nemafit/input.h"
#include "validation/tap.h"

#define TEXT                                                                                                                   \
    "&model path = 'm' /\n&data train = 'a', 'b', format = 'text', seq_len = 32 /\n&train steps = 7, global_batch = 6 /\n"     \
    "&optim lr = 2.5d-4, schedule = 'WSD' /\n&export dir = 'out', dtype = 'fp16' /\n"

static nf_input *parse(const char *text, char *const *args, int n)
{
    nf_input *input = NULL;
    nf_diagnosis_clear();
    if (nf_input_parse("run.nml", text, strlen(text), args, n, &input) != NF_OK)
        tap_note("%s", nf_diagnosis());
    return input;
}

static void try_values(void)
{
    char *args[] = {"train.seed=9", "data.valid=v"};
    nf_input *input = parse(TEXT, args, 2);
    if (!tap_ok(input, "a good input is accepted"))
        return;
    const struct nf_params *p = nf_input_params(input);
    tap_ok(p->model.path && !strcmp(p->model.path, "m") && p->model.init == NF_INIT_CHECKPOINT, "model");
    tap_ok(p->data.train.count == 2 && !strcmp(p->data.train.item[1], "b") && p->data.valid.count == 1 &&
               p->data.format == NF_FORMAT_TEXT && p->data.seq_len == 32 && p->data.shuffle && p->data.seed == 1234,
           "data");
    tap_ok(p->parallel.ep == 1 && p->parallel.dispatch == NF_ALLTOALL && p->parallel.chunks == 1 &&
               p->parallel.recv_factor == 2.0,
           "parallel");
    tap_ok(p->train.steps == 7 && p->train.epochs == 0.0 && p->train.global_batch == 6 && p->train.seed == 9 &&
               p->train.mtp_depth == NF_AUTO && p->train.clip == 1.0 && p->train.max_skipped == 10,
           "train");
    tap_ok(p->optim.lr == 2.5e-4 && p->optim.schedule == NF_WSD && p->optim.beta1 == 0.9 && p->optim.beta2 == 0.95 &&
               p->optim.eps == 1e-8 && p->optim.weight_decay == 0.1 && p->optim.state == NF_STATE_FP32 &&
               p->optim.grad_dtype == NF_AUTO,
           "optim");
    const char *const names[] = {"backbone.norm_f.weight", "mixer.conv1d.bias", "mixer.A_log", "mixer.D", "mixer.dt_bias"};
    for (int i = 0; i < 5; i++) {
        bool found = false;
        for (int k = 0; k < p->optim.no_decay.count; k++)
            found |= nf_str_match(p->optim.no_decay.item[k], names[i]);
        tap_ok(found, "%s does not decay by default", names[i]);
    }
    tap_ok(p->model.dtype == NF_AUTO && p->backend.device == NF_DEVICE_AUTO && p->backend.attention == NF_AUTO &&
               p->backend.experts == NF_EXPERTS_GROUPED && p->backend.deterministic && p->backend.threads == 1,
           "backend");
    tap_ok(!p->snapshot.dir && !strcmp(p->snapshot.resume, "auto") && !strcmp(p->export_.dir, "out") &&
               p->export_.dtype == NF_EXPORT_FP16 && !strcmp(p->log.dir, "run") && !p->log.sample_prompt && p->log.every == 1,
           "snapshot, export, log");
    tap_ok(nf_input_given(input, "export", "dir") && nf_input_given(input, "train", "seed") &&
               nf_input_given(input, "data", "valid") && !nf_input_given(input, "train", "clip") &&
               !nf_input_given(input, "train", "nonsense"),
           "what was given is known");
    nf_input_free(input);
    nf_input_free(NULL);
}

static void try_complaints(void)
{
    char *args[] = {"parallel.ep=3"};
    nf_input *input = parse(TEXT, args, 1);
    nf_diagnosis_clear();
    tap_ok(nf_input_verdict(input) == NF_OK && !*nf_diagnosis(), "without complaints the verdict is good");
    nf_input_complain(input, "parallel", "ep", "Change ep to 1, 2 or 4.",
                      "ep = %d does not divide the %d experts of config.json", 3, 8);
    nf_input_complain(input, "train", "global_batch", NULL, "global_batch = 6 is no multiple of 4");
    nf_input_complain(input, "train", "local_batch", "Change it.", "no such row fits");
    tap_ok(nf_input_verdict(input) == NF_EUSAGE && nf_diagnosis_status() == NF_EUSAGE, "complaints make the verdict bad");
    const char *want = "run.nml:3:19: global_batch = 6 is no multiple of 4\n"
                       "    3 | &train steps = 7, global_batch = 6 /\n"
                       "      |                   ^~~~~~~~~~~~\n"
                       "command line: ep = 3 does not divide the 8 experts of config.json\n"
                       "      | parallel.ep=3\n"
                       "      |          ^~\n"
                       "  Change ep to 1, 2 or 4.\n"
                       "run.nml: no such row fits (train.local_batch is 1 by default)\n"
                       "  Change it.";
    if (!tap_ok(!strcmp(nf_diagnosis(), want), "complaints point at file, override or default"))
        tap_note("%s", nf_diagnosis());
    nf_input_free(input);
}

static void try_known_later(void)
{
    nf_input *input = parse(TEXT, NULL, 0), *again;
    nf_input_params_mut(input)->model.dtype = NF_F32;
    nf_input_params_mut(input)->train.global_batch = 12;
    nf_str echo = {0};
    nf_input_echo(input, &echo);
    again = parse(echo.text, NULL, 0);
    tap_ok(again && nf_input_params(again)->model.dtype == NF_F32 && nf_input_params(again)->train.global_batch == 12,
           "values chosen later are in the echo");
    nf_input_free(input);
    nf_input_free(again);
    nf_str_free(&echo);
}

static void try_refusal(void)
{
    nf_input *const untouched = (nf_input *)&untouched, *input = untouched;
    nf_diagnosis_clear();
    const char *text = TEXT "&log every = 0 /\n";
    tap_ok(nf_input_parse("run.nml", text, strlen(text), NULL, 0, &input) == NF_EUSAGE && input == untouched,
           "a refused input gives nothing");
    size_t n = 1024 * 1024 + 1;
    char *large = malloc(n + 1);
    memset(large, ' ', n);
    nf_diagnosis_clear();
    tap_ok(nf_input_parse("run.nml", large, n, NULL, 0, &input) == NF_EUSAGE && strstr(nf_diagnosis(), "1 MiB"),
           "1 MiB and a byte is refused");
    memcpy(large, TEXT, strlen(TEXT));
    tap_ok(nf_input_parse("run.nml", large, n - 1, NULL, 0, &input) == NF_OK, "1 MiB is not");
    nf_input_free(input);
    free(large);
}

static void try_defaults(void)
{
    char *args[] = {"parallel.ep=2", "backend.experts=eager"}, *wrong[] = {"parallel.ep=two"};
    nf_input *input = NULL;
    tap_ok(nf_input_defaults(args, 2, &input) == NF_OK, "defaults and overrides without a file");
    tap_ok(input && nf_input_params(input)->parallel.ep == 2 && nf_input_params(input)->backend.experts == NF_EXPERTS_EAGER &&
               !nf_input_params(input)->model.path,
           "their values");
    nf_input_complain(input, "train", "clip", NULL, "nothing to clip");
    nf_diagnosis_clear();
    tap_ok(nf_input_verdict(input) == NF_EUSAGE &&
               !strcmp(nf_diagnosis(), "command line: nothing to clip (train.clip is 1.0 by default)"),
           "a complaint without a file");
    nf_input_free(input);
    nf_diagnosis_clear();
    tap_ok(nf_input_defaults(wrong, 1, &input) == NF_EUSAGE, "a wrong override without a file");
}

static void try_description(const char *name, bool known, const char *word)
{
    nf_str out = {0};
    bool found = nf_input_describe(name, &out);
    if (!tap_ok(found == known && out.text && strstr(out.text, word), "describe %s: has '%s'", name ? name : "all", word))
        tap_note("%s", out.text ? out.text : "nothing");
    nf_str_free(&out);
}

static void try_help(void)
{
    try_description(NULL, true, "snapshot.on_error");
    try_description("optim", true, "optim.lr: real, default 1.0e-5");
    try_description("&optim", true, "optim.beta2");
    try_description("TRAIN.Steps", true, "train.steps: integer in steps, default 0");
    try_description("lr", true, "optim.lr");
    try_description("dir", true, "export.dir");
    try_description("parallel.shard", true, "Not in this version: 'state'");
    try_description("optim.learning_rate", false, "maybe: optim.lr?");
    try_description("optin", false, "maybe: optim?");
    try_description("seq_length", false, "maybe: data.seq_len?");
    try_description("", false, "no parameter ''");
    try_description("\x1b[2J", false, "\\x1b[2J");
    nf_str out = {0};
    nf_input_manual(&out);
    tap_ok(out.text && strstr(out.text, ".SS &model\n") && strstr(out.text, ".B sample_temperature\n"),
           "the manual has groups and keys");
    nf_str_free(&out);
}

int main(void)
{
    tap_open();
    try_values();
    try_complaints();
    try_known_later();
    try_refusal();
    try_defaults();
    try_help();
    return tap_done();
}
