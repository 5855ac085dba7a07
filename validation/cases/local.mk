# SPDX-License-Identifier: Apache-2.0
# Whole runs of the program: equal on every mesh, repeatable, loaded and written back, stopped cleanly by bad files.
TESTS += %D%/mesh.sh %D%/bf16.sh %D%/roundtrip.sh %D%/badfiles.sh %D%/commands.sh %D%/paths.sh %D%/plot.sh %D%/profile.sh %D%/sbatch.sh
EXTRA_DIST += %D%/mesh.sh %D%/bf16.sh %D%/roundtrip.sh %D%/badfiles.sh %D%/commands.sh %D%/paths.sh %D%/plot.sh %D%/profile.sh %D%/sbatch.sh %D%/tiny/config.json \
	%D%/column.awk
%D%/mesh.log %D%/bf16.log %D%/roundtrip.log %D%/badfiles.log %D%/commands.log %D%/paths.log %D%/profile.log: src/nemafit$(EXEEXT)

# datasets: one of them is made by a test of io
TESTS += %D%/dataset.sh
EXTRA_DIST += %D%/dataset.sh
%D%/dataset.log: src/nemafit$(EXEEXT) validation/io/t_dataset_hdf5.mpi$(EXEEXT)

TESTS += %D%/resume.sh %D%/watch.sh %D%/onerror.sh
EXTRA_DIST += %D%/resume.sh %D%/watch.sh %D%/onerror.sh
%D%/resume.log %D%/watch.log %D%/onerror.log: src/nemafit$(EXEEXT)

TESTS += %D%/golden.sh
EXTRA_DIST += %D%/golden.sh
%D%/golden.log: src/nemafit$(EXEEXT)

# kernels chosen by a GPU, handed on
TESTS += %D%/tuning.sh
EXTRA_DIST += %D%/tuning.sh %D%/attach.pl
%D%/tuning.log: src/nemafit$(EXEEXT)

# on a GPU alone
TESTS += %D%/gpu_fused.sh %D%/gpu_resume.sh %D%/gpu_memory.sh
EXTRA_DIST += %D%/gpu_fused.sh %D%/gpu_resume.sh %D%/gpu_memory.sh
%D%/gpu_fused.log %D%/gpu_resume.log %D%/gpu_memory.log: src/nemafit$(EXEEXT)
