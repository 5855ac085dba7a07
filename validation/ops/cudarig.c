/* SPDX-License-Identifier: Apache-2.0 */
/* cudarig.c: trials of CUDA ops against the CPU's (cudarig.h). */
#include "cudarig.h"

void cuda_must(nf_status s, const char *what)
{
    if (s == NF_OK)
        return;
    printf("Bail out! %s: %s: %s\n", what, nf_status_name(s), nf_diagnosis());
    exit(1);
}

void *cuda_grab(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    cuda_must(p ? NF_OK : NF_ENOMEM, "test memory");
    return p;
}

static void rig_fill(struct cuda_rig *r, size_t work)
{
    r->ops = nf_device_ops(r->device[1]);
    r->repeats = 3;
    for (int s = 0; s < 2; s++) {
        r->work_bytes[s] = work;
        cuda_must(nf_device_alloc(r->device[s], r->work_bytes[s], "work", &r->block[s]), "work memory");
        cuda_must(nf_arena_new("work", r->block[s], r->work_bytes[s], &r->work[s]), "work arena");
        cuda_must(nf_queue_new(r->device[s], "compute", 0, r->work[s], &r->q[s]), "queue");
    }
}

static void host(nf_device **d, int threads)
{
    cuda_must(nf_device_host(threads, d), "host");
    cuda_must(nf_ops_attach(*d), "ops of the host");
}

bool cuda_rig_open(struct cuda_rig *r, size_t work)
{
    *r = (struct cuda_rig){0};
    if (nf_device_cuda(0, 1, &r->device[1])) {
        const char *why = nf_diagnosis();
        printf("1..0 # SKIP %.*s\n", (int)strcspn(why, "\n"), why);
        return false;
    }
    cuda_must(nf_device_gpu(r->device[1])->ops_bytes == sizeof *r->ops ? NF_OK : NF_EBUG, "a plug-in of another build");
    printf("# %s, %s\n", nf_device_name(r->device[1]), nf_device_gpu_info(r->device[1])->about);
    host(&r->device[0], 8);
    rig_fill(r, work);
    return true;
}

void cuda_rig_open_host(struct cuda_rig *r, size_t work)
{
    *r = (struct cuda_rig){0};
    host(&r->device[0], 1);
    host(&r->device[1], 2);
    rig_fill(r, work);
}

void cuda_rig_close(struct cuda_rig *r)
{
    for (int s = 0; s < 2; s++) {
        nf_queue_free(r->q[s]);
        nf_arena_free(r->work[s]);
        nf_device_release(r->device[s], r->block[s], r->work_bytes[s]);
        nf_device_free(r->device[s]);
    }
}

nf_status cuda_place(struct cuda_trial *t, int side)
{
    for (int i = 0; i < t->args; i++) {
        const struct cuda_arg *a = &t->arg[i];
        for (int64_t k = 0; side == 0 && a->wide != a->init && k < (int64_t)(a->wide_bytes / sizeof(float)); k++)
            ((float *)a->wide)[k] = nf_bf16_to_f32(((const uint16_t *)a->init)[k]);
        NF_TRY(nf_copy(t->rig->q[side], a->side[side].data, side ? a->init : a->wide, side ? a->bytes : a->wide_bytes));
    }
    return nf_queue_drain(t->rig->q[side]);
}

/* What was written beside the view: bytes that are not those of before. */
static int64_t beside(const struct cuda_arg *a, const char *got)
{
    const nf_tensor *x = &a->side[1];
    const size_t size = nf_dtype_size(x->dtype);
    int64_t wrong = 0, elements = (int64_t)(a->bytes / size), n = nf_tensor_count(x);
    if (n == elements)
        return 0;
    bool *inside = cuda_grab((size_t)elements);
    memset(inside, 0, (size_t)elements);
    for (int64_t i = 0; i < n; i++)
        inside[cuda_offset(x, i)] = true;
    for (int64_t i = 0; i < elements; i++)
        wrong += !inside[i] && memcmp(got + (size_t)i * size, (const char *)a->init + (size_t)i * size, size) != 0;
    free(inside);
    return wrong;
}

