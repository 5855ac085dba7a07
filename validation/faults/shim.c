/* SPDX-License-Identifier: Apache-2.0 */
/* shim.c: see shim.h. Calls that the C library makes itself, below fprintf() for one, do not pass here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#undef _FORTIFY_SOURCE

#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct {
    int how;
    const char *name;
} names[] = {{ENOSPC, "ENOSPC"},
             {EDQUOT, "EDQUOT"},
             {EIO, "EIO"},
             {EROFS, "EROFS"},
             {EACCES, "EACCES"},
             {EINTR, "EINTR"},
             {FAULT_SHORT, "short"},
             {FAULT_TORN, "torn"},
             {FAULT_FLIP, "flip"},
             {FAULT_KILL, "kill"},
             {FAULT_KILL_HALF, "kill-half"},
             {FAULT_KILL_AFTER, "kill-after"},
             {FAULT_STOP, "stop"},
             {FAULT_SEGV, "segv"},
             {FAULT_ABORT, "abrt"},
             {FAULT_STALL, "stall"}};

static struct {
    char dir[PATH_MAX];
    char calls[32];
    struct fault fault;
    int rank, ledger;
    atomic_long counted, done;
} plan = {.ledger = -1};

const char *fault_name(int how)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].how == how)
            return names[i].name;
    return "";
}

void fault_arm(const char *dir, const struct fault *fault)
{
    plan.dir[0] = '\0';
    plan.fault = fault ? *fault : (struct fault){0};
    snprintf(plan.calls, sizeof plan.calls, "%s", fault && fault->calls ? fault->calls : "write");
    atomic_store(&plan.counted, 0);
    atomic_store(&plan.done, 0);
    if (dir)
        snprintf(plan.dir, sizeof plan.dir, "%s", dir);
}

int64_t fault_counted(void)
{
    return atomic_load(&plan.counted);
}

int64_t fault_done(void)
{
    return atomic_load(&plan.done);
}

/* ---- orders from the environment ------------------------------------------------------------------------------------------
 */

/* A wrong order must not pass for a run without faults. */
static void refuse(const char *order)
{
    dprintf(2, "shim: not understood: NF_FAULT=%s\n", order);
    _exit(99);
}

