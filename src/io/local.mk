# SPDX-License-Identifier: Apache-2.0
include %D%/safetensors/local.mk
include %D%/dataset/local.mk
include %D%/hdf5/local.mk
