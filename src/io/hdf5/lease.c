/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease on a run directory. A lock on run.lock keeps a second run out as long as rank 0 of the first lives; the generation
 * in run.generation, counted up by each run, keeps out what outlives it: ranks that go on for a second after a kill, or a
 * stopped process that is woken later. They write into temporaries of their own generation, and cannot commit.
 */
#include "private.h"

#include "nemafit/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GENERATION "run.generation"
#define LOCK "run.lock"

static nf_status no_memory(const char *dir)
{
    return nf_fail(NF_ENOMEM, "%s: no memory for its lease", dir);
}

/* ---- the generation --------------------------------------------------------------------------------------------------------
 */

static nf_status read_generation(const char *dir, int64_t *generation, char run[33])
{
    char *path = nf_path_join(dir, GENERATION), *text = NULL, back[128];
    long long g = -1;
    size_t n = 0;
    nf_status status = path ? nf_file_read(path, 1024, &text, &n) : no_memory(dir);
    if (status == NF_OK) {
        /* exactly what is written, or it is not ours */
        const bool read = sscanf(text, "generation %lld run %32[0-9a-f]", &g, run) == 2 && g >= 0;
        if (read)
            snprintf(back, sizeof back, "generation %lld run %s\n", g, run);
        if (!read || strcmp(back, text) != 0 || strlen(back) != n)
            status = nf_fail(NF_EDATA,
                             "%s: is damaged, or is not of a run: 'generation N run ...' is expected"
                             "\n  Hint: if no run uses the directory, remove this file; snapshots stay as they are",
                             path);
    }
    if (status == NF_OK)
        *generation = g;
    free(text);
    free(path);
    return status;
}

static nf_status write_generation(const nf_lease *lease)
{
    char text[128], *path = nf_path_join(lease->dir, GENERATION);
    const int n = snprintf(text, sizeof text, "generation %lld run %s\n", (long long)lease->generation, lease->run);
    const nf_status status = path ? nf_file_write(path, text, (size_t)n) : no_memory(lease->dir);
    free(path);
    return status;
}

static nf_status draw_run(char run[33])
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return nf_fail(NF_ENOMEM, "the system gives no random bytes: %s", strerror(errno));
    for (int i = 0; i < 16; i++)
        snprintf(run + 2 * i, 3, "%02x", bytes[i]);
    return NF_OK;
}

static nf_status next_generation(nf_lease *lease)
{
    char *path = nf_path_join(lease->dir, GENERATION);
    struct stat st;
    if (!path)
        return no_memory(lease->dir);
    const bool is_new = lstat(path, &st) != 0 && errno == ENOENT;
    free(path);
    if (is_new)
        NF_TRY(draw_run(lease->run));
    else
        NF_TRY(read_generation(lease->dir, &lease->generation, lease->run));
    lease->generation++;
    return write_generation(lease);
}

nf_status nf_lease_check(const nf_lease *lease)
{
    int64_t generation = 0;
    char run[33];
    NF_TRY(read_generation(lease->dir, &generation, run));
    if (generation == lease->generation && strcmp(run, lease->run) == 0)
        return NF_OK;
    return nf_fail(NF_EEXISTS, "%s: a later run has taken this directory: its generation is %lld, ours is %lld", lease->dir,
                   (long long)generation, (long long)lease->generation);
}

/* ---- the lock
 * ---------------------------------------------------------------------------------------------------------------- */

/* Who holds it, as the file says; for people. */
static const char *holder(int fd, char out[280])
{
    char text[200];
    ssize_t n = pread(fd, text, sizeof text, 0);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    return n > 0 ? nf_str_shown(out, text, (size_t)n) : "another process";
}

static void sign(int fd)
{
    char host[128] = "", text[200];
    (void)gethostname(host, sizeof host - 1);
    const int n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
    if (ftruncate(fd, 0) == 0) /* only for the message of who waits */
        (void)nf_h5_pwrite(fd, text, (size_t)n, 0);
}

/* 0, EWOULDBLOCK, or what is wrong. */
static int try_lock(const char *path, int *fd)
{
    struct stat here, there;
    *fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640);
    if (*fd < 0)
        return errno;
    int err = flock(*fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (err == 0 &&
        (fstat(*fd, &here) != 0 || stat(path, &there) != 0 || here.st_ino != there.st_ino || here.st_dev != there.st_dev))
        err = EWOULDBLOCK; /* removed under us: another may have made it anew */
    return err;
}

