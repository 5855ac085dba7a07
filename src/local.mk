# SPDX-License-Identifier: Apache-2.0
# Everything but main.c is in libnf.a, so that test programs link what the program links.
noinst_LIBRARIES += libnf.a
libnf_a_SOURCES =
nf_gpu_sources =

include %D%/base/local.mk
include %D%/input/local.mk
include %D%/device/local.mk
include %D%/mesh/local.mk
include %D%/tensor/local.mk
include %D%/ops/local.mk
include %D%/layers/local.mk
include %D%/model/local.mk
include %D%/optim/local.mk
include %D%/io/local.mk
include %D%/train/local.mk

bin_PROGRAMS += %D%/nemafit
%C%_nemafit_SOURCES = %D%/main.c
%C%_nemafit_LDADD = libnf.a $(NF_LIBS)

# The GPU plug-in: its own program, since it shares no code with libnf.a. nvcc links it, as C++ wants, by the compiler it calls
# and not by mpicc: the plug-in knows no MPI. Without nvcc the sources are only released.
if HAVE_CUDA
pkglibexec_PROGRAMS += %D%/nemafit_gpu.so
endif
EXTRA_PROGRAMS += %D%/nemafit_gpu.so
%C%_nemafit_gpu_so_SOURCES = $(nf_gpu_sources)
%C%_nemafit_gpu_so_CPPFLAGS = -I$(top_srcdir)/include -I$(top_srcdir)/src $(CUDA_CPPFLAGS)
%C%_nemafit_gpu_so_CFLAGS = -std=gnu11 $(NF_WARNINGS) $(WERROR_CFLAGS) -O2 -fPIC -fvisibility=hidden
%C%_nemafit_gpu_so_LINK = $(NVCC) $(NVCC_GENCODE) -shared -cudart none -Xlinker --no-undefined -o $@
%C%_nemafit_gpu_so_LDADD = $(NVCC_LDFLAGS) $(CUDA_LIBS)

NF_NVCC = $(NVCC) $(NVCC_GENCODE) $(NVCCFLAGS) $(NVCC_WERROR) -std=c++17 -I$(top_srcdir)/include -I$(top_srcdir)/src \
	-Xcompiler -fPIC,-fvisibility=hidden,-fno-exceptions,-fno-threadsafe-statics,-Wall,-Wextra
AM_V_NVCC = $(am__v_NVCC_@AM_V@)
am__v_NVCC_ = $(am__v_NVCC_@AM_DEFAULT_V@)
am__v_NVCC_0 = @echo "  NVCC    " $@;
SUFFIXES += .cu
.cu.o:
	@$(MKDIR_P) $(@D)
	$(AM_V_NVCC)$(NF_NVCC) -MMD -MF $(@:.o=.cudep) -c -o $@ $<
-include $(wildcard %D%/*/cuda/*.cudep)
MOSTLYCLEANFILES += %D%/*/cuda/*.cudep

# The kernels of the CPU: vectorised harder, and free of errno and of floating-point traps, which nobody reads. Not
# -ffast-math: NaN must stay NaN, and sums keep their order.
%D%/ops/cpu/%.$(OBJEXT): NF_OPTIMISE = -O3 -fno-math-errno -fno-trapping-math
