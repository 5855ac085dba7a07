/* SPDX-License-Identifier: Apache-2.0 */
/* table.c: what the plug-in brings for ranks to talk with. */
#include "comm.h"

#include <nccl.h>

static const struct nf_gpu_comm table = {
    .ramp = nf_cuda_ramp,
    .sum = nf_cuda_sum_ranks,
    .gather = nf_cuda_gather,
    .localize = nf_cuda_localize,
    .id_bytes = sizeof(ncclUniqueId),
    .id = nf_cuda_peers_id,
    .open = nf_cuda_peers_open,
    .close = nf_cuda_peers_close,
    .lend = nf_cuda_peers_lend,
    .check = nf_cuda_peers_check,
    .abort = nf_cuda_peers_abort,
    .all_reduce = nf_cuda_peers_all_reduce,
    .reduce_scatter = nf_cuda_peers_reduce_scatter,
    .all_gather = nf_cuda_peers_all_gather,
    .exchange = nf_cuda_peers_exchange,
    .handle_bytes = NF_CUDA_WINDOW_HANDLE_BYTES,
    .window_export = nf_cuda_window_export,
    .window_open = nf_cuda_window_open,
    .window_close = nf_cuda_window_close,
    .window_out = nf_cuda_window_out,
    .window_back = nf_cuda_window_back,
};

/* For nf_gpu_open, which may not know the struct. */
extern const void *const nf_cuda_comm_table;
extern const size_t nf_cuda_comm_bytes;
const void *const nf_cuda_comm_table = &table;
const size_t nf_cuda_comm_bytes = sizeof table;
