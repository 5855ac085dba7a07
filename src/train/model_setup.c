/* SPDX-License-Identifier: Apache-2.0 */
/* model_setup.c: from the parameters of a run to its model and its device. */
#include <stdlib.h>
#include <string.h>

#include "gpu_memory.h"
#include "nemafit/log.h"

nf_status nf_engine_read_config(const nf_mesh *mesh, const char *dir, nf_json **config)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    char *path = nf_path_join(dir, "config.json");
    char *text = NULL, *root = NULL;
    size_t n = 0;
    nf_status s = path ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a path");

    if (!s && nf_group_rank(world) == 0) {
        s = nf_root_of(dir, &root);
        if (!s)
            s = nf_file_read_below(path, root, 1 << 20, &text, &n);
        if (s == NF_EDATA) /* a FIFO, a link that leads out, too large: no config, whatever else it is */
            s = NF_EMODEL;
        free(root);
    }
    s = nf_agree(mesh, s);
    if (!s)
        s = nf_bcast_blob(world, 0, (void **)&text, &n);
    if (!s)
        s = nf_json_parse(path, text, n, NF_JSON_PYTHON, NF_EMODEL, config);
    free(text);
    free(path);
    return s;
}

nf_status nf_engine_make_model(const struct nf_params *p, const nf_json *config, nf_model **model)
{
    const struct nf_model_choice choice = {
        .dtype = (nf_dtype)p->model.dtype,
        .experts = (enum nf_experts)p->backend.experts,
        .dispatch = (enum nf_dispatch)p->parallel.dispatch,
        .attention = p->backend.attention == NF_AUTO ? NF_ATTN_REFERENCE : (enum nf_attention_backend)p->backend.attention,
        .gate = (enum nf_gate)p->train.gate,
        .seed = (uint64_t)p->train.seed,
        .chunks = (int)p->parallel.chunks,
        .recv_factor = p->parallel.recv_factor,
        .dt_floor_compat = p->model.dt_floor_compat,
        .freeze = &p->model.freeze,
        .no_decay = &p->optim.no_decay};
    int experts;

    NF_TRY(nf_model_new(config, &choice, model));
    experts = (*model)->experts;
    if (experts % p->parallel.ep == 0)
        return NF_OK;
    nf_model_free(*model);
    *model = NULL;
    return nf_fail(NF_EUSAGE,
                   "parallel.ep = %lld does not divide the model's %d experts"
                   "\n  Hint: ep must divide both the experts and the ranks",
                   (long long)p->parallel.ep, experts);
}

/* The GPU for this rank of its node, with its ops. A failure of one rank is everybody's. */
static nf_status open_gpu(const void *mpi_comm, int threads, nf_device *host, nf_device **gpu, struct gpu_memory *memory)
{
    nf_mesh *mesh;

    NF_TRY(nf_mesh_new(mpi_comm, 1, host, &mesh)); /* only to know the node and to agree */
    nf_status s = nf_device_cuda(nf_group_rank(nf_mesh_group(mesh, NF_NODE)), threads, gpu);
    if (!s)
        s = nf_ops_attach(*gpu);
    s = nf_agree(mesh, s);
    if (!s && memory)
        s = nf_agree(mesh, nf_gpu_memory_mark(memory, mesh, *gpu, GPU_CONTEXT));
    nf_mesh_free(mesh);
    if (s) {
        nf_device_free(*gpu);
        *gpu = NULL;
    }
    return s;
}

nf_status nf_engine_device(struct nf_params *p, const void *mpi_comm, nf_device **device, struct gpu_memory *memory)
{
    const bool wanted = p->backend.device == NF_DEVICE_CUDA;
    const int threads = (int)p->backend.threads;
    nf_device *host = NULL, *gpu = NULL;
    nf_status s = nf_device_host(threads, &host);

    if (!s && p->backend.device != NF_DEVICE_CPU) {
        s = open_gpu(mpi_comm, threads, host, &gpu, memory);
        if (s == NF_EDEVICE && !wanted) {
            const char *why = nf_diagnosis();
            nf_note("device    'auto' is the CPU here: %.*s", (int)strcspn(why, "\n"), why);
            nf_diagnosis_clear();
            s = NF_OK;
        }
    }
    if (!s && !gpu)
        s = nf_ops_attach(host);
    if (!s && !gpu && p->backend.attention == NF_ATTN_CUDNN)
        s = nf_fail(NF_EUSAGE, "backend.attention = 'cudnn' is for GPUs, and backend.device = 'auto' is the CPU here"
                               "\n  Hint: backend.attention = 'auto'");
    if (!s && !gpu && p->parallel.dispatch == NF_FUSED)
        s = nf_fail(NF_EUSAGE, "parallel.dispatch = 'fused' is for GPUs, and backend.device = 'auto' is the CPU here"
                               "\n  Hint: parallel.dispatch = 'alltoall', which sends the same rows");
    if (s || gpu) {
        nf_device_free(host);
        host = NULL;
    }
    p->backend.device = gpu ? NF_DEVICE_CUDA : NF_DEVICE_CPU;
    if (p->backend.attention == NF_AUTO)
        p->backend.attention = gpu ? NF_ATTN_FLASH : NF_ATTN_REFERENCE;
    *device = gpu ? gpu : host;
    return s;
}
