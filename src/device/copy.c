/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies and fills. Source and destination must not overlap (other devices copy in any order); a copy onto itself is none. A
 * dry queue counts and looks at no address.
 */
#include "private.h"

#include <string.h>

static bool apart(const void *dst, const void *src, size_t bytes)
{
    uintptr_t d = (uintptr_t)dst, s = (uintptr_t)src;
    return d < s ? s - d >= bytes : d - s >= bytes;
}

nf_status nf_copy(nf_queue *queue, void *dst, const void *src, size_t bytes)
{
    if (bytes == 0 || (dst == src && !queue->device->dry))
        return NF_OK;
    nf_queue_count(queue, 0, 2.0 * (double)bytes);
    if (queue->device->dry)
        return NF_OK;
    NF_CHECK(dst && src && apart(dst, src, bytes));
    if (queue->native)
        return queue->device->gpu->copy(queue->native, dst, src, bytes);
    memcpy(dst, src, bytes);
    return NF_OK;
}

nf_status nf_copy_2d(nf_queue *queue, void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width, size_t rows)
{
    NF_CHECK(rows <= 1 || (width <= dst_pitch && width <= src_pitch));
    if (width == 0 || rows == 0)
        return NF_OK;
    if (rows == 1 || (dst_pitch == width && src_pitch == width))
        return nf_copy(queue, dst, src, width * rows);
    nf_queue_count(queue, 0, 2.0 * (double)width * (double)rows);
    if (queue->device->dry)
        return NF_OK;
    NF_CHECK(dst && src);
    if (queue->native)
        return queue->device->gpu->copy_2d(queue->native, dst, dst_pitch, src, src_pitch, width, rows);
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)dst + r * dst_pitch, (const char *)src + r * src_pitch, width);
    return NF_OK;
}

nf_status nf_fill_zero(nf_queue *queue, void *dst, size_t bytes)
{
    if (bytes == 0)
        return NF_OK;
    nf_queue_count(queue, 0, (double)bytes);
    if (queue->device->dry)
        return NF_OK;
    NF_CHECK(dst);
    if (queue->native)
        return queue->device->gpu->fill(queue->native, dst, 0, bytes);
    memset(dst, 0, bytes);
    return NF_OK;
}
