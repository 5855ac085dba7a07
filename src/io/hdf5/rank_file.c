/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of a rank's file: one group a field, in it one dataset a piece, 1-D, contiguous, with its place taken and nothing
 * written. Names: /weights/model.norm.weight@0, where 0 is the piece's first element.
 */
#include "image.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static nf_status add_piece(struct nf_h5_build *b, const struct nf_h5_tensor *t, const struct nf_h5_piece *p, hid_t dcpl,
                           hid_t lcpl, uint64_t *at)
{
    char name[NF_H5_NAME_MAX + 64];
    const hsize_t n = (hsize_t)p->count;
    const hid_t space = H5Screate_simple(1, &n, NULL), type = nf_h5_type(t->dtype);
    snprintf(name, sizeof name, "/%s/%s@%" PRId64, t->field, t->name, p->first);
    const hid_t set = space >= 0 && type >= 0 ? H5Dcreate2(b->file, name, type, space, lcpl, dcpl, H5P_DEFAULT) : -1;
    const haddr_t place = set >= 0 ? H5Dget_offset(set) : HADDR_UNDEF;
    b->failed |= set < 0 || place == HADDR_UNDEF;
    b->failed |= set >= 0 && H5Dclose(set) < 0;
    b->failed |= type >= 0 && H5Tclose(type) < 0;
    b->failed |= space >= 0 && H5Sclose(space) < 0;
    *at = place;
    return b->failed ? nf_h5_fail_lib(b->name, "give a tensor its place") : NF_OK;
}

nf_status nf_h5_rank_file(const struct nf_h5_manifest *m, int rank, struct nf_h5_image *image, uint64_t *at)
{
    char name[NF_H5_FILE_NAME_MAX];
    struct nf_h5_build b;
    int64_t made = 0;
    nf_h5_rank_name(name, rank);
    nf_status status = nf_h5_image_open(image, name, &b);
    const hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE), lcpl = H5Pcreate(H5P_LINK_CREATE);
    b.failed |= dcpl < 0 || lcpl < 0;
    b.failed |= b.failed || H5Pset_layout(dcpl, H5D_CONTIGUOUS) < 0 || H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY) < 0 ||
                H5Pset_fill_time(dcpl, H5D_FILL_TIME_NEVER) < 0 || H5Pset_create_intermediate_group(lcpl, 1) < 0;
    if (b.failed && status == NF_OK)
        status = nf_h5_fail_lib(name, "prepare a file");
    if (status == NF_OK)
        status = nf_h5_label(&b, m, rank);
    for (int64_t i = 0; i < m->pieces && status == NF_OK; i++)
        if (m->piece[i].file == rank)
            status = add_piece(&b, &m->tensor[m->piece[i].tensor], &m->piece[i], dcpl, lcpl, &at[made++]);
    b.failed |= dcpl >= 0 && H5Pclose(dcpl) < 0;
    b.failed |= lcpl >= 0 && H5Pclose(lcpl) < 0;
    const nf_status closed = nf_h5_image_close(&b);
    return status == NF_OK ? closed : status;
}
