/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What if libhdf5 dies on a file? The library's H5Fopen is replaced by one that crashes, aborts, ends the process or takes
 * memory until there is none: the run gets a diagnosis each time, and is none the worse for it.
 */
#define H5_USE_110_API 1
#include "h5make.h"
#include "make.h"
#include "tap.h"

#include "nemafit/io/dataset.h"

#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum { CRASH, ABORT, LEAVE, EAT, DEATHS } how;

hid_t H5Fopen(const char *name, unsigned flags, hid_t access)
{
    (void)name;
    (void)flags;
    (void)access;
    if (how == CRASH)
        raise(SIGSEGV);
    else if (how == ABORT)
        raise(SIGABRT);
    else if (how == LEAVE)
        _exit(3);
    for (size_t n = 0; n < 64; n++) { /* GiB: more than the limit */
        char *p = malloc((size_t)1 << 30);
        if (!p)
            raise(SIGKILL);
        memset(p, 1, 4096);
    }
    return H5I_INVALID_HID; /* another diagnosis, which fails the test */
}

int main(void)
{
    static const char *const said[] = {"H5-34: is damaged: the HDF5 library crashed (signal 11)",
                                       "H5-34: is damaged: the HDF5 library crashed (signal 6)",
                                       "H5-34: is damaged: the HDF5 library ended the process (status 3)",
                                       "H5-34: is damaged: the HDF5 library crashed (signal 9)"};
    char dir[256], path[300], *names[] = {path};
    nf_device *device = NULL;
    nf_mesh *mesh = NULL;
    int deaths = DEATHS;
#if defined(__SANITIZE_ADDRESS__)
    deaths = EAT; /* memory is not limited under a sanitizer, which reserves terabytes */
#endif
    tap_open();
    const bool ready = make_folder(dir, "t_dataset_fence") && nf_device_host(1, &device) == NF_OK &&
                       nf_mesh_new(NULL, 1, device, &mesh) == NF_OK;
    snprintf(path, sizeof path, "%s/data.h5", dir);
    if (tap_ok(ready && h5_make(path, &(struct h5_spec){0}), "a dataset")) {
        const nf_strings files = {names, 1};
        const struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_HDF5, .vocab = H5_VOCAB};
        for (int i = 0; i < deaths; i++) {
            nf_dataset *data = NULL;
            how = i;
            tap_ok(make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA, said[i]), "%s", said[i]);
        }
    }
    nf_mesh_free(mesh);
    nf_device_free(device);
    make_remove(dir);
    return tap_done();
}
