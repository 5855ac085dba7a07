# SPDX-License-Identifier: Apache-2.0
# HDF5 datasets in whole runs. The same bytes as text and as a dataset give the same losses and weights, bit for bit; bad
# datasets end with status 65, on one rank and on three. scripts/nemafit-tokenize (where there is a python3): the dataset it
# makes of a text is that one, chats are masked and shown, bad lines are told by number.
. "$srcdir/validation/tap.sh"
maker=$builddir/validation/io/t_dataset_hdf5.mpi
tokenize=$srcdir/scripts/nemafit-tokenize
text=$tap_dir/text.txt
head -c 9001 "$srcdir/README.md" >"$text" # rows of 48 do not fill up: the last one is padded

input() { # input NAME DATA ...: a run of 6 steps
    name=$1
    shift
    cat >"$tap_dir/$name.nml" <<EOT
&model path = '$srcdir/validation/cases/tiny', init = 'random' /
&data $* /
&train steps = 6, local_batch = 2, eval_every = 3 /
&optim lr = 3.0e-3, warmup = 2 /
&export dir = '$tap_dir/$name/export' /
&log dir = '$tap_dir/$name', progress = .false. /
EOT
}
run() { # run NAME RANKS OVERRIDES ...
    name=$1
    ranks=$2
    shift 2
    "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/$name.nml" "$@" >"$tap_dir/$name.out" 2>&1
    tap_ok $? "$name: a run on $ranks ranks" || tap_note "$(tail -n 20 "$tap_dir/$name.out")"
    for column in loss valid_loss grad_norm scored; do
        awk -v name=$column -f "$srcdir/validation/cases/column.awk" "$tap_dir/$name/log.csv"
    done >"$tap_dir/$name.losses"
}
same() { # same A B
    [ -s "$tap_dir/$1.losses" ] && cmp "$tap_dir/$1.losses" "$tap_dir/$2.losses" &&
        cmp "$tap_dir/$1/export/model.safetensors" "$tap_dir/$2/export/model.safetensors"
}
fails() { # fails STATUS TEXT RANKS OVERRIDES ...
    want=$1
    wanted_text=$2
    ranks=$3
    shift 3
    NF_TIMEOUT=120 "$MPIRUN_NP" "$ranks" "$NEMAFIT" "$tap_dir/h5.nml" log.dir="$tap_dir/bad" "$@" >"$tap_dir/out" 2>&1
    got=$?
    [ $got -eq "$want" ] && grep -q -e "$wanted_text" "$tap_dir/out" && [ "$(grep -c '^nemafit: ' "$tap_dir/out")" -eq 1 ]
    tap_ok $? "$ranks ranks: status $want, $wanted_text" || tap_note "status $got" "$(head -n 20 "$tap_dir/out")"
}

tap_check "a text as a dataset" "$maker" "$text" 48 "$tap_dir/text.h5"
input text "train = '$text', valid = '$text', format = 'text', seq_len = 48"
input h5 "train = '$tap_dir/text.h5', valid = '$tap_dir/text.h5'"
run text 2 parallel.ep=2
run h5 2 parallel.ep=2
tap_check "the same losses, norms and weights, bit for bit" same text h5
grep -q 'first row {\{0,2\}<[0-9]*>' "$tap_dir/h5.out" || grep -q 'first row <[0-9]*>{{<' "$tap_dir/h5.out"
tap_ok $? "without pieces the first row shows numbers" || tap_note "$(grep 'first row' "$tap_dir/h5.out")"

head -c 5000 "$tap_dir/text.h5" >"$tap_dir/cut.h5"
head -c 4000 "$text" >"$tap_dir/short.txt"
"$maker" "$tap_dir/short.txt" 32 "$tap_dir/short.h5"
for ranks in 1 3; do
    fails 65 'cut.h5: H5-02: is truncated' $ranks data.train="$tap_dir/cut.h5"
    fails 65 'text.txt: H5-01: is not an HDF5 file' $ranks data.train="$text"
done
fails 66 'nowhere.h5' 3 data.train="$tap_dir/nowhere.h5"
fails 65 'rows of 32 tokens, expected 48: the rows of data.train' 3 data.valid="$tap_dir/short.h5"
fails 65 'rows of 48 tokens, expected 64: data.seq_len' 3 data.seq_len=64
fails 64 'cannot turn this text into tokens' 3 log.sample_prompt=Hello
fails 65 'H5-14: /input_ids\[[0-9]*, [0-9]*\] is [0-9]*, expected 0 to 95' 3 model.path="$srcdir/validation/golden/nemotron_h"

