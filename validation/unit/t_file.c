/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files and directories, in a folder of its own that is removed at the end. */
#define _GNU_SOURCE
#include "nemafit/str.h"
#include "validation/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void write_and_read(void)
{
    static const char text[] = "one\0two\n";
    char *got = NULL;
    size_t n = 0;
    struct stat st;
    tap_ok(nf_file_write("a", text, sizeof text) == NF_OK, "write");
    tap_ok(nf_file_read("a", 1000, &got, &n) == NF_OK && n == sizeof text && memcmp(got, text, n) == 0 && got[n] == '\0',
           "read the same bytes and a NUL");
    free(got);
    tap_ok(stat("a", &st) == 0 && (st.st_mode & 0137) == 0, "not for everybody's eyes");
    tap_ok(nf_file_write("a", "x", 1) == NF_OK && nf_file_read("a", 1, &got, &n) == NF_OK && n == 1 && got[0] == 'x',
           "write again replaces; the limit itself is allowed");
    free(got);
    tap_ok(nf_file_write("empty", "", 0) == NF_OK && nf_file_read("empty", 0, &got, &n) == NF_OK && n == 0 && got[0] == '\0',
           "an empty file");
    free(got);
    tap_ok(symlink("a", "link") == 0 && nf_file_read("link", 10, &got, &n) == NF_OK && n == 1, "read through a link");
    free(got);
    tap_ok(nf_file_write("link", "yy", 2) == NF_OK && lstat("link", &st) == 0 && S_ISREG(st.st_mode) &&
               nf_file_read("a", 10, &got, &n) == NF_OK && n == 1,
           "writing replaces a link and leaves what it pointed to");
    free(got);
    size_t big = 3 << 20;
    char *bytes = malloc(big);
    for (size_t i = 0; i < big; i++)
        bytes[i] = (char)(i * 31);
    tap_ok(nf_file_write("big", bytes, big) == NF_OK && nf_file_read("big", big, &got, &n) == NF_OK && n == big &&
               memcmp(got, bytes, n) == 0,
           "3 MiB there and back");
    free(got);
    free(bytes);
    tap_ok(nf_file_read("/proc/self/stat", 1 << 20, &got, &n) == NF_OK && n > 10, "a file that does not know its size");
    free(got);
}

static bool refused(nf_status got, nf_status want, const char *path, const char *why)
{
    bool good = got == want && strstr(nf_diagnosis(), path) && strstr(nf_diagnosis(), why);
    if (!good)
        tap_note("status %d (%s): %s", got, nf_status_name(got), nf_diagnosis());
    nf_diagnosis_clear();
    return good;
}

