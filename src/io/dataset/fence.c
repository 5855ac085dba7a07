/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libhdf5 behind a fence. Releases in use crash, hang or take all memory on damaged files, so it meets a file in a child
 * process that has limits on time and memory, writes nothing, and sends back one answer. Whatever becomes of the child, the
 * run gets a diagnosis. The child ends by _exit: handlers of the parent (MPI, libhdf5, sanitizers) are not its own.
 */
#define _GNU_SOURCE
#include "stored.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CPU_SECONDS = 20, WALL_SECONDS = 120, MEMORY_MIB = 1024, TEXT_MAX = 8192 };

#if defined(__SANITIZE_ADDRESS__)
#define NF_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NF_SANITIZED 1
#endif
#endif
#ifndef NF_SANITIZED
#define NF_SANITIZED 0
#endif

struct answer {
    uint32_t whole; /* ANSWER_WHOLE: it came to its end */
    int32_t status;
    struct nf_stored_layout layout;
    char text[TEXT_MAX];
};
enum { ANSWER_WHOLE = 0x4e463548 };

static void limit(int what, rlim_t most)
{
    struct rlimit now;
    if (getrlimit(what, &now) == 0 && (now.rlim_max == RLIM_INFINITY || most < now.rlim_max)) {
        now.rlim_cur = now.rlim_max = most;
        (void)setrlimit(what, &now);
    }
}

/* The address space that the process has now, in bytes; 0: not known. */
static rlim_t address_space(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void child(int fd, const char *path, uint64_t size, int out)
{
    struct answer a = {.whole = ANSWER_WHOLE};
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU};
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
    if (null >= 0) {
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_CPU, CPU_SECONDS);
    const rlim_t space = address_space();
    if (!NF_SANITIZED && space > 0) /* a sanitizer reserves terabytes */
        limit(RLIMIT_AS, space + ((rlim_t)MEMORY_MIB << 20));
    nf_diagnosis_clear();
    a.status = (int32_t)nf_stored_inspect(fd, path, size, &a.layout);
    snprintf(a.text, sizeof a.text, "%s", nf_diagnosis());
    const char *from = (const char *)&a;
    for (size_t n = sizeof a; n > 0;) {
        const ssize_t put = write(out, from, n);
        if (put <= 0)
            break;
        from += put;
        n -= (size_t)put;
    }
    _exit(0);
}

/* All that the child says, until it ends or its time is over. Returns bytes. */
static size_t listen_to(int in, pid_t pid, struct answer *a, bool *late)
{
    size_t n = 0;
    int left_ms = WALL_SECONDS * 1000;
    while (n < sizeof *a) {
        struct pollfd p = {.fd = in, .events = POLLIN};
        const int step = left_ms < 200 ? left_ms : 200, ready = poll(&p, 1, step);
        if (ready == 0 || (ready < 0 && errno == EINTR)) {
            left_ms -= step;
            if (left_ms > 0)
                continue;
            *late = true;
            kill(pid, SIGKILL);
            break;
        }
        const ssize_t got = read(in, (char *)a + n, sizeof *a - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

static nf_status died(const char *path, int how, bool late)
{
    char shown[280], what[64];
    const int sig = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    if (late || sig == SIGXCPU)
        snprintf(what, sizeof what, "found no end in %d s", late ? WALL_SECONDS : CPU_SECONDS);
    else if (sig)
        snprintf(what, sizeof what, "crashed (signal %d)", sig);
    else
        snprintf(what, sizeof what, "ended the process (status %d)", WIFEXITED(how) ? WEXITSTATUS(how) : -1);
    return nf_fail(NF_EDATA,
                   "%s: H5-34: is damaged: the HDF5 library %s while reading it, in a process of its own"
                   "\n  Hint: make or copy the file again",
                   nf_str_shown(shown, path, strlen(path)), what);
}

nf_status nf_stored_fenced(int fd, const char *path, uint64_t size, struct nf_stored_layout *layout)
{
    int pipe_fd[2], how = 0;
    bool late = false;
    struct answer *a = malloc(sizeof *a);
    if (!a)
        return nf_fail(NF_ENOMEM, "no memory to look into a dataset");
    if (pipe2(pipe_fd, O_CLOEXEC) != 0) {
        free(a);
        return nf_fail_errno(errno, path, "cannot make a pipe to look into it");
    }
    const pid_t pid = fork();
    if (pid == 0)
        child(fd, path, size, pipe_fd[1]);
    const int failed = errno;
    close(pipe_fd[1]);
    size_t n = 0;
    if (pid > 0) {
        n = listen_to(pipe_fd[0], pid, a, &late);
        while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
            continue;
    }
    close(pipe_fd[0]);
    nf_status status;
    if (pid < 0) {
        status = nf_fail(NF_ENOMEM, "%s: cannot start a process to look into it: %s", path, strerror(failed));
    } else if (n != sizeof *a || a->whole != ANSWER_WHOLE || a->status < 0 || a->status >= NF_STATUS_COUNT) {
        status = died(path, how, late);
    } else if (a->status != NF_OK) {
        a->text[TEXT_MAX - 1] = 0;
        status = nf_fail((nf_status)a->status, "%s", a->text);
    } else {
        *layout = a->layout;
        status = NF_OK;
    }
    free(a);
    return status;
}
