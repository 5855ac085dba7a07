/* SPDX-License-Identifier: Apache-2.0 */
/* Digests: published values of FNV-1a; texts and numbers keep their borders; any changed byte of a small file is seen, and of a
 * large one its size and its ends. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nemafit/digest.h"
#include "tap.h"

static char path[4096];

static bool is(const char *bytes, const char *wanted)
{
    nf_digest d = nf_digest_new();
    char hex[17];

    nf_digest_add(&d, bytes, strlen(bytes));
    nf_digest_show(&d, hex);
    return !strcmp(hex, wanted);
}

static uint64_t two(const char *a, const char *b)
{
    nf_digest d = nf_digest_new();

    nf_digest_text(&d, a);
    nf_digest_text(&d, b);
    return d.value;
}

static uint64_t of_file(void)
{
    nf_digest d = nf_digest_new();

    return nf_digest_file(&d, path) ? 0 : d.value;
}

static void put(int fd, off_t at, char byte)
{
    if (pwrite(fd, &byte, 1, at) != 1)
        tap_note("cannot write %s", path);
}

/* A file of n bytes, sparse. */
static int make(off_t n)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (fd >= 0 && ftruncate(fd, n) != 0)
        tap_note("cannot make %s", path);
    return fd;
}

static bool sees(int fd, off_t at)
{
    uint64_t before = of_file(), after;

    put(fd, at, 1);
    after = of_file();
    put(fd, at, 0);
    return before && after && before != after && of_file() == before;
}

int main(void)
{
    const char *builddir = getenv("builddir");
    const off_t large = (off_t)100 << 20;
    bool all = true;
    nf_digest d = nf_digest_new();
    int fd;

    tap_open();
    snprintf(path, sizeof path, "%s/digest.%d.tmp", builddir ? builddir : ".", (int)getpid());
    tap_ok(is("", "cbf29ce484222325") && is("a", "af63dc4c8601ec8c") && is("foobar", "85944171f73967e8"), "published values");
    tap_ok(two("a", "bc") != two("ab", "c") && two("", "a") != two("a", "") && two(NULL, "x") == two("", "x"),
           "borders of texts");
    fd = make(3000);
    for (off_t at = 0; at < 3000; at += 37)
        all &= sees(fd, at);
    tap_ok(all, "a changed byte of a small file is seen");
    uint64_t before = of_file();
    tap_ok(ftruncate(fd, 2999) == 0 && of_file() != before, "so is its size");
    close(fd);
    fd = make(large);
    tap_ok(sees(fd, 0) && sees(fd, large - 1) && sees(fd, 12345), "the ends of a large file count");
    before = of_file();
    tap_ok(ftruncate(fd, large + 1) == 0 && of_file() != before, "so does its size");
    close(fd);
    unlink(path);
    tap_ok(nf_digest_file(&d, path) == NF_EMISSING && strstr(nf_diagnosis(), path), "a file that is not there");
    return tap_done();
}
