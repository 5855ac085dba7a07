/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endless order of the rows: epoch after epoch, each a permutation of its own. Any place can be asked for alone, so where a
 * run stands in its data is one number.
 */
#include "private.h"

#include "nemafit/rng.h"

int64_t nf_dataset_order(const nf_dataset *data, int64_t at)
{
    const int64_t epoch = at / data->rows, place = at % data->rows;
    if (!data->shuffle)
        return place;
    const nf_rng_key key = {.seed = data->seed, .step = (uint64_t)epoch, .purpose = NF_RNG_SHUFFLE};
    return (int64_t)nf_rng_permute(key, (uint64_t)place, (uint64_t)data->rows);
}