static void refusals(void)
{
    char *got = (char *)"untouched";
    size_t n = 42;
    tap_ok(refused(nf_file_read("absent", 9, &got, &n), NF_EMISSING, "absent", "No such file"), "absent");
    tap_ok(refused(nf_file_read("a/b", 9, &got, &n), NF_EMISSING, "a/b", "Not a directory"), "a file as a directory");
    tap_ok(refused(nf_file_read(".", 9, &got, &n), NF_EDATA, ".", "a directory"), "a directory");
    tap_ok(mkfifo("fifo", 0600) == 0 && refused(nf_file_read("fifo", 9, &got, &n), NF_EDATA, "fifo", "a FIFO"),
           "a FIFO, without waiting for its writer");
    tap_ok(refused(nf_file_read("/dev/null", 9, &got, &n), NF_EDATA, "/dev/null", "a device"), "a device");
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (s >= 0 && bind(s, (struct sockaddr *)&name, sizeof name) == 0)
        tap_ok(refused(nf_file_read("socket", 9, &got, &n), NF_EDATA, "socket", "a socket"), "a socket");
    else
        tap_skip("no sockets here");
    close(s);
    tap_ok(refused(nf_file_read("big", (3 << 20) - 1, &got, &n), NF_EDATA, "big", "3.00 MiB"), "one byte more than the limit");
    tap_ok(refused(nf_file_read("/proc/self/stat", 3, &got, &n), NF_EDATA, "/proc/self/stat", "3 B"),
           "more than the limit though its size says 0");
    tap_ok(symlink("loop", "loop") == 0 && refused(nf_file_read("loop", 9, &got, &n), NF_EDATA, "loop", "symbolic links"),
           "a link to itself");
    tap_ok(strcmp(got, "untouched") == 0 && n == 42, "outputs are set on success only");
    tap_ok(refused(nf_file_write("no/such/dir", "x", 1), NF_EMISSING, "no/such/dir", "No such file"),
           "write into no directory");
    tap_ok(refused(nf_file_write("fifo", "x", 1), NF_EDATA, "fifo", "a FIFO"), "write over a FIFO");
    tap_ok(refused(nf_file_write(".", "x", 1), NF_EDATA, ".", "a directory"), "write over a directory");
    tap_ok(refused(nf_file_read("a\nb", 9, &got, &n), NF_EMISSING, "a\\x0ab", "No such file"), "names are shown safely");
    tap_ok(refused(nf_fail_errno(ENOSPC, "x", "writing"), NF_EIO, "x: writing: No space left", "Hint: free some space"),
           "a full disk has a hint");
    tap_ok(refused(nf_fail_errno(EACCES, "x", "opening"), NF_EPERM, "x", "Permission denied") &&
               refused(nf_fail_errno(EMFILE, "x", "opening"), NF_ENOMEM, "x", "Too many open files") &&
               refused(nf_fail_errno(EEXIST, "x", "opening"), NF_EEXISTS, "x", "exists") &&
               refused(nf_fail_errno(EIO, "x", "reading"), NF_EIO, "x", "reading"),
           "each errno has its status");
    if (geteuid() != 0) {
        chmod("big", 0);
        tap_ok(refused(nf_file_read("big", 1 << 30, &got, &n), NF_EPERM, "big", "Permission denied"), "unreadable");
        chmod("big", 0600);
    } else
        tap_skip("the superuser may read everything");
}

/* The disk is full: what was there stays, and nothing is left beside it. */
static void no_room(void)
{
    struct rlimit before, small;
    char *got = NULL, *bytes = calloc(1, 1 << 20);
    size_t n = 0;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 64 << 10;
    nf_file_write("kept", "old", 3);
    setrlimit(RLIMIT_FSIZE, &small);
    bool good = refused(nf_file_write("kept", bytes, 1 << 20), NF_EIO, "kept", "writing");
    setrlimit(RLIMIT_FSIZE, &before);
    tap_ok(good, "a write that does not fit fails");
    tap_ok(nf_file_read("kept", 10, &got, &n) == NF_OK && n == 3 && memcmp(got, "old", 3) == 0, "and the old file stays");
    free(got);
    free(bytes);
    int left = 0;
    DIR *d = opendir(".");
    for (struct dirent *e; d && (e = readdir(d));)
        left += strstr(e->d_name, ".tmp") != NULL;
    closedir(d);
    tap_ok(left == 0, "no temporary file is left");
}

static void directories(void)
{
    struct stat st;
    tap_ok(nf_dir_make("d/e//f/") == NF_OK && stat("d/e/f", &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07) == 0,
           "a directory with its parents");
    tap_ok(nf_dir_make("d/e/f") == NF_OK && nf_dir_make("d") == NF_OK && nf_dir_make("/") == NF_OK, "that exists is no error");
    tap_ok(refused(nf_dir_make("a"), NF_EEXISTS, "a", "in the way"), "a file of that name is one");
    tap_ok(refused(nf_dir_make("a/x/y"), NF_EEXISTS, "a/x/y", "in the way"), "also on the way");
    tap_ok(nf_dir_make("") != NF_OK, "no name");
    nf_diagnosis_clear();
    tap_ok(nf_dir_sync("d") == NF_OK, "sync of a directory");
    tap_ok(refused(nf_dir_sync("none"), NF_EMISSING, "none", "No such file"), "of none");
}

int main(void)
{
    char dir[] = "t_file.XXXXXX", command[64];
    tap_open();
    if (!mkdtemp(dir) || chdir(dir) != 0) {
        tap_ok(false, "a folder to work in");
        return tap_done();
    }
    write_and_read();
    refusals();
    no_room();
    directories();
    snprintf(command, sizeof command, "rm -rf %s", dir);
    tap_ok(chdir("..") == 0 && system(command) == 0, "cleaned up");
    return tap_done();
}
