/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data set on many ranks: the same rows everywhere, also where the file is only there for rank 0; the same error everywhere.
 */
#include "make.h"
#include "tap.h"

#include "nemafit/io/dataset.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char dir[256] = "", path[300], *names[] = {path};
    MPI_Comm world = MPI_COMM_WORLD;
    int rank;
    nf_device *device = NULL;
    nf_mesh *mesh = NULL;
    nf_dataset *data = NULL;
    tap_open_mpi();
    MPI_Comm_rank(world, &rank);
    bool ready = rank != 0 || make_folder(dir, "t_dataset_ranks");
    snprintf(path, sizeof path, "%s/only-here.txt", rank == 0 ? dir : "nowhere");
    ready &= rank != 0 || make_text(path, "one two three");
    ready &= nf_device_host(1, &device) == NF_OK && nf_mesh_new(&world, 1, device, &mesh) == NF_OK;
    if (tap_ok(ready, "a mesh, and a text that rank 0 alone can read")) {
        const nf_strings files = {names, 1};
        const struct nf_dataset_arg arg = {
            .files = &files, .format = NF_FORMAT_TEXT, .seq_len = 5, .vocab = 257, .shuffle = true, .seed = 2};
        int32_t ids[15], target[15], segment[15], position[15];
        const struct nf_rows_out out = {.ids = ids, .target = target, .segment = segment, .position = position};
        const int64_t rows[] = {0, 1, 2};
        int64_t scored = 0, order[6];
        bool right = nf_dataset_open(mesh, &arg, &data) == NF_OK && nf_dataset_rows(data) == 3 &&
                     nf_dataset_fetch(data, rows, 3, &out, &scored) == NF_OK;
        right =
            right && scored == 11 && ids[0] == 'o' && ids[12] == 'e' && ids[13] == 256 && ids[14] == 256 && segment[14] == 0;
        tap_ok(right, "all ranks have its rows");
        for (int i = 0; i < 6 && right; i++)
            order[i] = nf_dataset_order(data, i);
        tap_ok(right && nf_same(mesh, order, sizeof order, "order") == NF_OK, "in the same order");
        nf_dataset_free(data);
        data = NULL;
        nf_barrier(nf_mesh_group(mesh, NF_WORLD));
        if (rank == 0)
            remove(path);
        tap_ok(make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EMISSING, "only-here.txt"),
               "all ranks know that it is missing");
    }
    nf_mesh_free(mesh);
    nf_device_free(device);
    if (rank == 0)
        make_remove(dir);
    return tap_done();
}
