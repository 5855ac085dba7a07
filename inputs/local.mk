# SPDX-License-Identifier: Apache-2.0
# Runnable namelists and what they name, installed below share/nemafit/inputs.
nobase_dist_pkgdata_DATA += %D%/bench/gpu-nano.nml %D%/bench/gpu-nano/config.json
nobase_dist_pkgdata_DATA += %D%/quickstart.nml %D%/byte-hybrid.nml %D%/byte-hybrid/config.json \
	%D%/byte-hybrid/model.safetensors \
	%D%/bench/cpu-hybrid.nml %D%/bench/cpu-hybrid/config.json %D%/dialogue.nml %D%/texts/dialogue.jsonl %D%/texts/README.md %D%/texts/alice.txt %D%/texts/as-you-like-it.txt %D%/texts/as-you-like-it-last-scene.txt \
	%D%/texts/paradise-lost.txt
