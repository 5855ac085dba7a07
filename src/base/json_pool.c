/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks know their neighbours, so one can be given back at any time and all at the end. */
#include "json_pool.h"

#include <stdint.h>
#include <stdlib.h>

static _Thread_local struct nf_json_pool *entered;

void nf_json_pool_init(struct nf_json_pool *pool)
{
    pool->ring.before = pool->ring.after = &pool->ring;
}

void nf_json_pool_enter(struct nf_json_pool *pool)
{
    entered = pool;
}

void nf_json_pool_leave(void)
{
    entered = NULL;
}

void *nf_json_take(size_t n)
{
    struct nf_json_block *b = n <= SIZE_MAX - sizeof *b ? malloc(sizeof *b + n) : NULL;
    if (!b)
        longjmp(entered->starved, 1);
    b->before = &entered->ring;
    b->after = entered->ring.after;
    b->before->after = b->after->before = b;
    return b + 1;
}

void nf_json_give(void *p)
{
    if (!p)
        return;
    struct nf_json_block *b = (struct nf_json_block *)p - 1;
    b->before->after = b->after;
    b->after->before = b->before;
    free(b);
}

void nf_json_pool_free(struct nf_json_pool *pool)
{
    while (pool->ring.after != &pool->ring)
        nf_json_give(pool->ring.after + 1);
}
