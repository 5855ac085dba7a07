# SPDX-License-Identifier: Apache-2.0
# NF_MPI: MPI 3.0 or newer. CC is mpicc if there is one, then nothing more is needed; with another CC pkg-config says the flags.
AC_DEFUN([NF_MPI],
[AC_ARG_VAR([MPI_CPPFLAGS], [preprocessor flags for MPI, if CC is no MPI wrapper])
AC_ARG_VAR([MPI_LIBS], [linker flags for MPI, if CC is no MPI wrapper])
AC_MSG_CHECKING([whether $CC builds MPI programs])
NF_MPI_TRY
AC_MSG_RESULT([$nf_mpi])
AS_IF([test "$nf_mpi" = no && test -z "$MPI_CPPFLAGS$MPI_LIBS"],
  [NF_PACKAGE([MPI], [MPI], [ompi-c mpi-c ompi mpich mpi], [], [-lmpi])
   AC_MSG_CHECKING([for MPI through $nf_MPI_from])
   NF_MPI_TRY
   AC_MSG_RESULT([$nf_mpi])])
AS_IF([test "$nf_mpi" = no],
  [AC_MSG_ERROR([$CC cannot build an MPI 3 program, with the flags "$MPI_CPPFLAGS $MPI_LIBS".
  Install:  an MPI library (Debian, Ubuntu: libopenmpi-dev openmpi-bin)
  Or set:   CC=/path/to/mpicc, or MPI_CPPFLAGS and MPI_LIBS
  The failed test is in config.log.])])])

AC_DEFUN([NF_MPI_TRY],
[NF_TRY_LINK([$MPI_CPPFLAGS], [$MPI_LIBS],
  [[#include <mpi.h>
    #if MPI_VERSION < 3
    #error "MPI 3.0 or newer is needed"
    #endif]],
  [[MPI_Request r; MPI_Init(0, 0); return MPI_Ibarrier(MPI_COMM_WORLD, &r);]],
  [nf_mpi=yes], [nf_mpi=no])])

# NF_MPIRUN: the launcher, for tests and scripts. Its absence is no error: clusters start programs by srun.
AC_DEFUN([NF_MPIRUN],
[AC_ARG_VAR([MPIRUN], [program that starts MPI programs in 'make check', called with -np N])
AC_ARG_VAR([MPIRUN_FLAGS], [more flags for MPIRUN])
AC_PATH_PROGS([MPIRUN], [mpirun mpiexec])
nf_mpirun="$MPIRUN $MPIRUN_FLAGS"
AS_IF([test -z "$MPIRUN"],
  [nf_mpirun="none: tests under MPI will fail (Debian, Ubuntu: openmpi-bin; or set MPIRUN)"])])
