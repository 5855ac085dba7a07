/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libfuzzer.c: a target under LLVM's libFuzzer, which looks for inputs that reach new code. Half of its mutations are ours,
 * which know the words of the format. A broken promise is told and ends the process, as a crash would.
 */
#include "target.h"

#include "nemafit/log.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t n, size_t room); /* the library's own */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    FILE *quiet = fopen("/dev/null", "w"); /* what is only a warning */
    if (quiet)
        nf_log_open(0, 1, NF_LOG_QUIET, quiet);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    bool accepted = false;
    nf_diagnosis_clear();
    const char *broken = fuzz_target.holds((const char *)bytes, n, &accepted);
    if (broken) {
        fprintf(stderr, "%s: a promise is broken: %s\n", fuzz_target.name, broken);
        abort();
    }
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t room, unsigned seed)
{
    uint64_t state = seed;
    if (fuzz_draw(&state, 2))
        return LLVMFuzzerMutate(bytes, n, room);
    return fuzz_mutate((char *)bytes, n, room, fuzz_target.words, NULL, 0, &state);
}
