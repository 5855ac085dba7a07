/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_route.c: rows of t_cuda: routing, its gradient, the balance's biases. */
#include "cuda_rows.h"

struct routing {
    struct nf_route_arg arg;
    int64_t experts;
    bool correction, load, segments;
};

static const struct routing routes[] = {
    {{.score = NF_SCORE_SIGMOID, .k = 6, .groups = 1, .groups_kept = 1, .normalise = true, .scale = 2.5f},
     128,
     true,
     true,
     false},
    {{.score = NF_SCORE_SIGMOID, .k = 4, .groups = 8, .groups_kept = 3, .normalise = true, .scale = 1}, 64, true, true, true},
    {{.score = NF_SCORE_SIGMOID, .k = 2, .groups = 2, .groups_kept = 1, .scale = 1.5f}, 6, false, true, false},
    {{.score = NF_SCORE_SOFTMAX, .k = 8, .groups = 1, .groups_kept = 1, .normalise = true, .scale = 1}, 128, false, true, true},
    {{.score = NF_SCORE_SOFTMAX, .k = 3, .groups = 1, .groups_kept = 1, .scale = 1}, 60, false, false, false},
    {{.score = NF_SCORE_SOFTMAX_TOPK, .k = 4, .groups = 1, .groups_kept = 1, .normalise = true, .scale = 1},
     33,
     false,
     true,
     false},
    {{.score = NF_SCORE_SIGMOID, .k = 22, .groups = 1, .groups_kept = 1, .normalise = true, .scale = 5},
     512,
     true,
     true,
     false},
    {{.score = NF_SCORE_SIGMOID, .k = 1, .groups = 1, .groups_kept = 1, .scale = 1}, 1, false, true, false},
    {{.score = NF_SCORE_SIGMOID,
      .k = 6,
      .groups = 1,
      .groups_kept = 1,
      .normalise = true,
      .scale = 1,
      .gate = NF_GATE_RANDOM,
      .seed = 17,
      .layer = 3},
     128,
     false,
     true,
     true},
    {{.score = NF_SCORE_SOFTMAX,
      .k = 8,
      .groups = 1,
      .groups_kept = 1,
      .normalise = true,
      .scale = 1,
      .gate = NF_GATE_CONTIGUOUS},
     60,
     false,
     true,
     true},
    {{.score = NF_SCORE_SIGMOID, .k = 4, .groups = 4, .groups_kept = 2, .normalise = true, .scale = 2, .gate = NF_GATE_GIVEN},
     64,
     true,
     true,
     true},
};

static int32_t *given_ids(const struct routing *o, int64_t T)
{
    int32_t *ids = calloc((size_t)(T * o->arg.k) + 1, sizeof *ids);
    for (int64_t i = 0; i < T; i++)
        for (int s = 0; s < o->arg.k; s++)
            ids[i * o->arg.k + s] = (int32_t)((i * 5 + s * 3) % o->experts);
    return ids;
}

static const int64_t batch[][2] = {{1, 1}, {3, 37}, {2, 512}, {0, 7}, {2, 8192}};

static const int64_t global_rows[4] = {5, 900000000001, 7, 12};
static const struct nf_step_vars vars = {.step = 41};

static nf_status call_route(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct routing *o = t->opt;
    struct nf_route_arg arg = o->arg;
    arg.global_row = CUDA_P(t, 6);
    arg.vars = CUDA_P(t, 7);
    arg.seq.segment = o->segments ? CUDA_P(t, 8) : NULL;
    return nf_route(q, CUDA_P(t, 0), CUDA_P(t, 1), CUDA_T(t, 2), o->load ? CUDA_P(t, 3) : NULL, CUDA_T(t, 4),
                    o->correction ? CUDA_P(t, 5) : NULL, &arg);
}

/* 0 for the padding at the end of each row */
static int32_t *some_padding(int64_t rows, int64_t len)
{
    int32_t *s = calloc((size_t)(rows * len) + 1, sizeof *s);
    for (int64_t i = 0; i < rows * len; i++)
        s[i] = i % len < len - len / 7;
    return s;
}

