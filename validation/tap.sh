# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# tap.sh: test points for shell tests. Begin with  . "$srcdir/validation/tap.sh"  and end with  tap_done.
#
#   tap_ok STATUS TEXT             one point: passed if STATUS is 0
#   tap_check TEXT COMMAND ...     one point: COMMAND ends with 0; if not, what it printed follows as a note
#   tap_note TEXT                  a diagnostic; more than one line is welcome
#   tap_skip WHY                   one point that cannot be tried here
#   tap_skip_all WHY               nothing can be tried here; ends the test
#   $tap_dir                       an own, empty folder below the build folder, removed at the end (kept if NF_KEEP is set)
tap_points=0
tap_failed=0
tap_dir=${builddir:-.}/validation/tmp/$(basename "$0" .sh).$$
rm -rf "$tap_dir"
mkdir -p "$tap_dir" || exit 99
trap '[ -n "${NF_KEEP-}" ] || rm -rf "$tap_dir"' 0
trap 'exit 1' 1 2 15

tap_line() { printf '%s\n' "$*" | tr '\n#' ' ~' | sed 's/ *$//'; }
tap_ok() {
    tap_points=$((tap_points + 1))
    tap_status=$1
    shift
    if [ "$tap_status" -eq 0 ]; then
        echo "ok $tap_points - $(tap_line "$@")"
    else
        tap_failed=$((tap_failed + 1))
        echo "not ok $tap_points - $(tap_line "$@")"
    fi
    return "$tap_status"
}
tap_note() { printf '%s\n' "$*" | sed 's/^/# /'; }
tap_check() {
    tap_text=$1
    shift
    "$@" >"$tap_dir/.output" 2>&1 </dev/null
    tap_status=$?
    if ! tap_ok $tap_status "$tap_text"; then
        tap_note "exit status $tap_status: $*"
        head -n 60 "$tap_dir/.output" | sed 's/^/# | /'
        return 1
    fi
}
tap_skip() {
    tap_points=$((tap_points + 1))
    echo "ok $tap_points # SKIP $(tap_line "$@")"
}
tap_skip_all() {
    echo "1..0 # SKIP $(tap_line "$@")"
    exit 0
}
tap_done() {
    echo "1..$tap_points"
    [ "$tap_failed" -eq 0 ] && [ "$tap_points" -gt 0 ]
    exit
}
