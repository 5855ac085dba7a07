/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: arguments, MPI, exit status; nothing else.
 *
 * Under a launcher MPI_Init comes before anything can fail: ranks that leave before it hang the launcher of Open MPI 4.1 at 32
 * and more a host. Without a launcher a lone process runs without MPI. Rank 0 prints the diagnosis, all ranks finalize and
 * return the same status.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "nemafit/input.h"
#include "nemafit/log.h"
#include "nemafit/ops.h"
#include "nemafit/signals.h"
#include "nemafit/train.h"

#define RANKS_MAX (1 << 20)

enum command { RUN, CHECK, GOLDEN, VERIFY, EXPORT, DESCRIBE, MANUAL, VERSION, HELP };

struct arguments {
    enum command command;
    const char *target; /* input file, golden directory, snapshot or parameter name */
    const char *dir;    /* of an export */
    char **overrides;
    int n_overrides;
    int ranks; /* to check for; 0: as many as run now */
    bool quiet, verbose;
};

static const char usage[] =
    "usage: mpirun -np RANKS nemafit [--quiet|--verbose] input.nml [group.key=value ...]\n"
    "       nemafit --check input.nml [--ranks N] [group.key=value ...]   validate everything, train nothing\n"
    "       nemafit --golden DIR [group.key=value ...]        repeat a stored reference\n"
    "       nemafit --verify SNAPSHOT                         is it whole?\n"
    "       nemafit --export SNAPSHOT DIR [group.key=value ...]   its weights as a checkpoint\n"
    "       nemafit --describe [group | group.key]            what can stand in an input file\n"
    "       nemafit --version | --help\n";

static nf_status command_word(struct arguments *a, const char *given, bool *needs_target)
{
    static const struct {
        const char *word;
        enum command command;
        bool needs_target;
    } words[] = {{"--check", CHECK, true},      {"--golden", GOLDEN, true},      {"--verify", VERIFY, true},
                 {"--export", EXPORT, true},    {"--describe", DESCRIBE, false}, {"--manual-body", MANUAL, false},
                 {"--version", VERSION, false}, {"--help", HELP, false},         {"-h", HELP, false}};
    size_t w = 0;

    while (w < sizeof words / sizeof *words && strcmp(given, words[w].word))
        w++;
    if (w == sizeof words / sizeof *words)
        return nf_fail(NF_EUSAGE, "unknown option '%s'\n%s", given, usage);
    if (a->command != RUN)
        return nf_fail(NF_EUSAGE, "'%s' after another command\n%s", given, usage);
    a->command = words[w].command;
    *needs_target = words[w].needs_target;
    return NF_OK;
}

static nf_status rank_count(const char *word, int *ranks)
{
    char *end = NULL;
    long n = word ? strtol(word, &end, 10) : 0;

    if (!word || *end || n < 1 || n > RANKS_MAX)
        return nf_fail(NF_EUSAGE, "--ranks needs a number from 1 to %d behind it\n%s", RANKS_MAX, usage);
    *ranks = (int)n;
    return NF_OK;
}

/* Options may stand anywhere, the target is the first other word, the rest are overrides. */
static nf_status parse(int argc, char **argv, struct arguments *a)
{
    bool needs_target = true;

    a->overrides = argv; /* kept in order, over what has been read */
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--quiet"))
            a->quiet = true;
        else if (!strcmp(argv[i], "--verbose"))
            a->verbose = true;
        else if (!strcmp(argv[i], "--ranks")) {
            NF_TRY(rank_count(i + 1 < argc ? argv[i + 1] : NULL, &a->ranks));
            i++;
        } else if (argv[i][0] == '-')
            NF_TRY(command_word(a, argv[i], &needs_target));
        else if (!a->target && !strchr(argv[i], '='))
            a->target = argv[i];
        else
            a->overrides[a->n_overrides++] = argv[i];
    if (needs_target && !a->target)
        return nf_fail(NF_EUSAGE, "no %s was given\n%s",
                       a->command == GOLDEN                           ? "directory"
                       : a->command == VERIFY || a->command == EXPORT ? "snapshot"
                                                                      : "input file",
                       usage);
    if (a->command == EXPORT) {
        if (!a->n_overrides || strchr(a->overrides[0], '='))
            return nf_fail(NF_EUSAGE, "no directory to export to was given\n%s", usage);
        a->dir = *a->overrides++;
        a->n_overrides--;
    }
    if (a->command == VERIFY && a->n_overrides)
        return nf_fail(NF_EUSAGE, "'%s': nothing more can be given to --verify\n%s", a->overrides[0], usage);
    if (a->ranks && a->command != CHECK)
        return nf_fail(NF_EUSAGE, "--ranks belongs to --check; a run has as many as mpirun starts\n%s", usage);
    return NF_OK;
}

