/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find.c: the groups, and looking up names in the table: exactly, or the nearest one for "maybe".
 */
#include <stdio.h>
#include <string.h>

#include "private.h"

static const struct {
    const char *name, *help, *also;
} groups[] = {
    {"model", "The checkpoint and how it is held in memory.", "checkpoint network"},
    {"data", "What is trained on and what is evaluated on.", "dataset datasets"},
    {"parallel", "How experts and tokens are spread over the ranks.", "mesh distributed mpi"},
    {"train", "Length of the run, batches, evaluation, and the loss.", "training trainer run"},
    {"optim", "AdamW and its schedule.", "optimizer optimiser adamw"},
    {"backend", "Device and kernels.", "device system"},
    {"snapshot", "Saving a run and going on with it.", "save checkpointing restart"},
    {"export", "The fine-tuned model as a Hugging Face checkpoint.", "output"},
    {"log", "What is shown and written while it runs.", "logging report"},
    {"benchmark", "Measurements in place of training.", "bench"},
    {"debug", "Checks that cost time.", NULL},
};

enum { GROUPS = sizeof groups / sizeof *groups };

int nf_table_rows(void)
{
    return nf_table_count;
}

const struct nf_row *nf_table_row(int row)
{
    return &nf_table[row];
}

int nf_table_find(const char *group, const char *key)
{
    for (int i = 0; i < nf_table_count; i++)
        if (!strcmp(nf_table[i].group, group) && !strcmp(nf_table[i].key, key))
            return i;
    return -1;
}

int nf_table_groups(void)
{
    return GROUPS;
}

const char *nf_table_group(int g)
{
    return groups[g].name;
}

const char *nf_table_group_help(int g)
{
    return groups[g].help;
}

int nf_table_group_find(const char *group)
{
    for (int g = 0; g < GROUPS; g++)
        if (!strcmp(groups[g].name, group))
            return g;
    return -1;
}

/* Is `word` one of the blank-separated words? */
static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = words; at && n && (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (!at[n] || at[n] == ' '))
            return true;
    return false;
}

/* How far off a spelling may be: a short word is soon another word. */
static int patience(const char *word)
{
    size_t n = strlen(word);
    return n > 40 ? 0 : n <= 3 ? 1 : n <= 6 ? 2 : 3;
}

static void consider(const char *name, const char *word, const char **best, int *distance)
{
    int d = nf_str_distance(word, name, *distance);
    if (d < *distance && d < (int)strlen(name)) {
        *best = name;
        *distance = d;
    }
}

/* Is `word` one of the blank-separated words but for a slip? */
static bool is_near_word(const char *words, const char *word)
{
    for (const char *at = words; at && *at; at += strspn(at, " ")) {
        char one[48];
        size_t n = strcspn(at, " ");
        snprintf(one, sizeof one, "%.*s", (int)n, at);
        if (n > 6 && nf_str_distance(word, one, 2) <= 2)
            return true;
        at += n;
    }
    return false;
}

const char *nf_table_maybe(const char *group, const char *word)
{
    const char *best = NULL;
    int distance = patience(word) + 1;
    for (int i = 0; group && i < nf_table_count; i++)
        if (!strcmp(nf_table[i].group, group)) {
            if (has_word(nf_table[i].also, word))
                return nf_table[i].key;
            consider(nf_table[i].key, word, &best, &distance);
        }
    for (int i = 0; group && !best && i < nf_table_count; i++)
        if (!strcmp(nf_table[i].group, group) && is_near_word(nf_table[i].also, word))
            return nf_table[i].key;
    for (int g = 0; !group && g < GROUPS; g++) {
        if (has_word(groups[g].also, word))
            return groups[g].name;
        consider(groups[g].name, word, &best, &distance);
    }
    return best;
}

const char *nf_table_choice_maybe(const struct nf_row *row, const char *word)
{
    const char *best = NULL;
    int distance = patience(word) + 1;
    for (const struct nf_choice *c = row->choice; c->name; c++)
        consider(c->name, word, &best, &distance);
    return best;
}
