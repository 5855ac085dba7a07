/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c: THE table of parameters, the single source of names, types, units, defaults, ranges and help: reading, checking,
 * echo,
 * --describe and nemafit(5) all follow it. The type of a row is the C type of its field. A key or value whose feature this
 * version lacks says in `later` what that feature is; using it is refused by name.
 */
#include "private.h"

#define KIND(field)                                                                                                            \
    _Generic(((struct nf_params *)0)->field,                                                                           \
        int64_t: NF_KIND_INT,                                                                                          \
        double: NF_KIND_REAL,                                                                                          \
        bool: NF_KIND_BOOL,                                                                                            \
        int: NF_KIND_CHOICE,                                                                                           \
        char *: NF_KIND_TEXT,                                                                                          \
        nf_strings: NF_KIND_LIST)
#define FIELD(member, group_name, key_name)                                                                                    \
    .group = group_name, .key = key_name, .kind = KIND(member), .offset = offsetof(struct nf_params, member)
#define ROW(g, k) FIELD(g.k, #g, #k)

#define MTP "multi-token prediction"
#define BENCHMARK "the benchmark"
#define HUGE_INT 9.3e18 /* above every int64: no bound */

static const struct nf_choice inits[] = {{"checkpoint", NF_INIT_CHECKPOINT, NULL}, {"random", NF_INIT_RANDOM, NULL}, {0}};
static const struct nf_choice dtypes[] = {{"auto", NF_AUTO, NULL}, {"fp32", NF_F32, NULL}, {"bf16", NF_BF16, NULL}, {0}};
static const struct nf_choice recomputes[] = {
    {"none", NF_RECOMPUTE_NONE, NULL}, {"selective", NF_RECOMPUTE_SELECTIVE, NULL}, {"block", NF_RECOMPUTE_BLOCK, NULL}, {0}};
static const struct nf_choice formats[] = {
    {"hdf5", NF_FORMAT_HDF5, NULL}, {"text", NF_FORMAT_TEXT, NULL}, {"mock", NF_FORMAT_MOCK, NULL}, {0}};
static const struct nf_choice shards[] = {
    {"none", NF_SHARD_NONE, NULL}, {"state", NF_SHARD_STATE, "sharding"}, {"full", NF_SHARD_FULL, "sharding"}, {0}};
static const struct nf_choice dispatches[] = {
    {"allgather", NF_ALLGATHER, NULL}, {"alltoall", NF_ALLTOALL, NULL}, {"fused", NF_FUSED, NULL}, {0}};
static const struct nf_choice gates[] = {
    {"router", NF_GATE_ROUTER, NULL}, {"random", NF_GATE_RANDOM, NULL}, {"contiguous", NF_GATE_CONTIGUOUS, NULL}, {0}};
static const struct nf_choice aux_modes[] = {
    {"hf", NF_AUX_HF, NULL}, {"automodel", NF_AUX_AUTOMODEL, "the load-balancing loss"}, {0}};
static const struct nf_choice schedules[] = {
    {"constant", NF_CONSTANT, NULL}, {"linear", NF_LINEAR, NULL}, {"cosine", NF_COSINE, NULL}, {"wsd", NF_WSD, NULL}, {0}};
static const struct nf_choice states[] = {
    {"fp32", NF_STATE_FP32, NULL}, {"split", NF_STATE_SPLIT, NULL}, {"bf16", NF_STATE_BF16, NULL}, {0}};
static const struct nf_choice devices[] = {
    {"auto", NF_DEVICE_AUTO, NULL}, {"cpu", NF_DEVICE_CPU, NULL}, {"cuda", NF_DEVICE_CUDA, NULL}, {0}};
static const struct nf_choice backends[] = {
    {"eager", NF_EXPERTS_EAGER, NULL}, {"batched", NF_EXPERTS_BATCHED, NULL}, {"grouped", NF_EXPERTS_GROUPED, NULL}, {0}};
