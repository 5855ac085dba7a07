/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.h: bytes of scratch that the CPU ops take, by shapes alone: never by the number of threads, which a dry device does
 * not know, nor by counts. The dispatchers in src/ops/<op>.c ask here and take them from the queue's work arena.
 */
#ifndef NEMAFIT_OPS_CPU_SCRATCH_H
#define NEMAFIT_OPS_CPU_SCRATCH_H

#include "nemafit/ops.h"

#endif
