# SPDX-License-Identifier: Apache-2.0
# The manual pages are well formed, tell every parameter and every option.
. "$srcdir/validation/tap.sh"
page1=$srcdir/doc/nemafit.1
page5=$builddir/doc/nemafit.5
if command -v mandoc >/dev/null 2>&1; then
    for page in "$page1" "$page5"; do
        tap_check "mandoc finds nothing in $(basename "$page")" mandoc -T lint -W warning "$page"
    done
else
    tap_skip "no mandoc"
fi
# The program's own words are the measure: each option of --help, each key of --describe.
if [ -x "$NEMAFIT" ]; then
    "$NEMAFIT" --help >"$tap_dir/help" 2>&1
    grep -o -e '--[a-z][a-z-]*' "$tap_dir/help" | LC_ALL=C sort -u >"$tap_dir/options"
    test -s "$tap_dir/options"
    tap_ok $? "--help lists options"
    tr -d '\\' <"$page1" >"$tap_dir/page1"
    while read -r option; do
        grep -q -e "$option" "$tap_dir/page1"
        tap_ok $? "nemafit(1) tells $option"
    done <"$tap_dir/options"
else
    tap_skip "no program to compare with"
fi
tap_done
