/* SPDX-License-Identifier: Apache-2.0 */
/* Status names and exit statuses, the one diagnosis, and how the process ends in nf_die. */
#include "nemafit/base.h"
#include "nemafit/log.h"
#include "validation/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void table(void)
{
    static const struct {
        nf_status status;
        int exit;
    } row[] = {{NF_OK, 0},      {NF_EUSAGE, 64},  {NF_EDATA, 65},      {NF_EMISSING, 66},  {NF_EPEER, 69},      {NF_EBUG, 70},
               {NF_ENOMEM, 71}, {NF_EDEVICE, 71}, {NF_EEXISTS, 73},    {NF_EIO, 74},       {NF_EPREEMPTED, 75}, {NF_EHANG, 76},
               {NF_EPERM, 77},  {NF_EMODEL, 78},  {NF_ENONFINITE, 79}, {NF_EDIVERGED, 80}, {NF_ENOTIMPL, 70}};
    bool all = sizeof row / sizeof *row == NF_STATUS_COUNT, named = true;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        all &= nf_status_exit(row[i].status) == row[i].exit;
        for (size_t k = 0; k < i; k++)
            named &= strcmp(nf_status_name(row[i].status), nf_status_name(row[k].status)) != 0;
    }
    tap_ok(all, "each status has the exit status of the manual");
    tap_ok(named, "and a name of its own");
    tap_ok(nf_status_exit((nf_status)99) == 70 && strcmp(nf_status_name((nf_status)-1), "unknown status") == 0,
           "what is no status is an internal error");
}

static nf_status checked(int x)
{
    NF_CHECK(x > 0);
    return NF_OK;
}

static nf_status passed_on(int x)
{
    NF_TRY(checked(x));
    return NF_OK;
}

static void diagnosis(void)
{
    tap_ok(nf_diagnosis()[0] == '\0' && nf_diagnosis_status() == NF_OK, "at first there is none");
    tap_ok(nf_fail(NF_EDATA, "%s: %d", "first", 1) == NF_EDATA && nf_fail(NF_EIO, "second") == NF_EIO,
           "fail returns its status");
    tap_ok(strcmp(nf_diagnosis(), "first: 1") == 0 && nf_diagnosis_status() == NF_EDATA, "the first is kept");
    nf_diagnosis_set(NF_EPEER, "rank 3: 100% lost");
    tap_ok(strcmp(nf_diagnosis(), "rank 3: 100% lost") == 0 && nf_diagnosis_status() == NF_EPEER, "another rank's replaces it");
    nf_diagnosis_set(NF_OK, "");
    tap_ok(nf_diagnosis()[0] == '\0' && nf_diagnosis_status() == NF_OK, "OK clears it");
    char *longer = malloc(40000);
    memset(longer, 'x', 39999);
    longer[39999] = '\0';
    nf_fail(NF_EDATA, "%s", longer);
    size_t n = strlen(nf_diagnosis());
    tap_ok(n == 16 * 1024 - 1 && strcmp(nf_diagnosis() + n - 3, "...") == 0, "a long one ends in dots");
    nf_diagnosis_clear();
    longer[16 * 1024 - 1] = '\0';
    nf_fail(NF_EDATA, "%s", longer);
    tap_ok(strcmp(nf_diagnosis(), longer) == 0, "one that just fits is whole");
    nf_diagnosis_clear();
    free(longer);
    tap_ok(passed_on(1) == NF_OK && passed_on(0) == NF_EBUG && strstr(nf_diagnosis(), "x > 0") &&
               strstr(nf_diagnosis(), "checked"),
           "a broken condition says where and which, and is passed on");
    nf_diagnosis_clear();
    tap_ok(nf_fail(NF_OK, "no") == NF_EBUG, "success is no failure");
    nf_diagnosis_clear();
}

static void hook(int status)
{
    fprintf(stderr, "hook %d\n", status);
    fflush(stderr);
}

static void hook_dies(int status)
{
    nf_die(NF_EIO, "again %d", status);
}

/* What the child says on stderr, and its exit status. */
static int dies(void (*abort_all)(int), nf_status status, const char *text, char *said, size_t size)
{
    int ends[2], how = 0;
    size_t n = 0;
    if (pipe(ends) != 0)
        return -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        nf_log_open(5, 8, NF_LOG_NOTE, NULL);
        nf_die_hook(abort_all);
        nf_die(status, "%s", text);
    }
    close(ends[1]);
    for (ssize_t got; n + 1 < size && (got = read(ends[0], said + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = '\0';
    close(ends[0]);
    waitpid(child, &how, 0);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void death(void)
{
    char said[8192], longer[6000];
    tap_ok(dies(NULL, NF_EPEER, "gone", said, sizeof said) == 69 && strcmp(said, "nemafit: rank 5: gone\n") == 0,
           "die names the rank, says the text once, exits with the status");
    tap_ok(dies(hook, NF_EHANG, "stuck", said, sizeof said) == 76 && strcmp(said, "nemafit: rank 5: stuck\nhook 76\n") == 0,
           "the hook is called before");
    tap_ok(dies(hook_dies, NF_EDEVICE, "one", said, sizeof said) == 74 && strcmp(said, "nemafit: rank 5: one\n") == 0,
           "a hook that dies ends it");
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    tap_ok(dies(NULL, NF_EIO, longer, said, sizeof said) == 74 && strlen(said) == 4095 && said[4094] == '\n',
           "a long text is cut and still a line");
}

int main(void)
{
    tap_open();
    table();
    diagnosis();
    death();
    return tap_done();
}
