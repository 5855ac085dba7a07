# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += %D%/gpu-check %D%/gpu-sanitize %D%/compare-losses
EXTRA_DIST += .clang-format %D%/bench %D%/bootstrap %D%/check %D%/check-peer %D%/faults %D%/fuzz %D%/make-golden %D%/check-layers %D%/install-deps \
	%D%/layers %D%/nemafit.sbatch %D%/plot %D%/plot.gp %D%/compare.gp %D%/quickstart %D%/nemafit-tokenize %D%/nemafit_data/__init__.py \
	%D%/nemafit_data/documents.py %D%/nemafit_data/hdf5.py %D%/nemafit_data/rows.py %D%/nemafit_data/tokenizer.py