void cuda_test_route(struct cuda_rig *r)
{
    for (size_t k = 0; k < sizeof routes / sizeof *routes; k++)
        CUDA_EACH(b, r, batch, 1)
        {
            struct routing o = routes[k];
            const int64_t T = batch[b][0] * batch[b][1], E = o.experts;
            o.arg.seq = (nf_seq){batch[b][0], batch[b][1], NULL, NULL};
            int32_t *segment = some_padding(batch[b][0], batch[b][1]);
            struct cuda_trial t =
                cuda_trial_new(r, call_route, &o, "route %d of %lld, score %d, groups %d/%d, gate %d, T %lld", o.arg.k,
                               (long long)E, (int)o.arg.score, o.arg.groups_kept, o.arg.groups, (int)o.arg.gate, (long long)T);
            int32_t *given = given_ids(&o, T);
            cuda_flat(&t, "ids", o.arg.gate == NF_GATE_GIVEN ? CUDA_INOUT : CUDA_OUT, 0, NF_I32, T * o.arg.k,
                      o.arg.gate == NF_GATE_GIVEN ? given : NULL);
            free(given);
            cuda_flat(&t, "weights", CUDA_OUT, cuda_sum(E), NF_F32, T * o.arg.k, NULL);
            cuda_real(&t, "scores", CUDA_OUT, cuda_sum(E), NF_F32, T, E, 0, 0);
            cuda_flat(&t, "load", CUDA_INOUT, 0, NF_I32, E, NULL);
            cuda_real(&t, "logits", CUDA_IN, 0, NF_F32, T, E, E + 3, 4);
            cuda_as_vector(&t, cuda_real(&t, "correction", CUDA_IN, 0, NF_F32, 1, E, 0, 0.3));
            cuda_flat(&t, "global rows", CUDA_IN, 0, NF_I64, 4, global_rows);
            cuda_flat(&t, "vars", CUDA_IN, 0, NF_U8, sizeof vars, &vars);
            cuda_flat(&t, "segment", CUDA_IN, 0, NF_I32, T, segment);
            cuda_try(&t);
            free(segment);
        }
}

static nf_status call_route_bwd(struct cuda_trial *t, nf_queue *q, int side)
{
    const struct routing *o = t->opt;
    return nf_route_bwd(q, CUDA_T(t, 0), CUDA_P(t, 1), CUDA_P(t, 2), CUDA_P(t, 3), CUDA_T(t, 4), &o->arg);
}

void cuda_test_route_bwd(struct cuda_rig *r)
{
    for (size_t k = 0; k < sizeof routes / sizeof *routes; k++)
        CUDA_EACH(b, r, batch, 1)
        {
            struct routing o = routes[k];
            const int64_t T = batch[b][0] * batch[b][1], E = o.experts;
            int32_t *ids = calloc((size_t)(T * o.arg.k) + 1, sizeof *ids);
            float *scores = calloc((size_t)(T * E) + 1, sizeof *scores);
            o.arg.seq = (nf_seq){batch[b][0], batch[b][1], NULL, NULL};
            for (int64_t i = 0; i < T; i++)
                for (int s = 0; s < o.arg.k; s++)
                    ids[i * o.arg.k + s] = i % 5 == 4 ? -1 : (int32_t)((i * 7 + s) % E);
            for (int64_t i = 0; i < T * E; i++) /* as probabilities are */
                scores[i] = (float)(1 + i * 2654435761 % 1000) / 1001.0f / (o.arg.score == NF_SCORE_SIGMOID ? 1.0f : (float)E);
            struct cuda_trial t = cuda_trial_new(r, call_route_bwd, &o, "route_bwd %d of %lld, score %d, T %lld", o.arg.k,
                                                 (long long)E, (int)o.arg.score, (long long)T);
            cuda_real(&t, "dlogits", CUDA_OUT, cuda_sum(E), NF_F32, T, E, 0, 0);
            cuda_real(&t, "dweights", CUDA_IN, 0, NF_F32, T, o.arg.k, 0, 1);
            cuda_flat(&t, "ids", CUDA_IN, 0, NF_I32, T * o.arg.k, ids);
            cuda_real(&t, "weights", CUDA_IN, 0, NF_F32, T, o.arg.k, 0, 1);
            memcpy(t.arg[cuda_real(&t, "scores", CUDA_IN, 0, NF_F32, T, E, 0, 1)].init, scores,
                   (size_t)(T * E) * sizeof *scores);
            cuda_try(&t);
            free(ids);
            free(scores);
        }
}

static nf_status call_router_bias(struct cuda_trial *t, nf_queue *q, int side)
{
    return nf_router_bias(q, CUDA_T(t, 0), CUDA_P(t, 1), 1e-3f, CUDA_P(t, 2));
}

void cuda_test_router_bias(struct cuda_rig *r)
{
    for (int64_t E = 1; E < 2000; E = E * 5 + 3)
        for (int skip = 0; skip < 2; skip++) {
            const struct nf_decision decision = {.skip = skip};
            int32_t *load = calloc((size_t)E, sizeof *load);
            for (int64_t e = 0; e < E; e++)
                load[e] = (int32_t)(e * 2654435761 % 97);
            struct cuda_trial t =
                cuda_trial_new(r, call_router_bias, NULL, "router_bias [%lld]%s", (long long)E, skip ? " skipped" : "");
            cuda_as_vector(&t, cuda_real(&t, "correction", CUDA_INOUT, cuda_sum(0), NF_F32, 1, E, 0, 1));
            cuda_flat(&t, "load", CUDA_IN, 0, NF_I32, E, load);
            cuda_flat(&t, "decision", CUDA_IN, 0, NF_U8, sizeof decision, &decision);
            cuda_try(&t);
            free(load);
        }
}
