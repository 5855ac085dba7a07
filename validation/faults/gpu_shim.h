/* SPDX-License-Identifier: Apache-2.0 */
/* gpu_shim.h: kernels that go wrong, for gpu_shim.c. */
#ifndef NEMAFIT_VALIDATION_FAULTS_GPU_SHIM_H
#define NEMAFIT_VALIDATION_FAULTS_GPU_SHIM_H

/* Launch one on a stream: one that never ends, or one that writes where there is no memory. */
void nf_gpu_fault(int never_ends, void *stream);

#endif
