# SPDX-License-Identifier: Apache-2.0
# NF_CUDA: the CUDA toolkit with cuBLASLt, cuDNN and NCCL, for sm_90a. Looked for where nvcc is; --with-cuda makes its absence an
# error, --with-cuda=DIR looks in DIR alone, --without-cuda does not look. nf_cuda says what was found or why it is off.
AC_DEFUN([NF_CUDA],
[AC_ARG_WITH([cuda], [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@],
  [require the CUDA toolkit, in DIR (default: use it if nvcc is in PATH, $CUDA_HOME or /usr/local/cuda)])],
  [], [with_cuda=auto])
AC_ARG_VAR([NVCC], [CUDA compiler])
AC_ARG_VAR([NVCCFLAGS], [flags for NVCC])
: ${NVCCFLAGS="-O3 -lineinfo"}
NVCC_GENCODE="-gencode arch=compute_90a,code=sm_90a"
have_cuda=no
CUDA_CPPFLAGS=
CUDA_LDFLAGS=
CUDA_LIBS=
AS_CASE([$with_cuda],
  [no], [nf_cuda="no: --without-cuda"],
  [auto|yes], [nf_cuda_path=$PATH:${CUDA_HOME:+$CUDA_HOME/bin:}/usr/local/cuda/bin],
  [nf_cuda_path=$with_cuda/bin])
AS_IF([test "$with_cuda" != no],
  [AC_PATH_PROG([NVCC], [nvcc], [], [$nf_cuda_path])
   AS_IF([test -z "$NVCC"], [nf_cuda="no: nvcc is not in $nf_cuda_path"], [NF_CUDA_TRY])])
AS_CASE([$with_cuda$have_cuda],
  [autono|nono|*yes], [],
  [AC_MSG_ERROR([--with-cuda was given, but CUDA cannot be used: ${nf_cuda#no: }.
  Install:  NVIDIA's packages of the CUDA toolkit (12.0 or newer), cuDNN 9 and NCCL
  Or set:   --with-cuda=DIR where DIR/bin/nvcc and DIR/lib64 are, NVCC, CPPFLAGS, LDFLAGS
  The failed test is in config.log.])])
AS_IF([test "$have_cuda" = yes], [AC_DEFINE([HAVE_CUDA], [1], [The CUDA toolkit with cuBLASLt, cuDNN and NCCL is there])])
AM_CONDITIONAL([HAVE_CUDA], [test "$have_cuda" = yes])
NVCC_LDFLAGS=`AS_ECHO(["$CUDA_LDFLAGS"]) | sed 's/-Wl,-rpath,/-Xlinker -rpath=/g'` # nvcc has its own way to say it
AC_SUBST([NVCC_GENCODE])
AC_SUBST([NVCC_LDFLAGS])
AC_SUBST([CUDA_CPPFLAGS])
AC_SUBST([CUDA_LDFLAGS])
AC_SUBST([CUDA_LIBS])])

# One kernel through nvcc, then one call of each library through the C compiler: a missing one is named.
AC_DEFUN([NF_CUDA_TRY],
[nf_cuda_dir=`dirname "$NVCC"`
nf_cuda_dir=`cd "$nf_cuda_dir/.." && pwd -P`
AC_MSG_CHECKING([whether $NVCC compiles for sm_90a])
AS_ECHO(["__global__ void k(float *x) { x[[threadIdx.x]] = 1; }"]) >conftest.cu
AS_IF([$NVCC $NVCC_GENCODE $NVCCFLAGS -c -o conftest.$OBJEXT conftest.cu >&AS_MESSAGE_LOG_FD 2>&1],
  [AC_MSG_RESULT([yes])
   have_cuda=yes], [AC_MSG_RESULT([no])
   nf_cuda="no: $NVCC cannot compile for sm_90a"])
rm -f conftest.cu conftest.$OBJEXT
AS_IF([test "$have_cuda" = yes],
  [CUDA_CPPFLAGS="-isystem $nf_cuda_dir/include"
   AS_IF([test -d "$nf_cuda_dir/lib64"], [nf_cuda_lib=$nf_cuda_dir/lib64], [nf_cuda_lib=$nf_cuda_dir/lib])
   CUDA_LDFLAGS="-L$nf_cuda_lib -Wl,-rpath,$nf_cuda_lib"
   NF_CUDA_LIB([the CUDA runtime], [-lcudart], [cuda_runtime.h], [int n; cudaGetDeviceCount(&n);])
   NF_CUDA_LIB([cuBLASLt], [-lcublasLt], [cublasLt.h], [cublasLtHandle_t h; cublasLtCreate(&h);])
   NF_CUDA_LIB([cuDNN], [-lcudnn], [cudnn.h], [cudnnHandle_t h; cudnnCreate(&h);])
   NF_CUDA_LIB([NCCL], [-lnccl], [nccl.h], [ncclUniqueId u; ncclGetUniqueId(&u);])])
AS_IF([test "$have_cuda" = yes], [nf_cuda="plug-in nemafit_gpu.so for sm_90a, with $nf_cuda_dir"],
  [CUDA_CPPFLAGS=
   CUDA_LDFLAGS=
   CUDA_LIBS=])])

AC_DEFUN([NF_CUDA_LIB],
[AS_IF([test "$have_cuda" = yes],
  [AC_MSG_CHECKING([for $1])
   NF_TRY_LINK([$CUDA_CPPFLAGS], [$CUDA_LDFLAGS $2 $CUDA_LIBS], [[#include <$3>]], [[$4]],
     [AC_MSG_RESULT([yes])
      CUDA_LIBS="$2 $CUDA_LIBS"],
     [AC_MSG_RESULT([no])
      have_cuda=no
      nf_cuda="no: $1 ($3, $2) is not in $nf_cuda_dir"])])])
