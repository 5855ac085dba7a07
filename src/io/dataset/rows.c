/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets, positions and the shifted rows of multi-token prediction, formed here and nowhere else. A target is the label of the
 * next token of the same segment; a prediction one step further is the target of the next place, if that still is the same
 * segment.
 */
#include "private.h"

#include <stdlib.h>

static bool joined(const int32_t *segment, int64_t t, int64_t next)
{
    return !segment || (segment[t] != 0 && segment[next] == segment[t]);
}

static void form_row(int64_t S, const int32_t *labels, const int32_t *segment, int32_t *target, int32_t *position)
{
    for (int64_t t = 0; t < S; t++) {
        target[t] = t + 1 < S && joined(segment, t, t + 1) ? labels[t + 1] : NF_NOT_SCORED;
        if (position)
            position[t] = t > 0 && (!segment || segment[t] == segment[t - 1]) ? position[t - 1] + 1 : 0;
    }
}

static void form_mtp(int64_t S, int depth, const int32_t *ids, const int32_t *segment, const int32_t *target, int32_t *mtp_ids,
                     int32_t *mtp_target)
{
    const int64_t shift = depth + 1;
    for (int64_t t = 0; t < S; t++) {
        const bool inside = t + shift < S;
        mtp_ids[t] = inside ? ids[t + shift] : 0;
        mtp_target[t] = inside && joined(segment, t, t + shift) ? target[t + shift] : NF_NOT_SCORED;
    }
}

/* Row r of out, whose ids are there. Returns its scored targets. */
static int64_t form(int64_t S, int64_t r, const int32_t *labels, const int32_t *segment, const struct nf_rows_out *out)
{
    const int64_t at = r * S;
    int64_t scored = 0;
    form_row(S, labels, segment, out->target + at, out->position ? out->position + at : NULL);
    for (int d = 0; d < out->mtp_depth; d++)
        form_mtp(S, d, out->ids + at, segment, out->target + at, out->mtp_ids[d] + at, out->mtp_target[d] + at);
    for (int64_t t = 0; t < S; t++)
        scored += out->target[at + t] != NF_NOT_SCORED;
    return scored;
}

void nf_rows_form(int64_t n, int64_t S, const int32_t *labels, const struct nf_rows_out *out, int64_t *scored)
{
    int64_t count = 0;
    for (int64_t r = 0; r < n; r++)
        count += form(S, r, labels + r * S, out->segment ? out->segment + r * S : NULL, out);
    if (scored)
        *scored = count;
}

nf_status nf_dataset_fetch(const nf_dataset *data, const int64_t *rows, int64_t n, const struct nf_rows_out *out,
                           int64_t *scored)
{
    const int64_t S = data->seq_len;
    int64_t count = 0;
    NF_CHECK(out->segment || !data->segmented);
    int32_t *labels = malloc((size_t)(2 * S) * sizeof *labels);
    if (!labels)
        return nf_fail(NF_ENOMEM, "no memory for a row of %lld tokens", (long long)S);
    for (int64_t r = 0; r < n; r++) {
        const int64_t at = r * S;
        int32_t *segment = out->segment ? out->segment + at : labels + S;
        nf_status status = rows[r] >= 0 && rows[r] < data->rows
                               ? NF_OK
                               : nf_fail(NF_EBUG, "row %lld of %lld", (long long)rows[r], (long long)data->rows);
        if (status == NF_OK)
            status = data->ops->row(data, rows[r], out->ids + at, labels, segment);
        if (status != NF_OK) {
            free(labels);
            return status;
        }
        count += form(S, r, labels, segment, out);
    }
    free(labels);
    if (scored)
        *scored = count;
    return NF_OK;
}
