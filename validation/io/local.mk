# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += \
	%D%/t_header \
	%D%/t_index \
	%D%/t_dataset \
	%D%/t_nomem \
	%D%/t_manifest \
	%D%/t_model_level.mpi \
	%D%/t_read_write.mpi \
	%D%/t_refusals.mpi \
	%D%/t_dataset_ranks.mpi \
	%D%/t_lease.mpi \
	%D%/t_snapshot.mpi \
	%D%/t_snapshot_shown.mpi \
	%D%/t_export.mpi \
	%D%/t_snapshot_damage.mpi
nf_io_make = %D%/make.c %D%/make.h
nf_io_toy = $(nf_io_make) %D%/toy.c %D%/toy.h
nf_io_rig = $(nf_io_toy) %D%/rig.c %D%/rig.h
%C%_t_header_SOURCES = %D%/t_header.c $(nf_io_make)
%C%_t_index_SOURCES = %D%/t_index.c $(nf_io_make)
%C%_t_dataset_SOURCES = %D%/t_dataset.c $(nf_io_make)
%C%_t_model_level_mpi_SOURCES = %D%/t_model_level.c $(nf_io_toy)
%C%_t_read_write_mpi_SOURCES = %D%/t_read_write.c $(nf_io_rig)
%C%_t_refusals_mpi_SOURCES = %D%/t_refusals.c $(nf_io_rig)
%C%_t_dataset_ranks_mpi_SOURCES = %D%/t_dataset_ranks.c $(nf_io_make)
%C%_t_nomem_SOURCES = %D%/t_nomem.c $(nf_io_toy)
nf_io_snaprig = %D%/snaprig.c %D%/snaprig.h
%C%_t_snapshot_mpi_SOURCES = %D%/t_snapshot.c $(nf_io_snaprig)
%C%_t_snapshot_damage_mpi_SOURCES = %D%/t_snapshot_damage.c $(nf_io_snaprig)
%C%_t_manifest_SOURCES = %D%/t_manifest.c
%C%_t_snapshot_shown_mpi_SOURCES = %D%/t_snapshot_shown.c $(nf_io_snaprig)
%C%_t_export_mpi_SOURCES = %D%/t_export.c $(nf_io_snaprig)
%C%_t_lease_mpi_SOURCES = %D%/t_lease.c $(nf_io_snaprig)

# HDF5 datasets
check_PROGRAMS += %D%/t_dataset_flips %D%/t_dataset_fence %D%/t_dataset_malformed.mpi %D%/t_dataset_hdf5.mpi
nf_io_h5 = $(nf_io_make) %D%/h5make.c %D%/h5make.h
%C%_t_dataset_malformed_mpi_SOURCES = %D%/t_dataset_malformed.c $(nf_io_h5)
%C%_t_dataset_hdf5_mpi_SOURCES = %D%/t_dataset_hdf5.c $(nf_io_h5)
%C%_t_dataset_flips_SOURCES = %D%/t_dataset_flips.c $(nf_io_h5)
%C%_t_dataset_fence_SOURCES = %D%/t_dataset_fence.c $(nf_io_h5)
