/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_embed.c: rows by id, exactly; their gradient: sums in token order, rows without tokens, the padding row, accumulation,
 * bf16.
 */
#include "ref.h"

static void attempt(struct rig rigs[2], struct rig *dry, int64_t T, int64_t V, int64_t H, nf_dtype type, nf_dtype grad,
                    bool accumulate, int32_t pad)
{
    double *vw, *vdy, *vg;
    struct slice w = slice_random(type, V, H, 0, H, 1, 1, &vw), dy = slice_random(type, T, H, 1, H + 2, 1, 2, &vdy);
    int32_t *ids = grab(T, sizeof *ids);
    uint64_t state = 7;
    char what[128];
    struct slice y[2], dw[2];

    snprintf(what, sizeof what, "embed %lld tokens of %lld x %lld %s, gradient %s%s pad %d", (long long)T, (long long)V,
             (long long)H, nf_dtype_name(type), nf_dtype_name(grad), accumulate ? " accumulating" : "", (int)pad);
    for (int64_t t = 0; t < T; t++) /* crowded: many repeats, some ids never */
        ids[t] = (int32_t)(fabs(draw(&state)) * fabs(draw(&state)) * (double)V);
    for (int r = 0; r < 2; r++) {
        if (r)
            free(vg);
        y[r] = slice_new(type, T, H, 2, H + 3, NULL);
        dw[r] = slice_random(grad, V, H, 0, H, 1, 3, &vg);
        for (int d = 0; d <= (r == 0); d++) {
            nf_queue *q = d ? dry->q : rigs[r].q;
            must(nf_embed(q, &y[r].t, ids, &w.t), what);
            must(nf_embed_bwd(q, (nf_grad){dw[r].t, accumulate}, ids, &dy.t, pad), what);
        }
    }
    double *want = grab(T * H, sizeof *want);
    int64_t most = 1, *count = grab(V, sizeof *count);
    if (!accumulate)
        memset(vg, 0, (size_t)(V * H) * sizeof *vg);
    for (int64_t t = 0; t < T; t++) {
        most = ++count[ids[t]] > most ? count[ids[t]] : most;
        for (int64_t j = 0; j < H; j++) {
            want[t * H + j] = vw[ids[t] * H + j];
            vg[ids[t] * H + j] += vdy[t * H + j];
        }
    }
    for (int64_t j = 0; pad >= 0 && j < H; j++)
        vg[pad * H + j] = 0;
    slice_near(&y[0], want, 1, 0, what, "y");
    slice_near(&dw[0], vg, 1, ROUND_F32 * (2 + sqrt((double)most)) + (grad == NF_BF16 ? ROUND_BF16 : 0), what, "dw");
    float *a = slice_get(&dw[0]), *b = slice_get(&dw[1]);
    tap_ok(same_bits(a, b, V * H), "%s: two threads, same bits", what);
    free(a), free(b), free(want), free(count), free(ids), free(vw), free(vdy), free(vg);
    struct slice *all[] = {&w, &dy, &y[0], &y[1], &dw[0], &dw[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        slice_free(all[i]);
}

int main(void)
{
    static const int64_t sizes[][3] = {{0, 5, 3}, {1, 1, 1}, {3, 40, 17}, {129, 50, 64}, {900, 300, 130}};
    struct rig rigs[2], dry = rig_dry();
    float one[4] = {0};
    const int32_t bad = 4;
    const nf_tensor t = nf_matrix(one, NF_F32, 1, 1, 1), w = nf_matrix(one, NF_F32, 4, 1, 1);

    tap_open();
    for (int i = 0; i < 2; i++)
        rigs[i] = rig_open(i + 1);
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
        for (int v = 0; v < 4; v++)
            attempt(rigs, &dry, sizes[z][0], sizes[z][1], sizes[z][2], v >= 2 ? NF_BF16 : NF_F32, v == 3 ? NF_BF16 : NF_F32,
                    (v & 1) != 0, v & 1 ? 0 : -1);
    tap_ok(nf_embed(rigs[0].q, &t, &bad, &w) == NF_EBUG && strstr(nf_diagnosis(), "id 4"),
           "an id beyond the vocabulary is refused");
    nf_diagnosis_clear();
    must(nf_embed_bwd(rigs[0].q, (nf_grad){0}, &bad, &t, -1), "no gradient wanted");
    tap_ok(rig_within(&rigs[0]) && rig_within(&rigs[1]), "scratch stays within what was taken");
    tap_ok(nf_arena_peak(dry.work) == nf_arena_peak(rigs[0].work), "the dry run sees the same scratch");
    for (int i = 0; i < 2; i++)
        rig_close(&rigs[i]);
    rig_close(&dry);
    return tap_done();
}
