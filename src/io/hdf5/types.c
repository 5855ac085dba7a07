/* SPDX-License-Identifier: Apache-2.0 */
/* Element types and labels in HDF5 files. */
#include "image.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "snapshots are little-endian, as memory is: this processor is not"
#endif

/* 1 sign, 8 exponent and 7 fraction bits: the upper half of an fp32. */
static hid_t bf16(void)
{
    const hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    if (t >= 0 && (H5Tset_fields(t, 15, 7, 8, 0, 7) < 0 || H5Tset_size(t, 2) < 0 || H5Tset_ebias(t, 127) < 0)) {
        H5Tclose(t);
        return -1;
    }
    return t;
}

static hid_t fp16(void)
{
    const hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    if (t >= 0 && (H5Tset_fields(t, 15, 10, 5, 0, 10) < 0 || H5Tset_size(t, 2) < 0 || H5Tset_ebias(t, 15) < 0)) {
        H5Tclose(t);
        return -1;
    }
    return t;
}

hid_t nf_h5_type(nf_dtype t)
{
    switch (t) {
    case NF_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case NF_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case NF_BF16: return bf16();
    case NF_F16: return fp16();
    case NF_I16: return H5Tcopy(H5T_STD_I16LE);
    case NF_I32: return H5Tcopy(H5T_STD_I32LE);
    case NF_I64: return H5Tcopy(H5T_STD_I64LE);
    case NF_U8: return H5Tcopy(H5T_STD_U8LE);
    case NF_DTYPE_COUNT: break;
    }
    return -1;
}

static void attribute(struct nf_h5_build *b, const char *name, hid_t type, hid_t memory, const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t a = space >= 0 && type >= 0 ? H5Acreate2(b->file, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
    b->failed |= a < 0 || H5Awrite(a, memory, value) < 0;
    b->failed |= a >= 0 && H5Aclose(a) < 0;
    b->failed |= space >= 0 && H5Sclose(space) < 0;
}

nf_status nf_h5_label(struct nf_h5_build *b, const struct nf_h5_manifest *m, int rank)
{
    const int64_t step = m->meta.step, generation = m->meta.generation, who = rank;
    const hid_t text = H5Tcopy(H5T_C_S1);
    b->failed |= text < 0 || H5Tset_size(text, sizeof m->run) < 0;
    attribute(b, "step", H5T_STD_I64LE, H5T_NATIVE_INT64, &step);
    attribute(b, "generation", H5T_STD_I64LE, H5T_NATIVE_INT64, &generation);
    attribute(b, "run", text, text, m->run);
    if (rank >= 0)
        attribute(b, "rank", H5T_STD_I64LE, H5T_NATIVE_INT64, &who);
    b->failed |= text >= 0 && H5Tclose(text) < 0;
    return b->failed ? nf_h5_fail_lib(b->name, "label a file") : NF_OK;
}
