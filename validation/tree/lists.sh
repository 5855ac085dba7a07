# SPDX-License-Identifier: Apache-2.0
# Which test holds which case of the lists of malformations: ST safetensors headers, IX the index and its shards, MD a checkpoint
# against its model, C config.json, N namelists. By default a case NN stands in the list's own test under its number; the others
# are named below, with the file and its words. Every number must have its test or its reason to have none.
. "$srcdir/validation/tap.sh"
cd "$srcdir/validation" || exit 99

elsewhere() { # NUMBER FILE WORDS: the words stand in the file (none: the file is the case); "void": there is no such case here
    cat <<'EOF'
ST14 io/t_header.c refused: 14 NUL padding
ST49 io/t_header.c refused: 49 200,000 deep
ST53 io/t_header.c refused: 53 name of 64 KiB
ST55 io/t_header.c refused: 55 100,000 dimensions
ST60 void no tensor is used as a mask
ST61 io/t_refusals.c infinite and NaN on disk are refused
ST70 io/t_header.c refused: 70 one tensor more
ST78 io/t_header.c refused: 78 number of 100,000 digits
IX18 io/t_refusals.c IX-18: is not the file that was checked at the start
IX20 void one rank parses, the others compare size and time of each shard (IX-18)
MD10 io/t_read_write.c fused
MD13 unit/t_config.c C31 tied weights
MD15 void an expert of zeros is a legal one
MD16 unit/t_config.c C20 query heads that cannot share
C01 cases/badfiles.sh nowhere
C06 cases/paths.sh config.json: larger than 1.00 MiB
C23 void of families that are not in this version
C25 void of families that are not in this version
C26 void of families that are not in this version
C34 cases/badfiles.sh max_position_embeddings
C35 cases/commands.sh memory on a node
C37 cases/paths.sh config.json: is a link that leads out of the checkpoint
N01 input/bad/001-empty.nml
N02 input/bad/002-other-group-only.nml
N03 input/bad/004-not-closed.nml
N04 input/bad/006-unknown-key.nml
N05 input/bad/007-typo-steps.nml
N06 input/bad/013-duplicate-key.nml
N07 input/bad/014-duplicate-group.nml
N08 input/bad/015-integer-overflow.nml
N09 input/bad/017-real-for-integer.nml
N10 input/bad/018-string-for-integer.nml
N11 input/bad/019-number-for-logical.nml
N12 input/bad/020-logical-truncate.nml
N13 input/bad/022-string-not-closed.nml
N14 input/bad/024-string-too-long.nml
N15 input/bad/031-too-many-values.nml
N16 input/bad/032-subscript-out-of-range.nml
N17 input/bad/033-subscript-negative.nml
N18 input/good/06-lists.nml *
N19 input/bad/030-repeat-for-one.nml
N20 input/bad/041-list-empty-element.nml
N21 input/bad/047-no-equals.nml
N22 input/bad/051-nan.nml
N23 input/bad/052-infinity.nml
N24 input/bad/053-real-overflow.nml
N25 input/good/08-comments-and-blanks.nml
N26 input/good/07-strings.nml
N27 input/good/10-byte-order-mark.nml
N28 input/good/09-crlf.nml
N29 input/bad/058-nul-byte.nml
N30 input/bad/065-dollar-group.nml
N31 input/bad/066-ampersand-end.nml
N32 input/good/11-no-final-newline.nml
N33 input/bad/055-hexadecimal.nml
N34 input/good/04-numbers.nml
N35 input/bad/068-text-before-group.nml
N36 input/good/03-letter-case.nml
N37 input/bad/056-decimal-comma.nml
N38 input/bad/061-unicode-minus.nml
N39 input/bad/062-smart-quotes.nml
N40 input/bad/036-section-short.nml
N41 input/bad/083-long-token.nml
N42 input/good/04-numbers.nml
N43 input/bad/082-range-high.nml
N44 input/bad/093-steps-and-epochs.nml
N45 input/bad/059-nul-in-string.nml
N46 cases/commands.sh nothere.nml
N47 cases/badfiles.sh large.nml
N48 void one rank reads, all parse the same bytes
N49 void of families that are not in this version
N50 input/bad/016-seed-above-2-63.nml
EOF
}
elsewhere >"$tap_dir/elsewhere"
list() { # list PREFIX LAST FILE MARK: cases 1 .. LAST; in FILE a case NN begins as "MARK NN
    n=0
    : >"$tap_dir/missing"
    while [ $((n += 1)) -le "$2" ]; do
        id=$1$(printf '%02d' $n)
        grep -q "^$id void ." "$tap_dir/elsewhere" && continue
        if grep -q "^$id " "$tap_dir/elsewhere"; then
            sed -n "s/^$id //p" "$tap_dir/elsewhere" | {
                read -r file words
                [ -f "$file" ] && grep -qF -e "$words" "$file"
            } || [ -z "$(sed -n "s/^$id [^ ]*//p" "$tap_dir/elsewhere")" ] || echo "$id" >>"$tap_dir/missing"
            continue
        fi
        [ "$3" != - ] && grep -q "\"$4$(printf '%02d' $n)[ /b]" "$3" || echo "$id" >>"$tap_dir/missing"
    done
    test ! -s "$tap_dir/missing"
    tap_ok $? "$1: each of the $2 cases has its test, or a reason to have none" || tap_note "$(cat "$tap_dir/missing")"
}
list ST 78 io/t_header.c ''
list IX 21 io/t_index.c ''
list MD 16 io/t_model_level.c ''
list C 37 unit/t_config.c C
list N 50 -
# a case that is its file: the report or the echo is beside it
sed -n 's/^N[0-9]* \(input[^ ]*\)\.nml.*/\1/p' "$tap_dir/elsewhere" | while read -r stem; do
    [ -f "$stem.nml" ] && [ -f "$stem.expect" ] || echo "$stem"
done >"$tap_dir/missing"
test ! -s "$tap_dir/missing"
tap_ok $? "each namelist has what is expected of it" || tap_note "$(cat "$tap_dir/missing")"
tap_done
