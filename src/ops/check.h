/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h: conditions on the tensors of an op. A broken one is NF_EBUG with the op, the argument, what came and what was
 * wanted. Extents that may be anything are passed as NF_ANY. Data are not looked at: a dry run has none.
 */
#ifndef NEMAFIT_OPS_CHECK_H
#define NEMAFIT_OPS_CHECK_H

#include "nemafit/ops.h"

enum { NF_ANY = -1 };

nf_status nf_check_vector(const char *op, const char *name, nf_in t, nf_dtype type, int64_t n);
nf_status nf_check_matrix(const char *op, const char *name, nf_in t, nf_dtype type, int64_t rows, int64_t cols);
nf_status nf_check_cube(const char *op, const char *name, nf_in t, nf_dtype type, int64_t n, int64_t rows, int64_t cols);
/* An activation or parameter type: fp32 or bf16 */
nf_status nf_check_real(const char *op, const char *name, nf_in t);
/* A gradient's tensor, any of the two types; data NULL: not wanted, nothing is checked */
nf_status nf_check_grad1(const char *op, const char *name, nf_grad g, int64_t n);
nf_status nf_check_grad2(const char *op, const char *name, nf_grad g, int64_t rows, int64_t cols);
nf_status nf_check_grad3(const char *op, const char *name, nf_grad g, int64_t n, int64_t rows, int64_t cols);

#endif
