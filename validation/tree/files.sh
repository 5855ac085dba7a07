# SPDX-License-Identifier: Apache-2.0
# What every file of the tree keeps to: a licence line, at most 400 lines, no tabs or trailing blanks in C, scripts that parse,
# and in a clone: each tracked file is part of the release.
. "$srcdir/validation/tap.sh"
cd "$srcdir" || exit 99

sources() { find include src validation scripts/m4 "$@" -type f | grep -v -e '^validation/tmp/' -e '^src/config\.h' | LC_ALL=C sort; }
none() { # none TEXT FILE: the list in FILE is empty
    test ! -s "$2"
    tap_ok $? "$1" || tap_note "$(head -n 40 "$2")"
}
sources \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.sh' -o -name '*.m4' -o -name local.mk \) |
    grep -v -e '^scripts/m4/l[ti]' >"$tap_dir/code"
grep -v '/local\.mk$' "$tap_dir/code" >"$tap_dir/licensed" # those are lists of files
for script in scripts/* validation/mpitap validation/mpirun_np.in configure.ac Makefile.am; do
    if [ -f "$script" ]; then
        echo "$script"
    fi
done | grep -v -e '^scripts/layers$' -e '~$' >"$tap_dir/scripts"
test "$(wc -l <"$tap_dir/code")" -gt 20
tap_ok $? "sources found"

while read -r file; do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
done <"$tap_dir/licensed" >"$tap_dir/list"
while read -r file; do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
done <"$tap_dir/scripts" >>"$tap_dir/list"
none "each has a licence line (SPDX) among its first three" "$tap_dir/list"

cat "$tap_dir/code" "$tap_dir/scripts" | while read -r file; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 400 ] && ! grep -q 'over 400 lines:' "$file"; then
        echo "$file: $lines lines (or say why in a comment: 'over 400 lines: ...')"
    fi
done >"$tap_dir/list"
none "none is over 400 lines without a reason" "$tap_dir/list"

tab=$(printf '\t')
grep '\.[ch]$' "$tap_dir/code" | while read -r file; do
    grep -n -e "$tab" -e ' $' "$file" /dev/null
    LC_ALL=C.UTF-8 grep -nE '.{129,}' "$file" /dev/null | sed 's/^\([^:]*:[0-9]*\):.*/\1: over 128 columns/'
done >"$tap_dir/list"
none "C: no tabs, no trailing blanks, at most 128 columns" "$tap_dir/list"

cat "$tap_dir/code" "$tap_dir/scripts" | while read -r file; do
    first=$(head -n 1 "$file")
    case $file,$first in
    *.sh,* | *,'#!/bin/sh'*) sh -n "$file" 2>&1 || echo "$file" ;;
    *,*bash*) bash -n "$file" 2>&1 || echo "$file" ;;
    esac
done >"$tap_dir/list"
none "shell scripts parse" "$tap_dir/list"

if [ -e .git ] && git ls-files >"$tap_dir/tracked" 2>/dev/null && [ -s "$tap_dir/tracked" ]; then
    (cd "$builddir" && ${MAKE:-make} -s --no-print-directory print-distfiles) >"$tap_dir/dist"
    grep -v -e '^\.gitignore$' -e '^\.ci/' -e '/\.keep$' -e '\.gitattributes$' "$tap_dir/tracked" | while read -r file; do
        path=$file
        while [ "$path" != . ]; do # a folder in the list stands for what is in it
            grep -qxF "$path" "$tap_dir/dist" && continue 2
            path=$(dirname "$path")
        done
        echo "$file"
    done >"$tap_dir/list"
    none "each tracked file is in the release" "$tap_dir/list"
else
    tap_skip "not a clone: nothing to compare the release with"
fi
tap_done
