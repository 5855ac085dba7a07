# SPDX-License-Identifier: Apache-2.0
# Tests. A program is run as it is, on one rank; NAME.mpi on each number of ranks in NP; NAME.sh by the shell. All print TAP.
# The log is called NAME.log whatever the extension: no two tests of a folder may share a NAME.
# They find the program as $NEMAFIT, the launcher as $MPIRUN_NP, the sources as $srcdir, and write only below the build folder.
NP = 1 2 3 4

check_LIBRARIES += libtap.a
libtap_a_SOURCES = %D%/tap.c %D%/tap.h
LDADD = libtap.a libnf.a $(NF_LIBS)

TEST_EXTENSIONS = .mpi .sh
TESTS = $(check_PROGRAMS)
EXTRA_DIST += %D%/mpitap %D%/mpirun_np.in %D%/lsan.supp %D%/tap.sh

nf_tap_driver = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/scripts/build-aux/tap-driver.sh
LOG_DRIVER = $(nf_tap_driver)
MPI_LOG_DRIVER = $(nf_tap_driver)
SH_LOG_DRIVER = $(nf_tap_driver)
LOG_COMPILER = timeout -k 10 300
MPI_LOG_COMPILER = timeout -k 10 1500 $(SHELL) $(top_srcdir)/%D%/mpitap
SH_LOG_COMPILER = timeout -k 10 900 $(SHELL)

AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; export srcdir; \
	builddir='$(abs_top_builddir)'; export builddir; \
	NEMAFIT='$(abs_top_builddir)/src/nemafit$(EXEEXT)'; export NEMAFIT; \
	MPIRUN_NP='$(abs_top_builddir)/%D%/mpirun_np'; export MPIRUN_NP; \
	NP='$(NP)'; export NP; \
	OPENBLAS_NUM_THREADS=1; export OPENBLAS_NUM_THREADS; \
	NF_CC='$(CC)'; export NF_CC; \
	NF_CPPFLAGS='$(AM_CPPFLAGS) $(CPPFLAGS)'; export NF_CPPFLAGS; \
	NF_OPENMP='$(OPENMP_CFLAGS)'; export NF_OPENMP; \
	NF_CUDA_CPPFLAGS='$(CUDA_CPPFLAGS)'; export NF_CUDA_CPPFLAGS; \
	NEMAFIT_GPU_SO='$(abs_top_builddir)/src/nemafit_gpu.so'; export NEMAFIT_GPU_SO; \
	NF_NM='$(NM)'; export NF_NM; \
	LSAN_OPTIONS='suppressions=$(abs_top_srcdir)/%D%/lsan.supp:print_suppressions=0'; export LSAN_OPTIONS;

clean-local:
	rm -rf %D%/tmp

include %D%/unit/local.mk
include %D%/input/local.mk
include %D%/fuzz/local.mk
include %D%/ops/local.mk
include %D%/parallel/local.mk
include %D%/io/local.mk
include %D%/faults/local.mk
include %D%/golden/local.mk
include %D%/cases/local.mk
include %D%/tree/local.mk
