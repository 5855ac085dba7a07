/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h5 as others see it: through HDF5 each logical tensor is there whole, in its shape, every bit in its place, however
 * unevenly the ranks held it; and bf16 values come out as the numbers they are.
 */
#include "snaprig.h"
#include "tap.h"

#include "nemafit/log.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements that differ from what was filled; -1: it cannot be read, or has another shape. */
static int64_t wrong(hid_t file, const struct snaprig *s, int f, int p, int version)
{
    const nf_param_desc *d = &s->desc[p];
    const size_t size = nf_dtype_size(s->dtype[f][p]);
    char name[256];
    hsize_t dim[3] = {0}, n = 1;
    int64_t bad = -1;
    snprintf(name, sizeof name, "/%s/%s", s->field[f].name, d->name);
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0)
        return -1;
    const hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    bool same = H5Sget_simple_extent_ndims(space) == d->nd && H5Sget_simple_extent_dims(space, dim, NULL) == d->nd &&
                H5Tget_size(type) == size;
    for (int i = 0; i < d->nd; i++) {
        same = same && dim[i] == (hsize_t)d->dim[i];
        n *= dim[i];
    }
    char *bytes = same ? malloc((size_t)n * size) : NULL;
    if (bytes && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0) {
        bad = 0;
        for (int64_t i = 0; i < (int64_t)n; i++) {
            const uint64_t x = snaprig_value(version, f, p, i);
            bad += memcmp(bytes + (size_t)i * size, &x, size) != 0;
        }
    }
    free(bytes);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(set);
    return bad;
}

/* A vector of bf16, read as fp32 by HDF5. */
static bool numbers_right(hid_t file, const struct snaprig *s, int version)
{
    float x[96] = {0};
    const hid_t set = H5Dopen2(file, "/weights/model.layers.0.norm.weight", H5P_DEFAULT);
    bool right = set >= 0 && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0;
    for (int i = 0; i < 96 && right; i++) {
        const float wanted = nf_bf16_to_f32((uint16_t)snaprig_value(version, 0, 1, i));
        right = x[i] == wanted || (x[i] != x[i] && wanted != wanted);
    }
    if (set >= 0)
        H5Dclose(set);
    return right && s->desc[1].dim[0] == 96;
}

int main(void)
{
    char dir[256], path[300];
    int ranks, rank, step = 0;
    tap_open_mpi();
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    nf_log_open(rank, ranks, NF_LOG_QUIET, stdout);
    snaprig_dir("snapshot-shown", dir);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    for (int ep = 1; ep <= ranks; ep++) {
        if (ranks % ep)
            continue;
        for (int ragged = 0; ragged < 2; ragged++) {
            struct snaprig s = snaprig_open(ranks, ep, ragged);
            nf_lease *lease = NULL;
            int64_t bad = 0;
            bool taken = nf_lease_take(s.mesh, dir, 5, &lease) == NF_OK && snaprig_take(&s, lease, ++step, false) == NF_OK;
            nf_lease_drop(lease);
            tap_ok(taken, "ep %d, ragged %d: a snapshot", ep, ragged);
            snprintf(path, sizeof path, "%s/step-%08d/snapshot.h5", dir, step);
            const hid_t file = rank == 0 ? H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT) : -1;
            int seen = 0;
            for (int f = 0; f < SNAP_FIELDS && rank == 0; f++)
                for (int p = 0; p < SNAP_PARAMS; p++)
                    if (s.named[f][p].data) {
                        const int64_t w = wrong(file, &s, f, p, step);
                        seen++;
                        bad += w != 0;
                        if (w != 0)
                            tap_note("%s of %s: %lld elements are wrong", s.field[f].name, s.desc[p].name, (long long)w);
                    }
            tap_ok(rank > 0 || (file >= 0 && seen == 27 && bad == 0), "ep %d, ragged %d: all tensors are shown whole", ep,
                   ragged);
            tap_ok(rank > 0 || numbers_right(file, &s, step), "ep %d, ragged %d: bf16 reads as numbers", ep, ragged);
            if (file >= 0)
                H5Fclose(file);
            snaprig_close(&s);
        }
    }
    snaprig_remove(dir);
    return tap_done();
}
