# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone, so that the order of includes never matters; the public ones also as C++.
. "$srcdir/validation/tap.sh"
cd "$srcdir" || exit 99
warn='-Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wundef -Werror'
headers=$(find include src -name '*.h' ! -path src/config.h | LC_ALL=C sort)
[ -n "$headers" ] || { tap_ok 1 "there are headers"; tap_done; }

compile() { # compile COMPILER HEADER FLAGS ...: an empty program that includes it twice
    compiler=$1
    header=$2
    shift 2
    printf '#include "%s"\n#include "%s"\nextern int nothing;\n' "$header" "$header" >"$tap_dir/one.source"
    # shellcheck disable=SC2086
    (cd "$builddir" && $compiler "$@" -I"$srcdir" $NF_CPPFLAGS $NF_CUDA_CPPFLAGS -fsyntax-only "$tap_dir/one.source")
}
for header in $headers; do
    if grep -qE '#include <(cuda|cublas|cudnn|nccl)' "$header" && [ -z "$NF_CUDA_CPPFLAGS" ]; then
        tap_skip "$header: CUDA's headers are not here"
        continue
    fi
    # shellcheck disable=SC2086
    tap_check "$header as C" compile "$NF_CC" "$header" -x c -std=gnu11 $NF_OPENMP $warn
done
cxx=${CXX:-g++}
if command -v "$cxx" >/dev/null 2>&1; then
    for header in $(find include -name '*.h' | LC_ALL=C sort); do
        tap_check "$header as C++" compile "$cxx" "$header" -x c++ -std=c++17 -Wall -Wextra -Werror
    done
else
    tap_skip "no C++ compiler"
fi
tap_done