static nf_status lock(const char *path, double seconds, int *fd)
{
    const double begin = nf_seconds();
    const struct timespec nap = {0, 200000000};
    char shown[280];
    bool told = false;
    for (;;) {
        const int err = try_lock(path, fd);
        if (err == 0)
            return NF_OK;
        if (err == ENOLCK || err == EOPNOTSUPP || err == ENOSYS) {
            nf_warn("%s: this file system has no locks: take care that no two runs use the directory at a time", path);
            return NF_OK;
        }
        if (err != EWOULDBLOCK) {
            const nf_status status = nf_fail_errno(err, path, "cannot lock");
            if (*fd >= 0)
                close(*fd);
            return status;
        }
        if (!told && seconds > 0)
            nf_note("waiting   up to %.0f s for %s, which holds %s", seconds, holder(*fd, shown), path);
        told = true;
        if (nf_seconds() - begin >= seconds) {
            const nf_status status = nf_fail(
                NF_EEXISTS, "%s: held by %s\n  Hint: wait for the run that uses the directory, end it, or choose another", path,
                holder(*fd, shown));
            close(*fd);
            return status;
        }
        close(*fd);
        nanosleep(&nap, NULL);
    }
}

/* One that was put aside whole, and whose name nobody has: a kill came between two names. */
static bool give_back(const char *path)
{
    char name[4096];
    struct stat st;
    const size_t n = strlen(path), tail = sizeof NF_H5_ASIDE - 1;
    if (n <= tail || n >= sizeof name || strcmp(path + n - tail, NF_H5_ASIDE) != 0)
        return false;
    memcpy(name, path, n - tail);
    name[n - tail] = 0;
    return lstat(name, &st) != 0 && errno == ENOENT && nf_h5_looks_whole(path) && rename(path, name) == 0;
}

/* What earlier generations left unfinished. */
static nf_status sweep(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return nf_fail_errno(errno, dir, "cannot list");
    nf_status status = NF_OK;
    for (struct dirent *e; status == NF_OK && (e = readdir(d));)
        if (nf_h5_is_temporary(e->d_name)) {
            char *path = nf_path_join(dir, e->d_name);
            status = path ? NF_OK : no_memory(dir);
            if (path && !give_back(path))
                status = nf_h5_remove_dir(path);
            free(path);
        }
    closedir(d);
    return status;
}

static nf_status take(nf_lease *lease, double seconds)
{
    NF_TRY(nf_dir_make(lease->dir));
    char *path = nf_path_join(lease->dir, LOCK);
    nf_status status = path ? lock(path, seconds, &lease->fd) : no_memory(lease->dir);
    free(path);
    if (status != NF_OK) {
        lease->fd = -1;
        return status;
    }
    sign(lease->fd);
    NF_TRY(next_generation(lease));
    return sweep(lease->dir);
}

nf_status nf_lease_take(const nf_mesh *mesh, const char *dir, double seconds, nf_lease **out)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    nf_lease *lease = calloc(1, sizeof *lease);
    nf_status status = NF_OK;
    if (lease) {
        lease->fd = -1;
        lease->dir = strdup(dir);
    }
    if (!lease || !lease->dir)
        status = no_memory(dir);
    status = nf_agree(mesh, status);
    if (status == NF_OK)
        status = nf_agree(mesh, nf_mesh_rank(mesh) == 0 ? take(lease, seconds) : NF_OK);
    if (status == NF_OK)
        status = nf_bcast(world, 0, &lease->generation, sizeof lease->generation);
    if (status == NF_OK)
        status = nf_bcast(world, 0, lease->run, sizeof lease->run);
    if (status == NF_OK)
        *out = lease;
    else
        nf_lease_drop(lease);
    return status;
}

void nf_lease_drop(nf_lease *lease)
{
    if (!lease)
        return;
    if (lease->fd >= 0)
        close(lease->fd);
    free(lease->dir);
    free(lease);
}

const char *nf_lease_dir(const nf_lease *lease)
{
    return lease->dir;
}

int64_t nf_lease_generation(const nf_lease *lease)
{
    return lease->generation;
}
