# SPDX-License-Identifier: Apache-2.0
# The tree's own rules as tests.
nf_tree_tests = %D%/layers.sh %D%/harness.sh %D%/headers.sh %D%/install.sh %D%/files.sh %D%/format.sh %D%/symbols.sh %D%/manual.sh \
	%D%/lists.sh
TESTS += $(nf_tree_tests)
EXTRA_DIST += $(nf_tree_tests)
