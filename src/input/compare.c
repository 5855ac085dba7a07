/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare.c: may a run go on with this input, from a snapshot that was written with another? What shapes the result must be the
 * same; which rows are free is said in the table.
 */
#include <stdlib.h>
#include <string.h>

#include "private.h"

/* Another device may bring another kernel with it, as long as nobody asked for this one. */
static bool follows_device(const nf_input *now, const nf_input *before, const struct nf_row *row)
{
    return now->params.backend.device != before->params.backend.device && !strcmp(row->group, "backend") &&
           !strcmp(row->key, "attention") && !nf_input_given(now, row->group, row->key);
}

static void complain(nf_input *now, const struct nf_row *row, const nf_str *was, const nf_str *is, const char *snapshot)
{
    nf_str before = {0}, after = {0};
    char *hint = nf_message_format("Change it back; or give snapshot.dir another directory and begin anew.");

    nf_message_shown(&before, was->text, was->len, 60);
    nf_message_shown(&after, is->text, is->len, 60);
    nf_input_complain(now, row->group, row->key, hint, "%s = %s, but %s was written with %s = %s", row->key,
                      after.text ? after.text : "", snapshot, row->key, before.text ? before.text : "");
    now->no_memory |= !hint || before.failed || after.failed;
    nf_str_free(&before);
    nf_str_free(&after);
    free(hint);
}

nf_status nf_input_compare(nf_input *now, const nf_input *before, const char *snapshot)
{
    for (int i = 0; i < nf_table_rows(); i++) {
        const struct nf_row *row = nf_table_row(i);
        nf_str was = {0}, is = {0};
        if (row->flags & NF_ROW_FREE || follows_device(now, before, row))
            continue;
        nf_echo_value(row, nf_assign_const_field(before, row), &was);
        nf_echo_value(row, nf_assign_const_field(now, row), &is);
        now->no_memory |= was.failed || is.failed;
        if (was.text && is.text && strcmp(was.text, is.text))
            complain(now, row, &was, &is, snapshot);
        nf_str_free(&was);
        nf_str_free(&is);
    }
    return nf_input_verdict(now);
}
