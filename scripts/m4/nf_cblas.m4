# SPDX-License-Identifier: Apache-2.0
# NF_CBLAS: a BLAS with the CBLAS interface. OpenBLAS is looked for: its thread count is set and its kernels are shown at
# start-up; with another BLAS (CBLAS_LIBS) both are left to its own environment variables.
AC_DEFUN([NF_CBLAS],
[NF_PACKAGE([CBLAS], [CBLAS], [openblas], [], [-lopenblas])
AC_MSG_CHECKING([for CBLAS through $nf_CBLAS_from])
NF_TRY_LINK([$CBLAS_CPPFLAGS], [$CBLAS_LIBS], [[#include <cblas.h>]],
  [[float a = 1, c = 0;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 1, 1, 1, 1.0f, &a, 1, &a, 1, 0.0f, &c, 1);
    return c > 0;]],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([cannot build a CBLAS program through $nf_CBLAS_from: "$CBLAS_CPPFLAGS $CBLAS_LIBS".
  Install:  Debian, Ubuntu: libopenblas-dev pkg-config
  Or set:   CBLAS_CPPFLAGS=-I/path/include CBLAS_LIBS="-L/path/lib -lopenblas", or PKG_CONFIG_PATH
  The failed test is in config.log.])])
nf_save_LIBS=$LIBS
LIBS="$CBLAS_LIBS $LIBS"
AC_CHECK_FUNCS([openblas_get_corename openblas_set_num_threads])
LIBS=$nf_save_LIBS])
