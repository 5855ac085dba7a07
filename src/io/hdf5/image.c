/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver under libhdf5 that keeps what it writes in memory. Raw data is never written through it: datasets only get their
 * place, and our own checked writes fill it. So libhdf5 meets no full disk and no I/O error, after which it has been seen to
 * report success or to crash.
 */
#include "image.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

struct driver_info {
    struct nf_h5_image *image;
};

/* An open file: what libhdf5 knows comes first. */
struct open_file {
    H5FD_t pub;
    struct nf_h5_image *image;
    haddr_t eoa, eof;
};

/* ---- pages ------------------------------------------------------------------------------------------------------------ */

void nf_h5_image_free(struct nf_h5_image *image)
{
    for (size_t i = 0; i < image->pages; i++)
        free(image->page[i].bytes);
    free(image->page);
    *image = (struct nf_h5_image){0};
}

/* Number of the first page at or behind `at`. */
static size_t find(const struct nf_h5_image *image, uint64_t at)
{
    size_t low = 0, high = image->pages;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (image->page[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct nf_h5_page *page_of(struct nf_h5_image *image, uint64_t at)
{
    const size_t i = find(image, at);
    if (i < image->pages && image->page[i].at == at)
        return &image->page[i];
    if (image->pages == image->cap) {
        const size_t more = image->cap ? 2 * image->cap : 64;
        struct nf_h5_page *grown = realloc(image->page, more * sizeof *grown);
        if (!grown)
            return NULL;
        image->page = grown;
        image->cap = more;
    }
    unsigned char *bytes = calloc(1, PAGE);
    if (!bytes)
        return NULL;
    memmove(image->page + i + 1, image->page + i, (image->pages - i) * sizeof *image->page);
    image->page[i] = (struct nf_h5_page){at, bytes};
    image->pages++;
    return &image->page[i];
}

void nf_h5_image_lay(const struct nf_h5_image *image, uint64_t at, size_t n, unsigned char *out)
{
    for (size_t i = find(image, at / PAGE * PAGE); i < image->pages && image->page[i].at < at + n; i++) {
        const uint64_t page = image->page[i].at, from = page > at ? page : at;
        const uint64_t to = page + PAGE < at + n ? page + PAGE : at + n;
        memcpy(out + (from - at), image->page[i].bytes + (from - page), (size_t)(to - from));
    }
}

/* ---- the driver ------------------------------------------------------------------------------------------------------- */

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    const struct driver_info *info = H5Pget_driver_info(fapl);
    struct open_file *f = info ? calloc(1, sizeof *f) : NULL;
    (void)name, (void)flags, (void)maxaddr;
    if (f)
        f->image = info->image;
    return (H5FD_t *)f;
}

static herr_t driver_close(H5FD_t *file)
{
    struct open_file *f = (struct open_file *)file;
    f->image->size = f->eof > f->eoa ? f->eof : f->eoa;
    free(f);
    return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const struct open_file *)file)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t addr)
{
    (void)type;
    ((struct open_file *)file)->eoa = addr;
    return 0;
}

static haddr_t driver_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const struct open_file *)file)->eof;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size, void *buffer)
{
    (void)type, (void)dxpl;
    memset(buffer, 0, size);
    nf_h5_image_lay(((struct open_file *)file)->image, addr, size, buffer);
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size, const void *buffer)
{
    struct open_file *f = (struct open_file *)file;
    (void)type, (void)dxpl;
    for (uint64_t at = addr; at < addr + size;) {
        const uint64_t page = at / PAGE * PAGE, to = page + PAGE < addr + size ? page + PAGE : addr + size;
        struct nf_h5_page *p = page_of(f->image, page);
        if (p)
            memcpy(p->bytes + (at - page), (const char *)buffer + (at - addr), (size_t)(to - at));
        f->image->failed |= !p; /* told when the file is closed */
        at = to;
    }
    f->eof = addr + size > f->eof ? addr + size : f->eof;
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t dxpl, hbool_t closing)
{
    struct open_file *f = (struct open_file *)file;
    (void)dxpl, (void)closing;
    f->eof = f->eoa;
    return 0;
}

static const H5FD_class_t driver = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)300, /* HDF5 keeps 256 to 511 for drivers that are not registered with it */
#endif
    .name = "nemafit_image",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(struct driver_info),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

/* ---- files ------------------------------------------------------------------------------------------------------------- */

nf_status nf_h5_fail_lib(const char *name, const char *what)
{
    return nf_fail(NF_EBUG, "%s: HDF5 cannot %s", name, what);
}

nf_status nf_h5_image_open(struct nf_h5_image *image, const char *name, struct nf_h5_build *b)
{
    const struct driver_info info = {image};
    *b = (struct nf_h5_build){.name = name, .image = image, .file = -1, .fapl = -1, .driver = -1};
    (void)H5dont_atexit(); /* fails from the second call on */
    b->failed |= H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0;
    b->driver = H5FDregister(&driver);
    b->fapl = H5Pcreate(H5P_FILE_ACCESS);
    b->failed |= b->driver < 0 || b->fapl < 0;
    b->failed |= b->failed || H5Pset_driver(b->fapl, b->driver, &info) < 0;
    b->failed |= b->failed || H5Pset_libver_bounds(b->fapl, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0;
    b->failed |= b->failed || H5Pset_alignment(b->fapl, 16 * PAGE, PAGE) < 0;
    if (!b->failed)
        b->file = H5Fcreate(name, H5F_ACC_TRUNC, H5P_DEFAULT, b->fapl);
    b->failed |= b->file < 0;
    return b->failed ? nf_h5_fail_lib(name, "lay out a file") : NF_OK;
}

nf_status nf_h5_image_close(struct nf_h5_build *b)
{
    b->failed |= b->file >= 0 && H5Fclose(b->file) < 0;
    b->failed |= b->fapl >= 0 && H5Pclose(b->fapl) < 0;
    b->failed |= b->driver >= 0 && H5FDunregister(b->driver) < 0;
    if (b->image->failed)
        return nf_fail(NF_ENOMEM, "%s: no memory for its layout", b->name);
    return b->failed ? nf_h5_fail_lib(b->name, "close the layout of a file") : NF_OK;
}
