/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of one JSON document. The parser's library answers a lack of memory in several ways, one of them an assertion that
 * ends the process; so its allocator never returns NULL but leaves the parse by longjmp, and whatever the parse had taken is
 * given back with the pool.
 */
#ifndef NEMAFIT_BASE_JSON_POOL_H
#define NEMAFIT_BASE_JSON_POOL_H

#include <setjmp.h>
#include <stddef.h>

struct nf_json_block {
    struct nf_json_block *before, *after; /* a ring through the pool; its size keeps the alignment of malloc */
};

struct nf_json_pool {
    struct nf_json_block ring;
    jmp_buf starved; /* set before nf_json_pool_enter() */
};

void nf_json_pool_init(struct nf_json_pool *pool);
/* From here to leave, nf_json_take() of this thread takes from the pool. */
void nf_json_pool_enter(struct nf_json_pool *pool);
void nf_json_pool_leave(void);
void nf_json_pool_free(struct nf_json_pool *pool); /* all blocks; not the pool itself */

void *nf_json_take(size_t n);
void nf_json_give(void *p);

#endif
