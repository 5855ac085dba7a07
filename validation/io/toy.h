/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toy.h: a family's declaration as small as it can be with every kind of tensor in it, a checkpoint of it made by the tests'
 * own writer, and the values that must be found in memory.
 */
#ifndef NEMAFIT_VALIDATION_IO_TOY_H
#define NEMAFIT_VALIDATION_IO_TOY_H

#include "make.h"

#include "nemafit/io/safetensors.h"

enum { TOY_PARAMS = 9, TOY_EXPERTS = 12, TOY_ROWS = 6 + 4 * TOY_EXPERTS };

enum toy_param { TOY_EMBED, TOY_CONV, TOY_NORM, TOY_UP, TOY_DOWN, TOY_PAIR, TOY_BIAS, TOY_ONE, TOY_SPARE };

struct toy {
    nf_param_desc desc[TOY_PARAMS];
    nf_map_row row[TOY_ROWS];
    char name[TOY_ROWS][96];
    nf_weight_map map;
    nf_dtype disk[TOY_PARAMS];
    void *bytes[TOY_PARAMS]; /* the logical tensor in the type on disk */
};

/* memory: of all but the bias, which is fp32; disk: of all but the bias, `bias`. embed: rows of the largest tensor. */
bool toy_make(struct toy *toy, uint64_t seed, nf_dtype memory, nf_dtype disk, nf_dtype bias, int64_t embed);
void toy_free(struct toy *toy);
int64_t toy_count(const struct toy *toy, int param);
/* A value as it must stand in memory, as bits. */
uint32_t toy_bits(const struct toy *toy, int param, int64_t at);
/* Elements [*first, *first + *count) of its parameter that a row is. */
void toy_span(const struct toy *toy, int row, int64_t *first, int64_t *count);

struct toy_how {
    bool sharded; /* in three files with an index */
    bool alias;   /* names as other writers give them */
    bool fused;   /* TOY_UP and TOY_PAIR as one tensor each */
    bool spare;   /* with the optional tensor */
    bool shuffled;
};
bool toy_write(const struct toy *toy, const char *dir, const struct toy_how *how);

#endif
