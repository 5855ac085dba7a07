/* SPDX-License-Identifier: Apache-2.0 */
/* image.h: building an HDF5 file in memory. The only header of the folder that needs hdf5.h. */
#ifndef NEMAFIT_IO_HDF5_IMAGE_H
#define NEMAFIT_IO_HDF5_IMAGE_H

#include "private.h"

#include <hdf5.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

/* A file under construction. `failed` latches: what comes after a failure means nothing. */
struct nf_h5_build {
    const char *name;
    struct nf_h5_image *image;
    hid_t file, fapl, driver;
    bool failed;
};
nf_status nf_h5_image_open(struct nf_h5_image *image, const char *name, struct nf_h5_build *build);
nf_status nf_h5_image_close(struct nf_h5_build *build); /* also after failures; image->size is set */
NF_COLD nf_status nf_h5_fail_lib(const char *name, const char *what);

/* types.c: element types in files (little-endian; bf16 as a float of 8 exponent bits, which HDF5 converts). Close it. */
hid_t nf_h5_type(nf_dtype t);
/* What every file of a snapshot says of itself: step, generation, run, rank (-1: all) as attributes of its root. */
nf_status nf_h5_label(struct nf_h5_build *build, const struct nf_h5_manifest *m, int rank);

#endif