static bool compare(const struct cuda_trial *t, int i, const char *got, const char *first)
{
    const struct cuda_arg *a = &t->arg[i];
    bool ok = true;

    if (first && !t->free_bits) {
        ok = memcmp(first, got, a->bytes) == 0;
        if (!ok)
            printf("#   %s: %s: other bits when repeated\n", t->what, a->name);
        return ok;
    }
    if (a->use == CUDA_IN) {
        ok = memcmp(a->init, got, a->bytes) == 0;
        if (!ok)
            printf("#   %s: %s: an input was written\n", t->what, a->name);
        return ok;
    }
    ok = cuda_near(t, a, got, false);
    if (ok && t->rig->spoil)
        cuda_spoil(t, a, got);
    const int64_t wrong = beside(a, got);
    if (wrong)
        printf("#   %s: %s: %lld elements beside the view written\n", t->what, a->name, (long long)wrong);
    return ok && wrong == 0;
}

static nf_status run(struct cuda_trial *t, bool *ok)
{
    char *got[CUDA_ARGS] = {0}, *first[CUDA_ARGS] = {0};

    NF_TRY(cuda_place(t, 0));
    NF_TRY(t->call(t, t->rig->q[0], 0));
    for (int i = 0; i < t->args; i++) {
        got[i] = cuda_grab(t->arg[i].bytes);
        first[i] = cuda_grab(t->arg[i].bytes);
    }
    nf_status s = NF_OK;
    for (int r = 0; r < t->rig->repeats && !s; r++) {
        s = cuda_place(t, 1);
        if (!s)
            s = t->call(t, t->rig->q[1], 1);
        for (int i = 0; i < t->args && !s; i++)
            s = nf_copy(t->rig->q[1], got[i], t->arg[i].side[1].data, t->arg[i].bytes);
        if (!s)
            s = nf_queue_drain(t->rig->q[1]);
        for (int i = 0; i < t->args && !s; i++)
            t->got[i] = got[i];
        for (int i = 0; i < t->args && !s; i++) {
            *ok = compare(t, i, got[i], r ? first[i] : NULL) && *ok;
            if (!r)
                memcpy(first[i], got[i], t->arg[i].bytes);
        }
    }
    for (int i = 0; i < t->args; i++) {
        free(got[i]);
        free(first[i]);
    }
    return s;
}

static unsigned met(const struct cuda_trial *t)
{
    unsigned m = 0;
    int ins = 0, outs = 0;
    bool wanted = false; /* an input of the trial has elements, so an output without any is one that is not wanted */

    for (int i = 0; i < t->args && !wanted; i++)
        if (t->arg[i].use == CUDA_IN) {
            wanted = t->arg[i].bytes > 0;
            break;
        }
    for (int i = 0; i < t->args; i++) {
        const struct cuda_arg *a = &t->arg[i];
        const nf_tensor *x = &a->side[1];
        const int64_t n = nf_tensor_count(x), cols = x->dim[x->nd - 1];
        const bool first = a->use == CUDA_OUT || a->use == CUDA_INOUT ? !outs++ : !ins++;
        m |= first && n == 0 ? CUDA_MET_EMPTY : 0;
        if (a->use != CUDA_IN)
            m |= n == 0 ? wanted ? CUDA_MET_FROZEN : 0 : a->use == CUDA_INOUT ? CUDA_MET_ADDED : CUDA_MET_OVERWRITTEN;
        if (n == 0)
            continue;
        m |= x->dtype == NF_F32 ? CUDA_MET_F32 : x->dtype == NF_BF16 ? CUDA_MET_BF16 : 0;
        m |= x->nd > 1 && x->stride[0] > cols ? CUDA_MET_STRIDED : 0;
        m |= cols % 2 ? CUDA_MET_ODD : 0;
        m |= n > 132 * 2048 ? CUDA_MET_LARGE : 0;
    }
    return m;
}

bool cuda_try(struct cuda_trial *t)
{
    bool ok = true;
    size_t bytes = 0;

    for (int i = 0; i < t->args; i++)
        bytes += t->arg[i].bytes;
    const bool tried = !t->rig->small || bytes <= t->rig->small;
    nf_status s = !tried ? NF_OK : t->rig->large ? cuda_repeat(t, &ok) : run(t, &ok);

    t->rig->met |= met(t);
    if (s) {
        printf("#   %s: %s: %s\n", t->what, nf_status_name(s), nf_diagnosis());
        nf_diagnosis_clear();
        ok = false;
    }
    for (int i = 0; i < t->args; i++) {
        struct cuda_arg *a = &t->arg[i];
        if (a->side[0].data)
            nf_device_release(t->rig->device[0], a->side[0].data, a->wide_bytes);
        nf_device_release(t->rig->device[1], a->side[1].data, a->bytes);
        if (a->wide != a->init)
            free(a->wide);
        free(a->init);
    }
    if (tried)
        tap_ok(ok, "%s", t->what);
    fflush(stdout);
    return ok;
}
