# SPDX-License-Identifier: Apache-2.0
# Everything but main.c is in libnf.a, so that test programs link what the program links.
noinst_LIBRARIES += libnf.a
libnf_a_SOURCES =

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

# The kernels of the CPU: vectorised harder, and free of errno and of floating-point traps, which nobody reads. Not
# -ffast-math: NaN must stay NaN, and sums keep their order.
%D%/ops/cpu/%.$(OBJEXT): NF_OPTIMISE = -O3 -fno-math-errno -fno-trapping-math
