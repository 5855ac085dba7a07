/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_repeat.c: one call again and again, its outputs compared with those of the first, where they lie. Before the second call
 * every output is as it was before the first, and what is added to before each. Products have the algorithms that timing chose,
 * as in a run.
 */
#include "cudarig.h"

#include "nemafit/log.h"

struct copies {
    void *before, *first; /* of an output: what it held, what the first call made of it */
};

static nf_status choose(struct cuda_trial *t)
{
    const size_t bytes = (size_t)3 << 30;
    void *memory = NULL;

    if (nf_ops_undecided(t->rig->device[1]) == 0)
        return NF_OK;
    NF_TRY(nf_device_alloc(t->rig->device[1], bytes, "operands for timing", &memory));
    const nf_status s = nf_ops_choose(t->rig->q[1], memory, bytes);
    nf_device_release(t->rig->device[1], memory, bytes);
    return s;
}

static nf_status compare(struct cuda_trial *t, int i, const struct copies *c, int64_t *counts)
{
    const struct cuda_arg *a = &t->arg[i];
    const nf_dtype type = a->bytes % 4 ? a->side[1].dtype : NF_I32; /* all bytes of the allocation, also beside the view */
    const int64_t n = (int64_t)(a->bytes / nf_dtype_size(type));
    const nf_tensor first = nf_vector(c->first, type, n), now = nf_vector(a->side[1].data, type, n);
    return nf_mismatch(t->rig->q[1], counts + i, &first, &now);
}

static nf_status calls(struct cuda_trial *t, const struct copies *c, int64_t *counts)
{
    nf_queue *q = t->rig->q[1];

    for (int r = 0; r < t->rig->large; r++) {
        for (int i = 0; i < t->args; i++)
            if (c[i].first && (t->arg[i].use == CUDA_INOUT || r < 2))
                NF_TRY(nf_copy(q, t->arg[i].side[1].data, c[i].before, t->arg[i].bytes));
        NF_TRY(t->call(t, q, 1));
        for (int i = 0; i < t->args; i++)
            if (c[i].first && r == 0)
                NF_TRY(nf_copy(q, c[i].first, t->arg[i].side[1].data, t->arg[i].bytes));
            else if (c[i].first)
                NF_TRY(compare(t, i, &c[i], counts));
        if (r % 50 == 49)
            NF_TRY(nf_queue_drain(q));
    }
    return nf_queue_drain(q);
}

nf_status cuda_repeat(struct cuda_trial *t, bool *same)
{
    nf_device *d = t->rig->device[1];
    nf_queue *q = t->rig->q[1];
    struct copies c[CUDA_ARGS] = {{NULL, NULL}};
    int64_t counts[CUDA_ARGS] = {0};
    void *on_device = NULL;
    const double begin = nf_seconds();
    nf_status s = nf_device_alloc(d, sizeof counts, "counts", &on_device);

    for (int i = 0; i < t->args && !s; i++) {
        if (t->arg[i].use == CUDA_IN || t->arg[i].bytes == 0)
            continue;
        s = nf_device_alloc(d, t->arg[i].bytes, "a copy", &c[i].before);
        if (!s)
            s = nf_device_alloc(d, t->arg[i].bytes, "a copy", &c[i].first);
        if (!s)
            s = nf_copy(q, c[i].before, t->arg[i].init, t->arg[i].bytes);
    }
    s = s ? s : cuda_place(t, 1);
    s = s ? s : t->call(t, q, 1); /* its shapes are met */
    s = s ? s : choose(t);
    s = s ? s : nf_fill_zero(q, on_device, sizeof counts);
    s = s ? s : calls(t, c, on_device);
    s = s ? s : nf_copy(q, counts, on_device, sizeof counts);
    s = s ? s : nf_queue_drain(q);
    for (int i = 0; i < t->args; i++) {
        if (counts[i])
            printf("#   %s: %s: %lld words were not those of the first call\n", t->what, t->arg[i].name, (long long)counts[i]);
        *same = *same && !s && counts[i] == 0;
        nf_device_release(d, c[i].before, t->arg[i].bytes);
        nf_device_release(d, c[i].first, t->arg[i].bytes);
    }
    nf_device_release(d, on_device, sizeof counts);
    printf("#   %s: %d calls, %.1f s\n", t->what, t->rig->large, nf_seconds() - begin);
    return s;
}
