/* SPDX-License-Identifier: Apache-2.0 */
/* load.c: weights in and out: checkpoint to device, device to checkpoint. */
#include "engine.h"

nf_status nf_engine_load(struct engine *e, const nf_st *source)
{
    const nf_model *m = e->arg.model;
    const nf_named *named;
    int n = nf_residency_named(e->res, NF_WEIGHTS, &named);

    if (!source)
        return nf_agree(e->mesh, nf_residency_init_random(e->res, (uint64_t)e->arg.params->train.seed));
    return nf_st_read(source, e->mesh, &m->map, m->desc, named, n, e->q);
}

struct nf_st_write_arg nf_export_arg(const struct nf_params *p, const char *dir)
{
    static const int dtype[] = {
        [NF_EXPORT_SOURCE] = NF_AUTO, [NF_EXPORT_BF16] = NF_BF16, [NF_EXPORT_FP32] = NF_F32, [NF_EXPORT_FP16] = NF_F16};

    return (struct nf_st_write_arg){
        .dir = dir, .source_dir = p->model.path, .dtype = dtype[p->export_.dtype], .shard_gb = p->export_.shard_gb};
}

nf_status nf_engine_export(struct engine *e, const nf_st *source, const char *dir)
{
    const nf_model *m = e->arg.model;
    const struct nf_st_write_arg arg = nf_export_arg(e->arg.params, dir);
    const nf_named *named;
    int n = nf_residency_named(e->res, NF_WEIGHTS, &named);

    return nf_st_write(source, e->mesh, &m->map, m->desc, m->params, named, n, e->q, &arg);
}
