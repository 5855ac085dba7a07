# SPDX-License-Identifier: Apache-2.0
# What libnf.a shows to the linker begins with nf_, and nothing in it outlives a call but where scripts/layers says so.
. "$srcdir/validation/tap.sh"
nm=${NF_NM:-nm}
command -v "$nm" >/dev/null 2>&1 || tap_skip_all "no nm"
"$nm" -P -g "$builddir/libnf.a" >"$tap_dir/all" 2>"$tap_dir/err"
tap_ok $? "nm reads libnf.a" || tap_note "$(cat "$tap_dir/err")"
awk 'NF >= 2 && $2 != "U" && $2 != "w" && $2 != "v" && $1 !~ /^__odr_asan/ { print $1 }' "$tap_dir/all" | LC_ALL=C sort >"$tap_dir/names"
test "$(grep -c '^nf_' "$tap_dir/names")" -gt 0
tap_ok $? "it has external names" || tap_note "libnf.a is empty"
grep -v '^nf_' "$tap_dir/names" >"$tap_dir/list"
test ! -s "$tap_dir/list"
tap_ok $? "each begins with nf_" || tap_note "$(cat "$tap_dir/list")"
LC_ALL=C uniq -d "$tap_dir/names" >"$tap_dir/list"
test ! -s "$tap_dir/list"
tap_ok $? "none is defined twice" || tap_note "$(cat "$tap_dir/list")"

# The plug-in shows one function and wants none of the program's: what it needs comes through nf_host.
if [ -e "$builddir/src/nemafit_gpu.so" ]; then
    "$nm" -D --defined-only -P "$builddir/src/nemafit_gpu.so" | awk '$2 ~ /[TDB]/ { print $1 }' >"$tap_dir/shown"
    test "$(cat "$tap_dir/shown")" = nf_gpu_open
    tap_ok $? "nemafit_gpu.so shows nf_gpu_open alone" || tap_note "$(cat "$tap_dir/shown")"
    "$nm" -D --undefined-only -P "$builddir/src/nemafit_gpu.so" | grep -E '^(nf_|MPI_|H5|cblas_)' >"$tap_dir/list"
    test ! -s "$tap_dir/list"
    tap_ok $? "it wants nothing of the program, of MPI, HDF5 or BLAS" || tap_note "$(cat "$tap_dir/list")"
else
    tap_skip "no GPU plug-in was built"
fi

if grep -q '^#define HAVE_SANITIZERS' "$builddir/src/config.h"; then
    tap_skip "sanitizers keep data of their own"
    tap_done
fi
# Variables lie in .data, .bss and their thread-local kin; constant tables in .rodata or .data.rel.ro.
(cd "$builddir" && find src -name '*.o' ! -name main.o ! -path '*/cuda/*' | LC_ALL=C sort) >"$tap_dir/objects"
sed -n 's/^state:/ /p' "$srcdir/scripts/layers" >"$tap_dir/state"
while read -r object; do
    place=${object#src/}
    place=${place%.o}.c
    grep -q " $place\( \|\$\)" "$tap_dir/state" && continue
    "$nm" -f sysv "$builddir/$object" |
        awk -F'|' -v place="$place" '$7 ~ /^[ ]*\.(data|bss|tdata|tbss)/ && $7 !~ /\.data\.rel\.ro/ { gsub(/ /, "", $1); print place ": " $1 }'
done <"$tap_dir/objects" >"$tap_dir/list" 2>"$tap_dir/err"
test ! -s "$tap_dir/list"
tap_ok $? "no variable outlives a call but where scripts/layers says so" || tap_note "$(cat "$tap_dir/list")"
tap_done