static const struct nf_choice attentions[] = {{"auto", NF_AUTO, NULL},
                                              {"reference", NF_ATTN_REFERENCE, NULL},
                                              {"flash", NF_ATTN_FLASH, NULL},
                                              {"cudnn", NF_ATTN_CUDNN, NULL},
                                              {0}};
static const struct nf_choice on_errors[] = {
    {"stop", NF_ON_ERROR_STOP, NULL}, {"retry", NF_ON_ERROR_RETRY, NULL}, {"pause", NF_ON_ERROR_PAUSE, NULL}, {0}};
static const struct nf_choice export_dtypes[] = {{"source", NF_EXPORT_SOURCE, NULL},
                                                 {"bf16", NF_EXPORT_BF16, NULL},
                                                 {"fp32", NF_EXPORT_FP32, NULL},
                                                 {"fp16", NF_EXPORT_FP16, NULL},
                                                 {0}};

const struct nf_row nf_table[] = {
    {ROW(model, path), .standard = "''", .flags = NF_ROW_REQUIRED | NF_ROW_PATH,
     .also = "checkpoint dir model_path model_name_or_path",
     .help =
         "Hugging Face checkpoint directory: config.json and safetensors files. With init = 'random' config.json is enough."},
    {ROW(model, init), .standard = "'checkpoint'", .choice = inits,
     .help = "Where the weights come from: the checkpoint, or random numbers keyed by train.seed."},
    {ROW(model, dtype), .standard = "'auto'", .choice = dtypes, .also = "precision torch_dtype",
     .help = "Type of parameters and activations. Sums, norms, softmax and routers are fp32 in any case, and so are Mamba2's "
             "A_log, D and dt_bias. 'auto': fp32 on a CPU, bf16 on a GPU."},
    {ROW(model, recompute), .standard = "'none'", .choice = recomputes,
     .also = "gradient_checkpointing activation_checkpointing",
     .help =
         "What the backward pass computes again to save memory: nothing, outputs of norms and activations, or whole blocks."},
    {ROW(model, freeze), .standard = "''", .also = "frozen",
     .help = "Tensors that are not trained, as patterns over the names in the checkpoint: '*' stands for any text, '?' for one "
             "letter."},
    {ROW(model, strict), .standard = ".true.",
     .help =
         "Refuse a checkpoint that holds tensors which the model does not know; .false.: they pass through untouched. Keys of "
         "config.json that are unknown are named in a warning; what would change the mathematics and is not supported is "
         "refused in any case."},
    {ROW(model, dt_floor_compat), .standard = ".false.",
     .help = "Clamp the time step of Mamba2 from below by time_step_min, as some releases of transformers do, in place of "
             "time_step_limit."},

    {ROW(data, train), .standard = "''", .flags = NF_ROW_REQUIRED | NF_ROW_PATH, .also = "files train_files data path dataset",
     .help = "Files to train on, joined in this order. Not needed with format = 'mock'."},
    {ROW(data, valid), .standard = "''", .flags = NF_ROW_PATH, .also = "eval validation val valid_files test",
     .help = "Files whose loss is measured but not trained on; none: no evaluation."},
    {ROW(data, format), .standard = "'hdf5'", .choice = formats, .also = "type kind",
     .help = "'hdf5': token ids and labels, as scripts/nemafit-tokenize makes them. 'text': plain files, one token a "
             "byte, 256 ends a file. 'mock': random tokens, for measurements."},
    {ROW(data, seq_len), .standard = "0", .unit = "tokens", .low = 0, .high = 16777216,
     .also = "seq_length sequence_length max_seq_length context_length block_size",
     .help = "Length of a row. 0: as the data say, which text and mock do not. If given for hdf5, it must be what they say."},
    {ROW(data, shuffle), .standard = ".true.",
     .help = "Take the rows of an epoch in random order, which depends on seed and epoch only."},
    {ROW(data, seed), .standard = "1234", .low = 0, .high = HUGE_INT,
     .help = "Key of the order of the rows, and of mock data."},

    {ROW(parallel, ep), .standard = "1", .flags = NF_ROW_FREE, .unit = "ranks", .low = 1, .high = 1048576,
     .also = "expert_parallel ep_size expert_parallel_size",
     .help = "Ranks that split the experts of a layer. Divides the number of ranks and of experts."},
    {ROW(parallel, shard), .standard = "'none'", .flags = NF_ROW_FREE, .choice = shards, .also = "zero fsdp zero_stage",
     .help = "What else is split over ranks: nothing, optimizer state ('state'), or parameters and gradients too ('full')."},
    {ROW(parallel, dispatch), .standard = "'alltoall'", .flags = NF_ROW_FREE, .choice = dispatches,
     .help =
         "How tokens reach their experts. 'allgather': every token to every rank, the definition. 'alltoall': each token "
         "once to each rank that needs it. 'fused': the same rows, counted, packed and sent by one kernel that writes into the "
         "memory of the other GPUs of the node; where these cannot be reached, as 'alltoall'."},
    {ROW(parallel, chunks), .standard = "1", .flags = NF_ROW_FREE, .low = 1, .high = 1024,
     .help = "Parts of a micro-batch that travel one after the other, so that experts compute while tokens travel."},
    {ROW(parallel, recv_factor), .standard = "2.0", .low = 0, .high = 1048576, .flags = NF_ROW_ABOVE | NF_ROW_FREE,
     .also = "capacity_factor",
     .help =
         "Room for received tokens, as a multiple of the mean. What does not fit goes in further passes; no token is dropped."},

    {ROW(train, steps), .standard = "0", .flags = NF_ROW_FREE, .unit = "steps", .low = 0, .high = HUGE_INT,
     .also = "max_steps num_steps iterations iters",
     .help =
         "Length of the run in optimizer steps. 0: by epochs; with epochs 0 too, the model is loaded, evaluated and exported."},
    {ROW(train, epochs), .standard = "0.0", .flags = NF_ROW_FREE, .unit = "epochs", .low = 0, .high = 1e9,
     .also = "num_epochs num_train_epochs",
     .help = "Length of the run in passes over the data, fractions allowed. 0: by steps."},
    {ROW(train, local_batch), .standard = "1", .unit = "rows", .low = 1, .high = 1048576,
     .also = "batch batch_size micro_batch micro_batch_size per_device_train_batch_size",
     .help = "Rows that a rank takes at once: one micro-batch."},
    {ROW(train, global_batch), .standard = "0", .unit = "rows", .low = 0, .high = HUGE_INT,
     .also = "global_batch_size total_batch_size",
     .help = "Rows of a step on all ranks; more than ranks x local_batch are accumulated, and it must be a multiple of that. "
             "0: ranks x local_batch."},
    {ROW(train, eval_every), .standard = "0", .unit = "steps", .low = 0, .high = HUGE_INT,
     .also = "eval_steps eval_interval val_every",
     .help = "Steps from one evaluation to the next. 0: only before the first step and after the last."},
    {ROW(train, eval_batches), .standard = "0", .unit = "micro-batches", .low = 0, .high = HUGE_INT,
     .help = "How much of the validation data an evaluation takes, on each rank. 0: all."},
    {ROW(train, seed), .standard = "1234", .low = 0, .high = HUGE_INT,
     .help = "Key of all random numbers but the order of the data."},
    {ROW(train, gate), .standard = "'router'", .choice = gates, .also = "routing router",
     .help = "Which experts a token goes to: the model's router decides; at random, or in turn, for measurements."},
    {ROW(train, aux_loss), .standard = "0.0", .low = 0, .high = 1e6, .flags = NF_ROW_LATER_IF_POSITIVE,
     .later = "the load-balancing loss", .also = "aux_loss_coef router_aux_loss_coef",
     .help = "Factor of the load-balancing loss."},
    {ROW(train, aux_mode), .standard = "'hf'", .choice = aux_modes,
     .help = "Which definition of the load-balancing loss: that of transformers or of NeMo AutoModel."},
    {ROW(train, router_bias_rate), .standard = "0.0", .low = 0, .high = 1, .also = "bias_update_rate",
     .help = "How far a step moves the correction bias of an expert that had more or fewer tokens than the mean."},
    {ROW(train, mtp_depth), .standard = "-1", .low = -1, .high = 64, .flags = NF_ROW_LATER_IF_POSITIVE, .later = MTP,
     .help = "Tokens beyond the next that are predicted in training. -1: as config.json says."},
    {ROW(train, mtp_repeat), .standard = ".false.", .later = MTP, .help = "Use the first prediction layer for every depth."},
    {ROW(train, mtp_scale), .standard = "0.1", .low = 0, .high = 1e6, .later = MTP,
     .help = "Factor of the loss of the tokens beyond the next."},
    {ROW(train, clip), .standard = "1.0", .low = 0, .high = 1e30, .also = "grad_clip clip_grad max_grad_norm gradient_clipping",
     .help = "Largest norm of the whole gradient; a larger one is scaled down to it. 0: no clipping."},
    {ROW(train, max_skipped), .standard = "10", .unit = "steps", .low = 0, .high = HUGE_INT,
     .help =
         "Steps in a row that may be skipped for a loss or gradient that is not finite, before the run ends with status 79."},
    {ROW(train, hang_timeout), .standard = "1800.0", .unit = "s", .low = 0, .high = 1e9, .flags = NF_ROW_FREE,
     .help = "Time in which nothing moves on any rank, after which the run ends with status 76 and names the rank that is to "
             "blame. 0: "
             "never."},
    {ROW(train, max_wall), .standard = "0.0", .unit = "s", .low = 0, .high = 1e9, .flags = NF_ROW_FREE,
     .also = "max_time time_limit",
     .help =
         "Wall-clock time within which the run takes a last snapshot and ends with status 75; what snapshots and steps took so "
         "far is set aside for it. 0: no limit. The end that Slurm tells in SLURM_JOB_END_TIME counts too."},

    {ROW(optim, lr), .standard = "1.0e-5", .low = 0, .high = 1, .also = "learning_rate rate",
     .help = "Learning rate of AdamW at its highest, after the warm-up."},
    {ROW(optim, min_lr), .standard = "0.0", .low = 0, .high = 1, .also = "lr_min min_learning_rate",
     .help = "Learning rate at the end of the run (schedules linear, cosine, wsd)."},
    {ROW(optim, warmup), .standard = "0", .unit = "steps", .low = 0, .high = HUGE_INT,
     .also = "warmup_steps num_warmup_steps warm_up", .help = "Steps over which the learning rate rises from near 0 to lr."},
    {ROW(optim, schedule), .standard = "'cosine'", .choice = schedules, .also = "scheduler lr_scheduler lr_scheduler_type",
     .help = "Course of the learning rate behind the warm-up. 'wsd': constant, then linear over the last decay_share."},
    {ROW(optim, decay_share), .standard = "0.2", .low = 0, .high = 1, .flags = NF_ROW_ABOVE,
     .help = "With schedule = 'wsd', last part of the run, in which the learning rate falls."},
    {ROW(optim, beta1), .standard = "0.9", .low = 0, .high = 1, .flags = NF_ROW_BELOW,
     .help = "Decay of AdamW's mean of gradients."},
    {ROW(optim, beta2), .standard = "0.95", .low = 0, .high = 1, .flags = NF_ROW_BELOW,
     .help = "Decay of AdamW's mean of squared gradients."},
    {ROW(optim, eps), .standard = "1.0e-8", .low = 0, .high = 1, .flags = NF_ROW_ABOVE, .also = "epsilon",
     .help = "Added to the square root in AdamW's denominator."},
    {ROW(optim, weight_decay), .standard = "0.1", .low = 0, .high = 1e3, .also = "decay wd",
     .help = "Decoupled weight decay: a step takes off lr x weight_decay of a weight."},
    {ROW(optim, no_decay), .standard = "'*norm*', '*.bias', '*A_log', '*.D', '*dt_bias'",
     .help = "Tensors without weight decay, as patterns over the names in the checkpoint. '' alone: all tensors decay."},
    {ROW(optim, state), .standard = "'fp32'", .choice = states,
     .help = "How AdamW's state is stored beside bf16 weights: 'fp32': fp32 master and moments, 16 bytes a parameter with "
             "weight and bf16 gradient. 'split': a 16-bit remainder that makes the weight an exact fp32 master, and bf16 "
             "moments, 10 bytes. 'bf16': bf16 moments and no master, 8 bytes. bf16 moments, and weights without master, are "
             "rounded stochastically. With dtype = 'fp32' the weight is its own master, and state must be 'fp32'."},
    {ROW(optim, grad_dtype), .standard = "'auto'", .choice = dtypes, .also = "grad_type gradient_dtype",
     .help = "Type in which gradients of bf16 weights are kept; those of fp32 weights are fp32. 'auto': bf16 where a gradient "
             "is written once a step, fp32 where several micro-batches or uses of a tensor are summed up."},

    {ROW(backend, device), .standard = "'auto'", .flags = NF_ROW_FREE, .choice = devices,
     .help = "Where the model runs. 'auto': on a GPU if there is one, else on the CPU."},
    {ROW(backend, experts), .standard = "'grouped'", .choice = backends,
     .help = "How a rank computes its experts. 'eager': one after the other; 'batched': as one batch of equal products, with "
             "zeros behind; 'grouped': as groups of rows in one call. On a GPU 'eager' alone reads the number of rows on the "
             "host, which waits for it."},
    {ROW(backend, attention), .standard = "'auto'", .choice = attentions,
     .help =
         "Attention kernels. 'auto': 'reference' on a CPU, which has one for every value, 'flash' on a GPU. 'cudnn': NVIDIA's, "
         "whose backward does not repeat its bits (deterministic = .false.): bf16, whole rows, on a GPU; evaluations and "
         "samples run on 'flash'."},
    {ROW(backend, deterministic), .standard = ".true.",
     .help = "Only kernels that give the same bits in every run on the same mesh."},
    {ROW(backend, threads), .standard = "1", .low = 1, .high = 1024, .also = "num_threads omp_num_threads",
     .help = "Threads of a rank, in loops and in matrix products. Usual is one rank a core and one thread a rank."},

    {ROW(snapshot, dir), .standard = "''", .flags = NF_ROW_PATH | NF_ROW_FREE, .also = "path output_dir",
     .help = "Directory of the snapshots, step-00000100 and so on; none: no snapshots, and what a signal ends is lost."},
    {ROW(snapshot, every), .standard = "0", .flags = NF_ROW_FREE, .unit = "steps", .low = 0, .high = HUGE_INT,
     .also = "save_every save_steps",
     .help = "Steps from one snapshot to the next. 0: only at the end, and when the run is stopped."},
    {ROW(snapshot, keep), .standard = "2", .flags = NF_ROW_FREE, .low = 1, .high = HUGE_INT, .also = "save_total_limit",
     .help = "Snapshots that are kept; older ones are removed."},
    {ROW(snapshot, keep_best), .standard = ".false.", .flags = NF_ROW_FREE,
     .help =
         "Keep the snapshot with the smallest validation loss too; one is taken at each evaluation that is the best so far."},
    {ROW(snapshot, async), .standard = ".false.", .flags = NF_ROW_FREE,
     .help = "Write behind the next steps, from a copy in host memory."},
    {ROW(snapshot, resume), .standard = "'auto'", .flags = NF_ROW_PATH | NF_ROW_FREE,
     .help =
         "'auto': go on from the newest whole snapshot in dir, if there is one. 'never': begin anew; snapshots in dir are put "
         "aside. Else the directory of a snapshot to go on from; started again, the run goes on from its own in dir."},
    {ROW(snapshot, on_error), .standard = "'stop'", .flags = NF_ROW_FREE, .choice = on_errors,
     .help =
         "What to do when a snapshot cannot be written: end with status 74; go on and try again later; or wait, saying what is "
         "needed, until it can be written or a signal comes."},

    {FIELD(export_.dir, "export", "dir"), .standard = "''", .flags = NF_ROW_PATH | NF_ROW_FREE,
     .also = "path output output_dir", .help = "Directory for the fine-tuned checkpoint; none: no export."},
    {FIELD(export_.every, "export", "every"), .standard = "0", .flags = NF_ROW_FREE, .unit = "steps", .low = 0,
     .high = HUGE_INT, .help = "Steps from one export to the next. 0: only at the end."},
    {FIELD(export_.dtype, "export", "dtype"), .standard = "'source'", .flags = NF_ROW_FREE, .choice = export_dtypes,
     .help = "Type of the exported tensors. 'source': each as in the checkpoint. Of bf16 weights with an fp32 master, fp32 and "
             "fp16 tensors get the master's values, bf16 tensors the weights."},
    {FIELD(export_.shard_gb, "export", "shard_gb"), .standard = "0.0", .flags = NF_ROW_FREE, .unit = "GB", .low = 0,
     .high = 1e6, .also = "max_shard_size",
     .help = "Largest size of one file. 0: tensors lie in the same files as in the checkpoint."},

    {ROW(log, dir), .standard = "'run'", .flags = NF_ROW_PATH | NF_ROW_FREE, .also = "log_dir output_dir",
     .help = "Run directory: input.used.nml, log.csv."},
    {ROW(log, every), .standard = "1", .flags = NF_ROW_FREE, .unit = "steps", .low = 1, .high = HUGE_INT,
     .also = "log_every logging_steps", .help = "Steps from one line on the terminal to the next."},
    {ROW(log, progress), .standard = ".true.", .flags = NF_ROW_FREE,
     .help = "Show a progress bar when the output is a terminal."},
    {ROW(log, csv), .standard = ".true.", .flags = NF_ROW_FREE, .help = "Write log.csv, one line a step."},
    {ROW(log, profile), .standard = ".false.", .flags = NF_ROW_FREE,
     .help = "Measure the time of each part of a step, forward and backward: a table at the end of the run, and profile.csv in "
             "log.dir."},
    {ROW(log, sample_prompt), .standard = "''", .flags = NF_ROW_FREE, .also = "prompt",
     .help = "Text that the model continues at every evaluation; none: no samples. With format = 'hdf5' one of the prompts in "
             "the dataset, by its text or as '#1', '#2', ..."},
    {ROW(log, sample_tokens), .standard = "64", .flags = NF_ROW_FREE, .unit = "tokens", .low = 1, .high = 1048576,
     .help = "Length of the continuation."},
    {ROW(log, sample_temperature), .standard = "0.0", .flags = NF_ROW_FREE, .low = 0, .high = 100, .also = "temperature",
     .help = "Randomness of the continuation. 0: always the most likely token."},

    {ROW(benchmark, warmup), .standard = "0", .unit = "steps", .low = 0, .high = HUGE_INT, .later = BENCHMARK,
     .help = "Steps before the measurement."},
    {ROW(benchmark, steps), .standard = "0", .unit = "steps", .low = 0, .high = HUGE_INT, .later = BENCHMARK,
     .help = "Steps that are measured. 0: no benchmark."},
    {ROW(benchmark, emulate_ep), .standard = "0", .unit = "ranks", .low = 0, .high = 1048576, .later = BENCHMARK,
     .help = "Hold only the experts that a rank of so many would hold, and exchange nothing. 0: no."},
    {ROW(benchmark, table), .standard = "''", .flags = NF_ROW_PATH, .later = BENCHMARK,
     .help = "File to which the row of results is added."},

    {ROW(debug, sync_ops), .standard = ".false.", .later = "waiting behind each op",
     .help = "Wait behind each op, so that an error is told where it arose."},
    {ROW(debug, check_finite), .standard = ".false.", .later = "checking every result",
     .help = "Look for values that are not finite behind each op."},
};

const int nf_table_count = sizeof nf_table / sizeof *nf_table;
_Static_assert(sizeof nf_table / sizeof *nf_table <= NF_ROWS_MAX, "NF_ROWS_MAX is too small");