/* Rank 0 reads, all ranks parse the same bytes: errors are the same everywhere. */
static nf_status read_input(const struct arguments *a, bool with_mpi, int rank, nf_input **input)
{
    char *text = NULL;
    long long n[2] = {0, 0}; /* bytes, status */
    nf_status s = NF_OK;
    size_t bytes = 0;

    if (rank == 0) {
        s = nf_file_read(a->target, 1 << 20, &text, &bytes);
        n[0] = (long long)bytes;
        n[1] = s;
    }
    if (with_mpi)
        MPI_Bcast(n, 2, MPI_LONG_LONG, 0, MPI_COMM_WORLD);
    if (n[1])
        return rank == 0 ? s : (nf_status)n[1];
    if (rank != 0)
        text = malloc((size_t)n[0] + 1);
    if (!text)
        nf_die(NF_ENOMEM, "no memory for the input file");
    if (with_mpi)
        MPI_Bcast(text, (int)n[0], MPI_CHAR, 0, MPI_COMM_WORLD);
    text[n[0]] = 0;
    s = nf_input_parse(a->target, text, (size_t)n[0], a->overrides, a->n_overrides, input);
    free(text);
    return s;
}

static nf_status print_text(const struct arguments *a)
{
    nf_str out = {0};
    nf_status s = NF_OK;

    if (a->command == HELP)
        nf_str_add(&out, usage);
    else if (a->command == VERSION)
        nf_str_addf(&out, "%s\n", PACKAGE_STRING);
    else if (a->command == MANUAL)
        nf_input_manual(&out);
    else if (!nf_input_describe(a->target, &out))
        s = nf_fail(NF_EUSAGE, "%s", out.text ? out.text : "no such parameter");
    if (!s)
        fputs(out.text ? out.text : "", stdout);
    nf_str_free(&out);
    return s;
}

static nf_status perform(const struct arguments *a, bool with_mpi, int ranks, int rank)
{
    MPI_Comm world = MPI_COMM_WORLD;
    const void *comm = with_mpi ? &world : NULL;
    nf_input *input = NULL;
    nf_status s;

    if (a->command == VERIFY)
        return nf_train_verify(a->target, comm);
    if (a->command == EXPORT)
        return nf_train_export(a->target, a->dir, a->overrides, a->n_overrides, comm);
    if (a->command != RUN && a->command != CHECK && a->command != GOLDEN)
        return rank == 0 ? print_text(a) : NF_OK;
    s = a->command == GOLDEN ? nf_input_defaults(a->overrides, a->n_overrides, &input) : read_input(a, with_mpi, rank, &input);
    if (!s && a->ranks && a->ranks != ranks && ranks > 1)
        s = nf_fail(NF_EUSAGE, "--ranks %d under a launcher of %d: check without the launcher", a->ranks, ranks);
    if (!s && a->ranks > 1 && ranks == 1) {
        comm = NULL;
        ranks = a->ranks;
    }
    if (!s)
        s = a->command == RUN     ? nf_train_run(input, comm, ranks, rank)
            : a->command == CHECK ? nf_train_check(input, comm, ranks, rank)
                                  : nf_train_golden(a->target, input, comm, ranks, rank);
    nf_input_free(input);
    return s;
}

static bool under_launcher(void)
{
    static const char *const signs[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (getenv(signs[i]))
            return true;
    return false;
}

static void abort_all(int exit_status)
{
    int up = 0;
    MPI_Initialized(&up);
    if (up)
        MPI_Abort(MPI_COMM_WORLD, exit_status);
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    bool with_mpi = under_launcher();
    int ranks = 1, rank = 0, worst;
    nf_status s;

    (void)nf_seconds(); /* counts from here */
    nf_ops_mend_blas(argv);
    if (with_mpi) {
        MPI_Init(&argc, &argv);
        MPI_Comm_size(MPI_COMM_WORLD, &ranks);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        nf_die_hook(abort_all);
    }
    s = parse(argc, argv, &a);
    if (!s && a.command == RUN)
        nf_signals_catch();
    nf_log_open(rank, ranks, a.quiet ? NF_LOG_QUIET : a.verbose ? NF_LOG_DEBUG : NF_LOG_NOTE, stdout);
    if (!s)
        s = perform(&a, with_mpi, ranks, rank);
    fflush(stdout);
    if (s && rank == 0)
        fprintf(stderr, "nemafit: %s\n", *nf_diagnosis() ? nf_diagnosis() : nf_status_name(s));
    worst = nf_status_exit(s);
    if (with_mpi) { /* the commands agree already; text commands speak on rank 0 alone */
        int mine = worst;
        MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
        MPI_Finalize();
    }
    return worst;
}