command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' || {
    tap_skip "no python3 for nemafit-tokenize"
    tap_done
}
tap_check "nemafit-tokenize: a text, bytes as ids" "$tokenize" --tokenizer bytes --seq-len 48 --prompt 'The text' \
    --output "$tap_dir/made.h5" "$text"
input made "train = '$tap_dir/made.h5', valid = '$tap_dir/made.h5'"
run made 2 parallel.ep=2 log.sample_prompt="The text" log.sample_tokens=4
tap_check "the same losses, norms and weights again" same text made
grep -q 'first row .*{{.*[a-z]' "$tap_dir/made.out"
tap_ok $? "the first row is shown as text" || tap_note "$(grep 'first row' "$tap_dir/made.out")"
fails 64 "#1 'The text'" 2 data.train="$tap_dir/made.h5" log.sample_prompt=Other

cat >"$tap_dir/chat.jsonl" <<'EOT'
{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Salut"}, {"role": "assistant", "content": "Ça va?"}]}
{"prompt": "Two and two: ", "completion": "four"}

{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "2"}, {"role": "assistant", "content": "two"}]}
{"prompt": "A long one. A long one. A long one. A long one. A long one. A long one. A long one. A long one. A long one. A long one. A long one. A long one. ", "completion": "Here is its end."}
EOT
tap_check "nemafit-tokenize: chats" "$tokenize" --tokenizer bytes --template chatml --seq-len 136 --output "$tap_dir/chat.h5" "$tap_dir/chat.jsonl"
input chat "train = '$tap_dir/chat.h5', valid = '$tap_dir/chat.h5', shuffle = .false."
run chat 2 train.local_batch=1
# what the assistant says (7 bytes, 3, 3), each with <|im_end|> and a line end (11), and the completions (4, 16) with their end: 68
grep -q 'valid 0/6 .* over 68 targets' "$tap_dir/chat.out" && grep -q 'first row .*assistant\\n{{Ça va?<|im_end|>\\n}}Two and two: {{four<end>}}' "$tap_dir/chat.out"
tap_ok $? "what the assistant says is learnt, and nothing else" || tap_note "$(grep 'first row' "$tap_dir/chat.out")"

cat >"$tap_dir/bad.jsonl" <<'EOT'
{"text": "good"}
{"text": ""}
{"txt": "x"}
[1]
{"text":
{"messages": [{"role": "user", "content": "x"}]}
{"messages": [{"role": "robot", "content": "x"}]}
{"prompt": "a", "completion": 5}
EOT
"$tokenize" --tokenizer bytes --template chatml --seq-len 16 --output "$tap_dir/bad.h5" "$tap_dir/bad.jsonl" >"$tap_dir/out" 2>&1
[ $? -eq 65 ] && [ ! -e "$tap_dir/bad.h5" ] && [ "$(grep -c 'bad.jsonl:[2-8]: ' "$tap_dir/out")" -eq 7 ] &&
    grep -q '7 lines are refused; nothing was written' "$tap_dir/out"
tap_ok $? "bad lines: each is told by its number, nothing is written" || tap_note "$(cat "$tap_dir/out")"
"$tokenize" --tokenizer bytes --seq-len 1 --output "$tap_dir/bad.h5" "$text" >"$tap_dir/out" 2>&1
[ $? -eq 64 ] && "$tokenize" --tokenizer bytes --seq-len 8 --output "$tap_dir/bad.h5" "$tap_dir/none.jsonl" >>"$tap_dir/out" 2>&1
[ $? -eq 66 ] && grep -q -e '--seq-len 1: expected 2' "$tap_dir/out" && grep -q 'none.jsonl: No such file' "$tap_dir/out"
tap_ok $? "a bad argument ends with status 64, a missing file with 66" || tap_note "$(cat "$tap_dir/out")"
"$tokenize" --tokenizer "$srcdir/inputs/byte-hybrid" --seq-len 16 --output "$tap_dir/bad.h5" "$text" >"$tap_dir/out" 2>&1
[ $? -eq 66 ] && grep -q 'byte-hybrid/tokenizer.json: No such file' "$tap_dir/out" && grep -q -e '--tokenizer bytes' "$tap_dir/out"
tap_ok $? "a model without a tokenizer.json is told, also where no package is installed" || tap_note "$(cat "$tap_dir/out")"
tap_done
