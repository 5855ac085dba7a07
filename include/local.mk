# SPDX-License-Identifier: Apache-2.0
# The headers one folder may take from another. None is installed: nemafit is one program.
noinst_HEADERS = \
	%D%/nemafit/arena.h \
	%D%/nemafit/base.h \
	%D%/nemafit/choices.h \
	%D%/nemafit/device.h \
	%D%/nemafit/digest.h \
	%D%/nemafit/gpu.h \
	%D%/nemafit/input.h \
	%D%/nemafit/io/dataset.h \
	%D%/nemafit/io/safetensors.h \
	%D%/nemafit/io/snapshot.h \
	%D%/nemafit/json.h \
	%D%/nemafit/layers.h \
	%D%/nemafit/log.h \
	%D%/nemafit/mesh.h \
	%D%/nemafit/model.h \
	%D%/nemafit/ops.h \
	%D%/nemafit/optim.h \
	%D%/nemafit/params.h \
	%D%/nemafit/rng.h \
	%D%/nemafit/signals.h \
	%D%/nemafit/str.h \
	%D%/nemafit/tensor.h \
	%D%/nemafit/train.h \
	%D%/nemafit/watch.h
