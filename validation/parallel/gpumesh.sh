# SPDX-License-Identifier: Apache-2.0
# t_gpumesh on a GPU that is none (fake_gpu.c): what the mesh does with memory of devices, wherever this runs. Ranks that share a GPU
# are staged through the host; ranks with one each exchange by what stands for NCCL.
. "$srcdir/validation/tap.sh"
cc=${NF_CC:-mpicc}
fake=$tap_dir/fake
mkdir -p "$fake"
# shellcheck disable=SC2086 # flags
$cc ${NF_CPPFLAGS:-} -I"$srcdir/include" -I"$srcdir/src" -std=gnu11 -O1 -shared -fPIC -o "$fake/nemafit_gpu.so" \
    "$srcdir/validation/parallel/fake_gpu.c" "$srcdir/validation/parallel/fake_comm.c" "$srcdir/src/base/dtype.c" >"$tap_dir/cc" 2>&1
tap_ok $? "a plug-in without a GPU is built" || tap_note "$(cat "$tap_dir/cc")"
# the driver's library is asked for before any plug-in is loaded
echo 'extern int nf_fake_driver; int nf_fake_driver;' >"$tap_dir/driver.c"
$cc -shared -fPIC -o "$fake/libcuda.so.1" "$tap_dir/driver.c"
tap_ok $? "and a driver without one"
faked() { # faked COMMAND ...
    NEMAFIT_GPU_SO=$fake/nemafit_gpu.so LD_LIBRARY_PATH=$fake${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@" >"$tap_dir/out" 2>&1
}
gpumesh() { # gpumesh RANKS GPUS
    faked env FAKE_GPUS="$2" "$MPIRUN_NP" "$1" "$builddir/validation/parallel/t_gpumesh.mpi"
}
faked "$MPIRUN_NP" 1 "$builddir/validation/parallel/t_gpurows" && grep -q '^1\.\.[1-9]' "$tap_dir/out"
tap_ok $? "t_gpurows itself" || tap_note "$(grep -v '^ok' "$tap_dir/out" | head -n 20)"
for case in 1:1 2:1 2:2 4:1 4:4; do
    ranks=${case%:*}
    gpus=${case#*:}
    gpumesh "$ranks" "$gpus"
    status=$?
    grep -q '^1\.\.[1-9]' "$tap_dir/out" && [ $status -eq 0 ]
    tap_ok $? "$ranks ranks on $gpus GPU(s): $(grep -c '^ok' "$tap_dir/out") points, $(sed -n 's/^# \(NCCL\|MPI\)/\1/p' "$tap_dir/out" | head -n 1)" ||
        tap_note "$(grep -v '^ok' "$tap_dir/out" | head -n 20)"
done
FAKE_NCCL_ERROR=40
export FAKE_NCCL_ERROR
gpumesh 2 2
status=$?
[ $status -ne 0 ] && grep -q '^Bail out! peer lost: NCCL: an earlier collective: remote process exited' "$tap_dir/out"
tap_ok $? "what NCCL says of a lost peer ends the run" || tap_note "status $status" "$(tail -n 5 "$tap_dir/out")"
tap_done
