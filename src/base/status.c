/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status codes and the one diagnosis of the process. The first diagnosis wins: what fails afterwards is usually its
 * consequence. Threads of an op may fail at the same time, so the place is claimed before it is written.
 */
#include "nemafit/base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_SIZE = 16 * 1024 };
enum claim { FREE, BEING_WRITTEN, WRITTEN };

static struct diagnosis {
    atomic_int claim;
    nf_status status;
    char text[TEXT_SIZE];
} the;

static const struct {
    const char *name;
    int exit;
} table[NF_STATUS_COUNT] = {
    [NF_OK] = {"ok", 0},
    [NF_EUSAGE] = {"usage", 64},
    [NF_EDATA] = {"bad input data", 65},
    [NF_EMISSING] = {"input missing", 66},
    [NF_EPEER] = {"peer lost", 69},
    [NF_EBUG] = {"internal error", 70},
    [NF_ENOMEM] = {"out of memory", 71},
    [NF_EDEVICE] = {"device error", 71},
    [NF_EEXISTS] = {"output exists", 73},
    [NF_EIO] = {"input/output error", 74},
    [NF_EPREEMPTED] = {"preempted", 75},
    [NF_EHANG] = {"no progress", 76},
    [NF_EPERM] = {"permission denied", 77},
    [NF_EMODEL] = {"model not supported", 78},
    [NF_ENONFINITE] = {"not finite", 79},
    [NF_EDIVERGED] = {"replicas diverged", 80},
    [NF_ENOTIMPL] = {"not implemented", 70},
};

static bool known(nf_status s)
{
    return (int)s >= 0 && s < NF_STATUS_COUNT;
}

const char *nf_status_name(nf_status s)
{
    return known(s) ? table[s].name : "unknown status";
}

int nf_status_exit(nf_status s)
{
    return known(s) ? table[s].exit : table[NF_EBUG].exit;
}

/* The caller holds the claim. */
static void end_in_dots(int wanted)
{
    if (wanted >= TEXT_SIZE)
        memcpy(the.text + TEXT_SIZE - 4, "...", 4);
}

static bool claimed(void)
{
    int expected = FREE;
    return atomic_compare_exchange_strong(&the.claim, &expected, BEING_WRITTEN);
}

nf_status nf_fail(nf_status s, const char *fmt, ...)
{
    if (!known(s) || s == NF_OK) /* success cannot be a failure: whoever says so is wrong */
        s = NF_EBUG;
    if (claimed()) {
        va_list args;
        va_start(args, fmt);
        int wanted = vsnprintf(the.text, TEXT_SIZE, fmt, args);
        va_end(args);
        end_in_dots(wanted);
        the.status = s;
        atomic_store(&the.claim, WRITTEN);
    }
    return s;
}

void nf_diagnosis_set(nf_status s, const char *text)
{
    nf_diagnosis_clear();
    if (s != NF_OK)
        nf_fail(s, "%s", text);
}

const char *nf_diagnosis(void)
{
    return atomic_load(&the.claim) == WRITTEN ? the.text : "";
}

nf_status nf_diagnosis_status(void)
{
    return atomic_load(&the.claim) == WRITTEN ? the.status : NF_OK;
}

void nf_diagnosis_clear(void)
{
    the.text[0] = '\0';
    the.status = NF_OK;
    atomic_store(&the.claim, FREE);
}
