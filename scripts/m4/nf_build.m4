# SPDX-License-Identifier: Apache-2.0
# NF_BUILD_KIND: --enable-sanitizers, --enable-fuzzers, --enable-werror. CFLAGS stays the user's: it comes last, so its -O and -g win.
AC_DEFUN([NF_BUILD_KIND],
[AC_ARG_ENABLE([sanitizers], [AS_HELP_STRING([--enable-sanitizers],
  [build with AddressSanitizer and UndefinedBehaviorSanitizer])], [], [enable_sanitizers=no])
AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [make warnings errors])], [], [enable_werror=no])
SAN_CFLAGS=
AS_IF([test "$enable_sanitizers" = yes],
  [SAN_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
   AC_MSG_CHECKING([whether $CC links with $SAN_CFLAGS])
   NF_TRY_LINK([$SAN_CFLAGS], [], [], [],
     [AC_MSG_RESULT([yes])
      AC_DEFINE([HAVE_SANITIZERS], [1], [Built with ASan and UBSan])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([--enable-sanitizers: $CC cannot link with $SAN_CFLAGS.
  Install:  the compiler's sanitizer libraries (Debian, Ubuntu: libasan and libubsan come with gcc)
  Or set:   CC to another compiler
  The failed test is in config.log.])])])
WERROR_CFLAGS=
NVCC_WERROR=
AS_IF([test "$enable_werror" = yes], [WERROR_CFLAGS=-Werror
   NVCC_WERROR="-Werror all-warnings -Xcompiler -Werror"])
AC_ARG_ENABLE([fuzzers], [AS_HELP_STRING([--enable-fuzzers],
  [instrument for LLVM libFuzzer, as scripts/fuzz wants it (CC must be clang, or a wrapper of it)])], [], [enable_fuzzers=no])
FUZZ_LIBS=
AS_IF([test "$enable_fuzzers" = yes],
  [SAN_CFLAGS="$SAN_CFLAGS -fsanitize=fuzzer-no-link"
   FUZZ_LIBS=-fsanitize=fuzzer
   AC_MSG_CHECKING([whether $CC has libFuzzer])
   NF_TRY_LINK([$SAN_CFLAGS], [], [], [],
     [AC_MSG_RESULT([yes])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([--enable-fuzzers: $CC does not know -fsanitize=fuzzer-no-link.
  Install:  clang and its runtime (Debian, Ubuntu: clang libclang-rt-14-dev)
  Or set:   OMPI_CC=clang (Open MPI) or MPICH_CC=clang (MPICH), so that mpicc calls it
  The failed test is in config.log.])])])
AC_SUBST([FUZZ_LIBS])
AM_CONDITIONAL([SANITIZERS], [test "$enable_sanitizers" = yes])
AC_SUBST([SAN_CFLAGS])
AC_SUBST([WERROR_CFLAGS])
AC_SUBST([NVCC_WERROR])])

# NF_SUMMARY: what was found, once, at the end.
AC_DEFUN([NF_SUMMARY],
[AS_ECHO(["
$PACKAGE_NAME $PACKAGE_VERSION
  compiler    $CC $CFLAGS
  MPI         ${MPI_LIBS:-by the compiler}
  launcher    $nf_mpirun
  HDF5        $HDF5_LIBS ($nf_HDF5_from)
  CBLAS       $CBLAS_LIBS ($nf_CBLAS_from)
  jansson     $JANSSON_LIBS ($nf_JANSSON_from)
  OpenMP      $nf_openmp
  CUDA        $nf_cuda
  sanitizers  $enable_sanitizers
  prefix      $prefix

Next: make, make check, make install"])])