static void read_order(const char *order)
{
    char rank[16], calls[32], how[32], rest[16] = "";
    long long at;
    const int n = sscanf(order, "%15[^:]:%31[^:]:%lld:%31[^:]:%15s", rank, calls, &at, how, rest);
    struct fault fault = {.calls = calls, .at = at, .always = strcmp(rest, "always") == 0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (n >= 4 && strcmp(names[i].name, how) == 0)
            fault.how = names[i].how;
    if (fault.how == FAULT_NONE || at < 1 || (rest[0] && !fault.always))
        refuse(order);
    if (strcmp(rank, "*") != 0 && atoi(rank) != plan.rank)
        fault.at = 0;
    fault_arm(getenv("NF_FAULT_DIR"), &fault);
}

__attribute__((constructor)) static void start(void)
{
    const char *order = getenv("NF_FAULT"), *dir = getenv("NF_FAULT_DIR"), *ledger = getenv("NF_FAULT_LEDGER");
    const char *rank = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("PMI_RANK");
    plan.rank = rank ? atoi(rank) : 0;
    if (!dir)
        return;
    if (ledger)
        plan.ledger = (int)syscall(SYS_openat, AT_FDCWD, ledger, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    fault_arm(dir, NULL);
    if (order)
        read_order(order);
}

/* ---- which calls, and what becomes of them
 * ------------------------------------------------------------------------------------ */

static bool below(const char *path)
{
    const size_t n = strlen(plan.dir);
    return n > 0 && strncmp(path, plan.dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool named(char out[PATH_MAX], int fd, const char *path)
{
    char link[64];
    ssize_t n = 0;
    if (plan.dir[0] == '\0')
        return false;
    if (path && path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return below(out);
    }
    snprintf(link, sizeof link, fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", fd);
    n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    if (path)
        snprintf(out + n, (size_t)(PATH_MAX - n), "/%s", path);
    return below(out);
}

/* Is it one of the calls that count? kind: 'd' data, 'w' others that change the disk, 'r' reads. */
static bool wanted(const char *call, char kind)
{
    if (strcmp(plan.calls, "write") == 0)
        return kind != 'r';
    if (strcmp(plan.calls, "data") == 0)
        return kind == 'd';
    if (strcmp(plan.calls, "read") == 0)
        return kind == 'r';
    return strcmp(plan.calls, call) == 0;
}

static void end(int signal)
{
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    if (signal != SIGKILL && signal != SIGSTOP)
        sigaction(signal, &by_default, NULL);
    kill(getpid(), signal);
    while (signal != SIGSTOP)
        pause();
}

/* Count the call and say what is to be done to it. What ends or stops the process in front of the call happens here. */
static int decide(const char *call, char kind, const char *path)
{
    char line[PATH_MAX + 128];
    const int err = errno;
    if (!wanted(call, kind))
        return FAULT_NONE;
    const int64_t k = atomic_fetch_add(&plan.counted, 1) + 1, at = plan.fault.at;
    const bool lie = plan.fault.how == FAULT_SHORT || plan.fault.how == FAULT_TORN || plan.fault.how == FAULT_FLIP;
    int how = at > 0 && (k == at || (k > at && plan.fault.always)) ? plan.fault.how : FAULT_NONE;
    if (lie && kind != 'd')
        how = FAULT_NONE;
    if (how != FAULT_NONE)
        atomic_fetch_add(&plan.done, 1);
    if (plan.ledger >= 0) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        const int n =
            snprintf(line, sizeof line, "%lld.%03ld rank %d call %lld %s %s %s\n", (long long)t.tv_sec, t.tv_nsec / 1000000,
                     plan.rank, (long long)k, call, path, how == FAULT_NONE ? "-" : fault_name(how));
        (void)!syscall(SYS_write, plan.ledger, line, (size_t)n);
    }
    switch (how) {
    case FAULT_KILL: end(SIGKILL); break;
    case FAULT_STOP: end(SIGSTOP); break;
    case FAULT_SEGV: end(SIGSEGV); break;
    case FAULT_ABORT: end(SIGABRT); break;
    case FAULT_STALL: nanosleep(&(struct timespec){3, 0}, NULL); break;
    default: break;
    }
    errno = err;
    return how;
}

static void behind(int how)
{
    if (how == FAULT_KILL_AFTER || how == FAULT_KILL_HALF)
        end(SIGKILL);
}

/* ---- the calls
 * ------------------------------------------------------------------------------------------------------------------ */

/* The system's own function of this name. */
#define REAL(call) ((__typeof__(&call))dlsym(RTLD_NEXT, #call))
/* Name the file, decide, and make the call. */
#define PASS(call, kind, fd, path, arguments)                                                                                  \
    do {                                                                                                                       \
        char name_[PATH_MAX];                                                                                                  \
        const int how_ = named(name_, fd, path) ? decide(#call, kind, name_) : FAULT_NONE;                                     \
        if (how_ > 0) {                                                                                                        \
            errno = how_;                                                                                                      \
            return -1;                                                                                                         \
        }                                                                                                                      \
        const __typeof__(REAL(call) arguments) result_ = REAL(call) arguments;                                                 \
        behind(how_);                                                                                                          \
        return result_;                                                                                                        \
    } while (0)

static mode_t mode_of(int flags, va_list more)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}
#define OPEN_KIND(flags) ((flags) & (O_CREAT | O_TRUNC) ? 'w' : 'r')
#define WITH_MODE(flags)                                                                                                       \
    va_list more;                                                                                                              \
    va_start(more, flags);                                                                                                     \
    const mode_t mode = mode_of(flags, more);                                                                                  \
    va_end(more)

int open(const char *path, int flags, ...)
{
    WITH_MODE(flags);
    PASS(open, OPEN_KIND(flags), AT_FDCWD, path, (path, flags, mode));
}
int open64(const char *path, int flags, ...)
{
    WITH_MODE(flags);
    PASS(open64, OPEN_KIND(flags), AT_FDCWD, path, (path, flags, mode));
}
int openat(int dir, const char *path, int flags, ...)
{
    WITH_MODE(flags);
    PASS(openat, OPEN_KIND(flags), dir, path, (dir, path, flags, mode));
}
int openat64(int dir, const char *path, int flags, ...)
{
    WITH_MODE(flags);
    PASS(openat64, OPEN_KIND(flags), dir, path, (dir, path, flags, mode));
}
int mkdir(const char *path, mode_t mode)
{
    PASS(mkdir, 'w', AT_FDCWD, path, (path, mode));
}
int mkdirat(int dir, const char *path, mode_t mode)
{
    PASS(mkdirat, 'w', dir, path, (dir, path, mode));
}
int rename(const char *from, const char *to)
{
    PASS(rename, 'w', AT_FDCWD, to, (from, to));
}
int renameat(int d, const char *from, int e, const char *to)
{
    PASS(renameat, 'w', e, to, (d, from, e, to));
}
int renameat2(int d, const char *from, int e, const char *to, unsigned flags)
{
    PASS(renameat2, 'w', e, to, (d, from, e, to, flags));
}
int unlink(const char *path)
{
    PASS(unlink, 'w', AT_FDCWD, path, (path));
}
int unlinkat(int dir, const char *path, int flags)
{
    PASS(unlinkat, 'w', dir, path, (dir, path, flags));
}
int rmdir(const char *path)
{
    PASS(rmdir, 'w', AT_FDCWD, path, (path));
}
int fsync(int fd)
{
    PASS(fsync, 'w', fd, NULL, (fd));
}
int fdatasync(int fd)
{
    PASS(fdatasync, 'w', fd, NULL, (fd));
}
int ftruncate(int fd, off_t n)
{
    PASS(ftruncate, 'w', fd, NULL, (fd, n));
}
int ftruncate64(int fd, off64_t n)
{
    PASS(ftruncate64, 'w', fd, NULL, (fd, n));
}
int fallocate(int fd, int mode, off_t at, off_t n)
{
    PASS(fallocate, 'w', fd, NULL, (fd, mode, at, n));
}
int fallocate64(int fd, int mode, off64_t at, off64_t n)
{
    PASS(fallocate64, 'w', fd, NULL, (fd, mode, at, n));
}
ssize_t read(int fd, void *bytes, size_t n)
{
    PASS(read, 'r', fd, NULL, (fd, bytes, n));
}
ssize_t pread(int fd, void *bytes, size_t n, off_t at)
{
    PASS(pread, 'r', fd, NULL, (fd, bytes, n, at));
}
ssize_t pread64(int fd, void *bytes, size_t n, off64_t at)
{
    PASS(pread64, 'r', fd, NULL, (fd, bytes, n, at));
}

/* A close that fails has closed all the same. */
int close(int fd)
{
    char at[PATH_MAX];
    const bool written = plan.dir[0] && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    const int how = written && named(at, fd, NULL) ? decide("close", 'w', at) : FAULT_NONE;
    const int result = REAL(close)(fd);
    behind(how);
    if (how <= 0)
        return result;
    errno = how;
    return -1;
}

/* Bytes on their way to a file: put() writes n of them at `at`, or, for -1, where the file stands. */
static ssize_t put(int fd, const void *bytes, size_t n, off64_t at)
{
    return at < 0 ? REAL(write)(fd, bytes, n) : REAL(pwrite64)(fd, bytes, n, at);
}

static ssize_t put_or_fail(const char *call, int fd, const void *bytes, size_t n, off64_t at)
{
    char path[PATH_MAX];
    const int how = named(path, fd, NULL) ? decide(call, 'd', path) : FAULT_NONE;
    if (how > 0) {
        errno = how;
        return -1;
    }
    if (how == FAULT_SHORT && n > 1)
        return put(fd, bytes, n / 2, at);
    if (how == FAULT_TORN || how == FAULT_KILL_HALF) {
        const ssize_t half = put(fd, bytes, n / 2, at);
        behind(how);
        return half < 0 ? half : (ssize_t)n;
    }
    unsigned char *other = how == FAULT_FLIP && n > 0 ? malloc(n) : NULL;
    if (other) {
        memcpy(other, bytes, n);
        other[n / 2] ^= 0x10;
    }
    const ssize_t result = put(fd, other ? other : bytes, n, at);
    free(other);
    behind(how);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    return put_or_fail("write", fd, bytes, n, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return put_or_fail("pwrite", fd, bytes, n, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    return put_or_fail("pwrite", fd, bytes, n, at);
}
