# SPDX-License-Identifier: Apache-2.0
# NF_HDF5: HDF5 1.10 or newer (virtual datasets). The serial build is preferred; a parallel one will do, its parallel calls are
# not used.
AC_DEFUN([NF_HDF5],
[NF_PACKAGE([HDF5], [HDF5], [hdf5-serial hdf5 hdf5-openmpi hdf5-mpich hdf5-mpi],
  [], [-lhdf5])
AC_MSG_CHECKING([for HDF5 through $nf_HDF5_from])
NF_TRY_LINK([$HDF5_CPPFLAGS $MPI_CPPFLAGS], [$HDF5_LIBS $MPI_LIBS],
  [[#include <hdf5.h>
    #if !H5_VERSION_GE(1, 10, 0)
    #error "HDF5 1.10 or newer is needed"
    #endif]],
  [[hsize_t one = 1;
    return H5Pset_virtual(H5P_DEFAULT, H5Screate_simple(1, &one, 0), "f", "d", H5S_ALL) < 0 && H5Dget_offset(0) != 0;]],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([cannot build an HDF5 1.10 program through $nf_HDF5_from: "$HDF5_CPPFLAGS $HDF5_LIBS".
  Install:  Debian, Ubuntu: libhdf5-dev pkg-config
  Or set:   HDF5_CPPFLAGS=-I/path/include HDF5_LIBS="-L/path/lib -lhdf5", or PKG_CONFIG_PATH
  The failed test is in config.log.])])])
