# SPDX-License-Identifier: Apache-2.0
# NF_OPENMP: threads inside a rank (backend.threads). Without it one thread a rank is left.
AC_DEFUN([NF_OPENMP],
[AC_OPENMP
nf_openmp=${OPENMP_CFLAGS:-built into the compiler}
AS_CASE([$ac_cv_prog_c_openmp],
  [unsupported], [nf_openmp="none: backend.threads must stay 1 (use gcc or clang with libomp, or set OPENMP_CFLAGS)"])])
