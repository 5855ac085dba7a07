/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.c: the table of a run's times. Laps are turned into rows that people ask for: a row a kind of block, the exchange
 * (time in which a rank stood still for tokens or sums of gradients), the optimizer (all else of the update), and what lies
 * between the phases. Each cell is averaged over the ranks, and the slowest rank's is kept.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nemafit/log.h"
#include "profile.h"

enum row { EMBED, MIXER, HEAD = MIXER + NF_MIXER_KINDS, OPTIMIZER, EXCHANGE, OTHER, TOTAL, ROWS };
enum { MEAN, MOST, BOTH };
static const char *const phase_name[PHASES] = {"between", "forward", "backward", "update"};
typedef double table[ROWS][PHASES];

void nf_profile_add(struct profile *p, double seconds[NF_LAP_PHASES][NF_LAP_PARTS])
{
    if (++p->steps == 2)
        *p = (struct profile){.steps = 2};
    for (int i = 0; i < PHASES; i++)
        for (int k = 0; k < NF_PARTS; k++)
            p->seconds[i][k] += seconds[i][k];
}

static int64_t counted(const struct profile *p)
{
    return p->steps > 1 ? p->steps - 1 : p->steps;
}

static enum row row_of(int phase, int part)
{
    if (part == NF_PART_STILL)
        return EXCHANGE;
    if (phase == PHASE_UPDATE)
        return OPTIMIZER;
    if (part == NF_PART_REST)
        return OTHER;
    return part == NF_PART_EMBED ? EMBED : part == NF_PART_HEAD ? HEAD : MIXER + (part - NF_PART_MIXER);
}

/* Milliseconds a step on this rank. */
static void fill(const struct profile *p, table ms)
{
    for (int i = 0; i < PHASES; i++) {
        for (int r = 0; r < ROWS; r++)
            ms[r][i] = 0;
        for (int k = 0; k < NF_PARTS; k++) {
            const double cell = 1e3 * p->seconds[i][k] / (double)counted(p);
            ms[row_of(i, k)][i] += cell;
            ms[TOTAL][i] += cell;
        }
    }
}

/* Cells are padded for the sake of those behind them; the last ones of a line are not. */
static void trim(nf_str *out)
{
    while (out->len && out->text[out->len - 1] == ' ')
        out->text[--out->len] = '\0';
}

static const char *name_of(int row)
{
    switch (row) {
    case EMBED: return "embedding";
    case HEAD: return "head and loss";
    case OPTIMIZER: return "optimizer";
    case EXCHANGE: return "exchange";
    case OTHER: return "other";
    case TOTAL: return "sum";
    default: return nf_mixer_of((enum nf_mixer_kind)(row - MIXER))->name;
    }
}

/* How many blocks the model has of the row's kind; of what it has once: 1; of kinds that it has not: 0. */
static int blocks_of(const nf_model *m, int row)
{
    int n = 0;

    if (row < MIXER || row >= HEAD)
        return 1;
    for (int i = 0; i < m->blocks; i++)
        n += (int)m->block[i].kind == row - MIXER;
    return n;
}

static bool is_block(int row)
{
    return row >= MIXER && row < HEAD;
}

/* "12.345 (12.400)"; nothing where no time went. */
static void add_cell(nf_str *out, table ms[BOTH], int row, int phase, bool several)
{
    char mean[24] = "", most[24] = "";

    if (ms[MOST][row][phase] > 0)
        snprintf(mean, sizeof mean, "%.3f", ms[MEAN][row][phase]);
    if (*mean && several)
        snprintf(most, sizeof most, "(%.3f)", ms[MOST][row][phase]);
    nf_str_addf(out, several ? " %10s %-11s" : " %10s%s", mean, most);
}

static void tell(const struct profile *p, const nf_model *m, table ms[BOTH], bool several)
{
    nf_str out = {0};

    nf_str_addf(&out, "%10s%-14s%6s", "", "", "blocks");
    for (int i = 0; i < PHASES; i++)
        nf_str_addf(&out, " %10s%s", phase_name[i], several && i < PHASES - 1 ? "            " : "");
    for (int r = 0; r < ROWS; r++) {
        char blocks[16] = "";
        if (!blocks_of(m, r))
            continue;
        if (is_block(r))
            snprintf(blocks, sizeof blocks, "%d", blocks_of(m, r));
        nf_str_addf(&out, "\n%10s%-14s%6s", "", name_of(r), blocks);
        for (int i = 0; i < PHASES; i++)
            add_cell(&out, ms, r, i, several);
        trim(&out);
    }
    nf_note("profile   milliseconds a step, mean of %" PRId64 " step%s%s\n%s", counted(p), counted(p) == 1 ? "" : "s",
            several ? " and of all ranks (the slowest rank)" : "", out.text ? out.text : "");
    nf_str_free(&out);
}

static nf_status keep(const struct profile *p, const nf_model *m, table ms[BOTH], const char *dir)
{
    char *path = nf_path_join(dir, "profile.csv");
    nf_str out = {0};
    nf_status s;

    nf_str_add(&out, "part,blocks,steps");
    for (int i = 0; i < PHASES; i++)
        nf_str_addf(&out, ",ms_%s,ms_%s_slowest", phase_name[i], phase_name[i]);
    for (int r = 0; r < ROWS; r++) {
        if (!blocks_of(m, r))
            continue;
        nf_str_addf(&out, "\n%s,%d,%" PRId64, name_of(r), blocks_of(m, r), counted(p));
        for (int i = 0; i < PHASES; i++)
            nf_str_addf(&out, ",%.6g,%.6g", ms[MEAN][r][i], ms[MOST][r][i]);
    }
    nf_str_add(&out, "\n");
    if (!path || out.failed)
        s = nf_fail(NF_ENOMEM, "no memory for the table of times");
    else
        s = nf_file_write(path, out.text, out.len);
    free(path);
    nf_str_free(&out);
    return s;
}

nf_status nf_profile_report(const struct profile *p, const nf_mesh *mesh, const nf_model *model, const char *dir)
{
    const nf_group *world = nf_mesh_group(mesh, NF_WORLD);
    const int ranks = nf_mesh_ranks(mesh);
    table ms[BOTH];
    nf_status s = NF_OK;

    if (!p->steps) /* the same on all ranks */
        return NF_OK;
    fill(p, ms[MEAN]);
    fill(p, ms[MOST]);
    NF_TRY(nf_reduce_f64(world, &ms[MEAN][0][0], ROWS * PHASES, NF_SUM));
    NF_TRY(nf_reduce_f64(world, &ms[MOST][0][0], ROWS * PHASES, NF_MAX));
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < PHASES; i++)
            ms[MEAN][r][i] /= ranks;
    if (nf_mesh_rank(mesh) == 0) {
        tell(p, model, ms, ranks > 1);
        s = keep(p, model, ms, dir);
    }
    return nf_agree(mesh, s);
}
