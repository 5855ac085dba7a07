# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/gpu-check %D%/gpu-sanitize %D%/compare-losses
# What a user of an installed program wants beside it, below share/nemafit/scripts.
nobase_dist_pkgdata_SCRIPTS += %D%/nemafit-tokenize %D%/nemafit.sbatch %D%/plot
nobase_dist_pkgdata_DATA += %D%/nemafit_data/__init__.py %D%/nemafit_data/documents.py %D%/nemafit_data/hdf5.py %D%/nemafit_data/rows.py \
	%D%/nemafit_data/tokenizer.py %D%/plot.gp %D%/compare.gp
EXTRA_DIST += .clang-format %D%/bench %D%/bootstrap %D%/check %D%/check-peer %D%/faults %D%/fuzz %D%/make-golden %D%/check-layers %D%/install-deps \
	%D%/layers %D%/quickstart
