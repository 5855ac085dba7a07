# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += .clang-format %D%/bench %D%/bootstrap %D%/check %D%/check-peer %D%/fuzz %D%/make-golden %D%/check-layers %D%/install-deps \
	%D%/layers %D%/quickstart
