# SPDX-License-Identifier: Apache-2.0
# scripts/install-deps asks for exactly what is missing, on a machine that is played by a folder of stand-ins.
. "$srcdir/validation/tap.sh"
bin=$tap_dir/bin
mkdir "$bin"
for tool in sh env grep cat dirname test; do
    ln -s "$(command -v $tool)" "$bin/$tool" 2>/dev/null
done
stand_in() { # stand_in NAME TEXT
    printf '#!/bin/sh\n%s\n' "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}
deps() { # deps ARGUMENTS ...: its output goes to a file
    env -i PATH="$bin" "$bin/sh" "$srcdir/scripts/install-deps" "$@" >"$tap_dir/out" 2>&1
}
said() { # said PATTERN TEXT
    grep -q -e "$1" "$tap_dir/out"
    tap_ok $? "$2" || tap_note "$(cat "$tap_dir/out")"
}
headers=
[ -e /usr/include/stdio.h ] || headers=' libc6-dev'
all="gcc$headers make autoconf automake pkg-config libopenmpi-dev openmpi-bin libhdf5-dev libopenblas-dev libjansson-dev"

deps
tap_ok $((1 - ($? != 0))) "no apt-get: an error"
said 'not Debian or Ubuntu' "no apt-get: it says what is wanted"

# shellcheck disable=SC2016
stand_in apt-get 'echo "apt-get $*" >>'"$tap_dir/apt"
stand_in id 'echo 0'
deps --dry-run
tap_ok $? "root, dry run"
said "missing: $all\$" "a bare machine: everything is missing"
[ ! -e "$tap_dir/apt" ]
tap_ok $? "a dry run installs nothing"
deps
tap_ok $? "root"
grep -q "install -y --no-install-recommends $all\$" "$tap_dir/apt"
tap_ok $? "apt-get installs just that" || tap_note "$(cat "$tap_dir/apt")"

for tool in gcc make autoconf automake mpicc mpirun; do
    stand_in $tool 'exit 0'
done
# shellcheck disable=SC2016
stand_in pkg-config 'test "$2" = hdf5 || test "$2" = jansson'
deps --dry-run
said "missing:$headers libopenblas-dev\$" "all but one: only that one is missing; another HDF5 will do"

stand_in pkg-config 'exit 0'
[ -n "$headers" ] || {
    deps
    tap_ok $? "nothing missing"
    said 'nothing is missing' "nothing missing: it says so"
}
rm "$bin/make"
stand_in id 'echo 1000'
deps
tap_ok $((1 - ($? != 0))) "neither root nor sudo: an error"
said 'apt-get install' "neither root nor sudo: it says what root should run"
# shellcheck disable=SC2016
stand_in sudo 'echo sudo; "$@"'
rm -f "$tap_dir/apt"
deps
tap_ok $? "by sudo"
grep -q "install .*make\$" "$tap_dir/apt"
tap_ok $? "by sudo: apt-get installs make"
deps --dryrun
tap_ok $((1 - ($? == 64))) "an unknown argument is refused"
tap_done
