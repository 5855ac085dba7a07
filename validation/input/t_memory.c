/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_memory.c: each allocation of a parse fails once, in turn: the status is NF_ENOMEM, nothing leaks, nothing crashes. malloc
 * and its like are replaced here by ones that count; under a sanitizer, which replaces them itself, there is nothing to try.
 */
#include <stdlib.h>
#include <string.h>

#include "nemafit/input.h"
#include "validation/tap.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define CAN_REPLACE 0
#else
#define CAN_REPLACE 1
#endif

static const char good_text[] = "&model path = 'm', freeze = 'a', 'b' /\n&data train = 3*'t', format = 'text', seq_len = 8 /\n"
                                "&train steps = 7 /\n&optim lr = 1d-3, no_decay = '' /\n&log sample_prompt = 'it''s' /\n";
static const char bad_text[] =
    "&model path = m, fre%ze = 1 /\n&data train(3) = 't', format = 'tex', seqlen = 8 /\n&tran steps /\n"
    "&optim lr = 2, beta1 = x /\n&snapshot dir = 's' /\n&backend device = 'cuda', foo = 1 /\n&log every = 3*4\n";

#if CAN_REPLACE

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t m, size_t n);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static long until = -1, live; /* allocations that still succeed, -1: all; blocks held */

static bool fails(void)
{
    return until >= 0 && until-- == 0;
}

void *malloc(size_t n)
{
    void *p = fails() ? NULL : __libc_malloc(n);
    live += p != NULL;
    return p;
}

void *calloc(size_t m, size_t n)
{
    void *p = fails() ? NULL : __libc_calloc(m, n);
    live += p != NULL;
    return p;
}

void *realloc(void *old, size_t n)
{
    void *p = fails() ? NULL : __libc_realloc(old, n);
    live += p && !old;
    return p;
}

void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}

static void try_text(const char *what, const char *text, char *const *args, int n_args, nf_status without)
{
    long n = 0, leaks = 0, wrong = 0;
    for (bool reached = true; reached && n < 100000; n++) {
        nf_input *input = NULL;
        nf_diagnosis_clear();
        long before = live;
        until = n;
        nf_status s = nf_input_parse("run.nml", text, strlen(text), args, n_args, &input);
        reached = until < 0; /* the n-th was asked for, and refused */
        until = -1;
        nf_input_free(input);
        leaks += live != before;
        wrong += s != (reached ? NF_ENOMEM : without);
    }
    tap_note("%s: %ld allocations", what, n - 1);
    tap_ok(n > 100 && n < 100000, "%s: allocations were refused until there were no more", what);
    tap_ok(!wrong, "%s: each refusal gives NF_ENOMEM, %ld did not", what, wrong);
    tap_ok(!leaks, "%s: no leak, %ld had one", what, leaks);
}

int main(void)
{
    char *good_args[] = {"train.seed=3", "data.valid=a,b", "log.dir='x'"};
    char *bad_args[] = {"steps=3", "optm.lr=1", "optim.warmpu=2", "data.format=tex", "log.dir=\x01", "train.seed=3 4"};
    tap_open();
    try_text("a good input", good_text, good_args, 3, NF_OK);
    try_text("a bad input", bad_text, bad_args, 6, NF_EUSAGE);
    return tap_done();
}

#else

int main(void)
{
    tap_open();
    tap_skip("malloc cannot be replaced here (%zu)", sizeof good_text + sizeof bad_text);
    return tap_done();
}

#endif
