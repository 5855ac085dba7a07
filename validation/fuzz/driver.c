/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c: a target with nothing but a C library: mutations of the seeds, always the same ones.
 *
 *     t_NAME                  as a test
 *     t_NAME SECONDS FOLDER   other ones, as long as told; the input under way is in FOLDER/NAME.input, also after a crash
 */
#include "files.h"
#include "tap.h"
#include "target.h"

#include "nemafit/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { TRIALS = 50000, ROOM = 64 * 1024, SEEDS_MAX = 512 };

struct corpus {
    char *text[SEEDS_MAX];
    size_t n[SEEDS_MAX];
    int count;
};

static void add_folder(struct corpus *c, const char *folder)
{
    struct files list = files_list(folder, fuzz_target.ending);
    for (int i = 0; i < list.count && c->count < SEEDS_MAX; i++) {
        size_t n;
        char *text = files_read(list.path[i], &n);
        if (text && n <= ROOM / 2) {
            c->text[c->count] = text;
            c->n[c->count++] = n;
        } else {
            free(text);
        }
    }
    files_free(&list);
}

struct tally {
    long tried, accepted, broken;
};

/* One input, in a block of exactly its size. */
static void try(struct tally *tally, const char *text, size_t n)
{
    char *exact = malloc(n ? n : 1);
    bool accepted = false;
    if (!exact)
        return;
    memcpy(exact, text, n);
    nf_diagnosis_clear();
    const char *broken = fuzz_target.holds(exact, n, &accepted);
    if (broken && tally->broken++ < 5)
        tap_note("trial %ld: %s; diagnosis: %s", tally->tried, broken, nf_diagnosis());
    tally->tried++;
    tally->accepted += accepted;
    free(exact);
}

static size_t make_input(const struct corpus *c, uint64_t trial, char *text)
{
    uint64_t state = trial * 1000003u;
    const int from = (int)fuzz_draw(&state, (unsigned)c->count), with = (int)fuzz_draw(&state, (unsigned)c->count);
    memcpy(text, c->text[from], c->n[from]);
    return fuzz_mutate(text, c->n[from], ROOM, fuzz_target.words, c->text[with], c->n[with], &state);
}

static int for_seconds(const struct corpus *c, double seconds, const char *folder)
{
    static struct tally tally;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.input", folder, fuzz_target.name);
    const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0640);
    if (fd < 0 || ftruncate(fd, ROOM + 8) != 0) {
        fprintf(stderr, "%s: cannot write %s\n", fuzz_target.name, path);
        return 1;
    }
    char *kept = mmap(NULL, ROOM + 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (kept == MAP_FAILED)
        return 1;
    const time_t start = time(NULL);
    uint64_t trial = (uint64_t)start << 32;
    while (!tally.broken && difftime(time(NULL), start) < seconds)
        for (int i = 0; i < 200 && !tally.broken; i++, trial++) {
            const uint64_t n = make_input(c, trial, kept + 8);
            memcpy(kept, &n, 8); /* its length, then its bytes */
            try(&tally, kept + 8, n);
        }
    printf("%s: %ld inputs, %ld accepted, %ld broken promises\n", fuzz_target.name, tally.tried, tally.accepted, tally.broken);
    munmap(kept, ROOM + 8);
    close(fd);
    if (tally.broken == 0)
        unlink(path);
    return tally.broken != 0;
}

static void as_test(const struct corpus *c)
{
    static char text[ROOM];
    struct tally seeds = {0}, tally = {0};
    for (int i = 0; i < c->count; i++)
        try(&seeds, c->text[i], c->n[i]);
    tap_ok(seeds.broken == 0 && seeds.accepted > 0, "%s: %d seeds keep the promises", fuzz_target.name, c->count);
    for (uint64_t trial = 0; trial < TRIALS; trial++)
        try(&tally, text, make_input(c, trial, text));
    tap_ok(tally.broken == 0, "%s: %d mutations: refused in words that can be acted on, or consistent", fuzz_target.name,
           TRIALS);
    tap_ok(tally.accepted > TRIALS / 100 && tally.accepted < TRIALS * 9 / 10, "%s: some are accepted, some refused",
           fuzz_target.name);
    tap_note("%ld of %ld accepted", tally.accepted, tally.tried);
}

int main(int argc, char **argv)
{
    static struct corpus c;
    FILE *quiet = fopen("/dev/null", "w"); /* what is only a warning */
    int status;
    if (quiet)
        nf_log_open(0, 1, NF_LOG_QUIET, quiet);
    for (const char *const *folder = fuzz_target.seeds; *folder; folder++)
        add_folder(&c, *folder);
    if (argc == 3 && c.count > 0) {
        status = for_seconds(&c, atof(argv[1]), argv[2]);
    } else {
        tap_open();
        if (tap_ok(c.count > 0, "%s: there are seeds", fuzz_target.name))
            as_test(&c);
        status = tap_done();
    }
    for (int i = 0; i < c.count; i++)
        free(c.text[i]);
    if (quiet)
        fclose(quiet);
    return status;
}
