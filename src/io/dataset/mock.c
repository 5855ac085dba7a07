/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random tokens: rows without files, for speed and for tests. A token depends on seed, row and place alone.
 */
#include "private.h"

#include "nemafit/rng.h"

static nf_status mock_row(const nf_dataset *data, int64_t row, int32_t *ids, int32_t *labels, int32_t *segment)
{
    const uint64_t key = nf_rng_mix((nf_rng_key){.seed = data->seed, .purpose = NF_RNG_MOCK});
    const uint64_t vocab = (uint64_t)data->vocab;
    for (int64_t t = 0; t < data->seq_len; t += 4) {
        uint32_t bits[4];
        nf_rng_block(key, (uint64_t)row, (uint64_t)t / 4, bits);
        for (int64_t i = t; i < t + 4 && i < data->seq_len; i++) {
            ids[i] = (int32_t)((bits[i - t] * vocab) >> 32);
            labels[i] = ids[i];
            segment[i] = 1;
        }
    }
    return NF_OK;
}

static const struct nf_dataset_ops mock_ops = {.name = "mock", .row = mock_row};

nf_status nf_mock_open(const struct nf_dataset_arg *arg, nf_dataset *data)
{
    NF_CHECK(arg->vocab > 0 && arg->vocab <= INT32_MAX && arg->mock_rows > 0);
    data->ops = &mock_ops;
    data->rows = arg->mock_rows;
    data->digest = nf_rng_mix((nf_rng_key){.seed = data->seed, .purpose = NF_RNG_MOCK});
    return NF_OK;
}
