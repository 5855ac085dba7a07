/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open a data set of any format. All ranks hold the same rows under the same numbers; which of them a rank works on is the
 * loop's affair.
 */
#include "private.h"

#include <stdlib.h>

static nf_status open_format(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset *data)
{
    if (arg->format == NF_FORMAT_HDF5 ? arg->seq_len < 0 || arg->seq_len == 1 : arg->seq_len < 2)
        return nf_fail(NF_EUSAGE, "data.seq_len is %lld, need >= 2: the first token of a row has no target of its own",
                       (long long)arg->seq_len);
    switch (arg->format) {
    case NF_FORMAT_TEXT: return nf_text_open(mesh, arg, data);
    case NF_FORMAT_MOCK: return nf_mock_open(arg, data);
    case NF_FORMAT_HDF5: return nf_hdf5_open(mesh, arg, data);
    default: return nf_fail(NF_EBUG, "data.format %d is unknown", arg->format);
    }
}

nf_status nf_dataset_open(const nf_mesh *mesh, const struct nf_dataset_arg *arg, nf_dataset **out)
{
    nf_dataset *data = calloc(1, sizeof *data);
    nf_status status = nf_agree(mesh, data ? NF_OK : nf_fail(NF_ENOMEM, "no memory for a data set"));
    if (status == NF_OK) {
        data->seq_len = arg->seq_len;
        data->vocab = arg->vocab;
        data->shuffle = arg->shuffle;
        data->seed = arg->seed;
        status = open_format(mesh, arg, data);
        status = nf_agree(mesh, status);
    }
    if (status != NF_OK) {
        nf_dataset_free(data);
        return status;
    }
    *out = data;
    return NF_OK;
}

void nf_dataset_free(nf_dataset *data)
{
    if (data && data->ops && data->ops->close)
        data->ops->close(data);
    free(data);
}

int64_t nf_dataset_rows(const nf_dataset *data)
{
    return data->rows;
}

int64_t nf_dataset_seq_len(const nf_dataset *data)
{
    return data->seq_len;
}

bool nf_dataset_segmented(const nf_dataset *data)
{
    return data->segmented;
}

uint64_t nf_dataset_digest(const nf_dataset *data)
{
    return data->digest;
}
