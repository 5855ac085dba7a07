# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += .clang-format %D%/bootstrap %D%/check-layers %D%/layers
