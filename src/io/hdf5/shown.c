/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h5: every logical tensor whole, in its own shape, for h5dump, h5py and people: virtual datasets that point into the
 * ranks' files. Nothing of ours reads it.
 */
#include "image.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A tensor's virtual dataset while it is put together from a piece. */
struct mapping {
    struct nf_h5_build *b;
    const struct nf_h5_tensor *t;
    const struct nf_h5_piece *p;
    hid_t dcpl;
    char file[NF_H5_FILE_NAME_MAX], set[NF_H5_NAME_MAX + 64];
};

/* One box of the tensor is elements [from, from + n) of the piece. */
static void map_box(struct mapping *m, const hsize_t *start, const hsize_t *size, hsize_t from, hsize_t n)
{
    const hsize_t count = (hsize_t)m->p->count;
    hsize_t dim[3];
    for (int d = 0; d < m->t->nd; d++)
        dim[d] = (hsize_t)m->t->dim[d];
    const hid_t whole = H5Screate_simple(m->t->nd, dim, NULL), piece = H5Screate_simple(1, &count, NULL);
    m->b->failed |= whole < 0 || piece < 0;
    m->b->failed |= m->b->failed || H5Sselect_hyperslab(whole, H5S_SELECT_SET, start, NULL, size, NULL) < 0 ||
                    H5Sselect_hyperslab(piece, H5S_SELECT_SET, &from, NULL, &n, NULL) < 0 ||
                    H5Pset_virtual(m->dcpl, whole, m->file, m->set, piece) < 0;
    m->b->failed |= whole >= 0 && H5Sclose(whole) < 0;
    m->b->failed |= piece >= 0 && H5Sclose(piece) < 0;
}

/*
 * Elements [first, end) in row-major order as boxes: the rest of a row that was begun, whole rows up to the next multiple of
 * dimension d's inner size, and so on outwards and back: at most 2 nd - 1 of them.
 */
static void map_range(struct mapping *m, int64_t first, int64_t end)
{
    const int nd = m->t->nd;
    int64_t inner[3] = {1, 1, 1};
    for (int d = nd - 2; d >= 0; d--)
        inner[d] = inner[d + 1] * m->t->dim[d + 1];
    for (int64_t at = first; at < end && !m->b->failed;) {
        int d = 0; /* outermost dimension along which a step from here stays inside and aligned */
        while (d < nd - 1 && (at % inner[d] != 0 || end - at < inner[d]))
            d++;
        const int64_t here = at / inner[d] % m->t->dim[d];
        int64_t n = (end - at) / inner[d];
        n = n < m->t->dim[d] - here ? n : m->t->dim[d] - here;
        hsize_t start[3], size[3];
        for (int i = 0; i < nd; i++) {
            start[i] = (hsize_t)(at / inner[i] % m->t->dim[i]);
            size[i] = i < d ? 1 : i == d ? (hsize_t)n : (hsize_t)m->t->dim[i];
        }
        map_box(m, start, size, (hsize_t)(at - m->p->first), (hsize_t)(n * inner[d]));
        at += n * inner[d];
    }
}

static nf_status show(struct nf_h5_build *b, const struct nf_h5_manifest *m, int tensor, hid_t lcpl)
{
    const struct nf_h5_tensor *t = &m->tensor[tensor];
    struct mapping map = {.b = b, .t = t, .dcpl = H5Pcreate(H5P_DATASET_CREATE)};
    char name[NF_H5_NAME_MAX + 64];
    hsize_t dim[3] = {1, 1, 1};
    b->failed |= map.dcpl < 0;
    for (int64_t i = m->piece_of[tensor]; i < m->piece_of[tensor + 1] && !b->failed; i++) {
        map.p = &m->piece[i];
        nf_h5_rank_name(map.file, map.p->file);
        snprintf(map.set, sizeof map.set, "/%s/%s@%" PRId64, t->field, t->name, map.p->first);
        map_range(&map, map.p->first, map.p->first + map.p->count);
    }
    for (int d = 0; d < t->nd; d++)
        dim[d] = (hsize_t)t->dim[d];
    const hid_t space = H5Screate_simple(t->nd, dim, NULL), type = nf_h5_type(t->dtype);
    snprintf(name, sizeof name, "/%s/%s", t->field, t->name);
    b->failed |= space < 0 || type < 0;
    const hid_t set = b->failed ? -1 : H5Dcreate2(b->file, name, type, space, lcpl, map.dcpl, H5P_DEFAULT);
    b->failed |= set < 0;
    b->failed |= set >= 0 && H5Dclose(set) < 0;
    b->failed |= type >= 0 && H5Tclose(type) < 0;
    b->failed |= space >= 0 && H5Sclose(space) < 0;
    b->failed |= map.dcpl >= 0 && H5Pclose(map.dcpl) < 0;
    return b->failed ? nf_h5_fail_lib(b->name, "show a tensor whole") : NF_OK;
}

nf_status nf_h5_shown(const struct nf_h5_manifest *m, struct nf_h5_image *image)
{
    struct nf_h5_build b;
    nf_status status = nf_h5_image_open(image, "snapshot.h5", &b);
    const hid_t lcpl = H5Pcreate(H5P_LINK_CREATE);
    b.failed |= lcpl < 0 || H5Pset_create_intermediate_group(lcpl, 1) < 0;
    if (status == NF_OK)
        status = nf_h5_label(&b, m, -1);
    for (int t = 0; t < m->tensors && status == NF_OK; t++)
        status = show(&b, m, t, lcpl);
    b.failed |= lcpl >= 0 && H5Pclose(lcpl) < 0;
    const nf_status closed = nf_h5_image_close(&b);
    return status == NF_OK ? closed : status;
}
