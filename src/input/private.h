/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private.h: what the files of this folder share. Text is never copied to remember where something stood: a place is an offset
 * into one of the sources (the file, then one source for each override), and line and column are counted when a message is
 * made.
 */
#ifndef NEMAFIT_INPUT_PRIVATE_H
#define NEMAFIT_INPUT_PRIVATE_H

#include "nemafit/input.h"

#define NF_LIST_MAX 4096           /* elements of a list */
#define NF_INPUT_MAX (1024 * 1024) /* bytes of a file */
#define NF_ERRORS_MAX 20
#define NF_ROWS_MAX 128

/* The parameter table (table.c). */
enum nf_kind { NF_KIND_INT, NF_KIND_REAL, NF_KIND_BOOL, NF_KIND_CHOICE, NF_KIND_TEXT, NF_KIND_LIST };

enum nf_row_flag {
    NF_ROW_REQUIRED = 1,           /* must be given in a file */
    NF_ROW_PATH = 2,               /* names a file or directory */
    NF_ROW_ABOVE = 4,              /* low itself is not allowed */
    NF_ROW_BELOW = 8,              /* high itself is not allowed */
    NF_ROW_LATER_IF_POSITIVE = 16, /* `later` holds for values above zero; else for all but the default */
    NF_ROW_FREE = 32               /* may differ from the snapshot's when a run goes on */
};

struct nf_choice {
    const char *name;
    int value;
    const char *later; /* what the value needs that this version lacks; NULL: nothing */
};

struct nf_row {
    const char *group, *key;
    enum nf_kind kind;
    size_t offset;        /* in struct nf_params */
    const char *standard; /* the default as a namelist spells it; "''" for none */
    const char *unit;     /* NULL: none */
    double low, high;     /* numbers; both 0: any */
    unsigned flags;
    const struct nf_choice *choice; /* ends with a NULL name */
    const char *help;
    const char *also;  /* words of other programs for the same thing, for "maybe" */
    const char *later; /* the feature that this version lacks; NULL: the key can be used */
};

extern const struct nf_row nf_table[];
extern const int nf_table_count;
int nf_table_rows(void);
const struct nf_row *nf_table_row(int row);
int nf_table_find(const char *group, const char *key); /* exact, lower case; -1: no such row */
int nf_table_groups(void);
const char *nf_table_group(int g);
const char *nf_table_group_help(int g);
int nf_table_group_find(const char *group); /* -1: no such group */
/* The nearest spelling in the table, or NULL. group NULL: among groups; else among the group's keys. */
const char *nf_table_maybe(const char *group, const char *word);
const char *nf_table_choice_maybe(const struct nf_row *row, const char *word);

/* Sources and places. */
struct nf_source {
    char *name; /* of the file; NULL: a word of the command line */
    char *text;
    size_t n;
};
struct nf_place {
    int source; /* -1: nowhere */
    size_t at, len;
};
static const struct nf_place NF_NOWHERE = {-1, 0, 0};

/* Tokens (lexer.c). A lexer is two numbers and a pointer: copy it to look ahead. */
enum nf_token_kind {
    NF_TOKEN_END,
    NF_TOKEN_GROUP, /* &name or $name, the sign included */
    NF_TOKEN_EQUALS,
    NF_TOKEN_COMMA,
    NF_TOKEN_SLASH,       /* the end of a group */
    NF_TOKEN_PAREN,       /* "(...)" on one line */
    NF_TOKEN_WORD,        /* names, numbers, logicals, and what should have stood in quotes */
    NF_TOKEN_STRING,      /* with its quotes */
    NF_TOKEN_OPEN_STRING, /* no closing quote on the line */
    NF_TOKEN_OPEN_PAREN,
    NF_TOKEN_BAD /* a byte that has no place outside quotes, or nowhere at all */
};
struct nf_token {
    enum nf_token_kind kind;
    size_t at, len;
};
struct nf_lexer {
    const char *text;
    size_t n, at;
};
void nf_lexer_next(struct nf_lexer *lexer, struct nf_token *token);
/* Behind a token that made no sense: to the end of its line, but in front of a '/' that ends it. */
void nf_lexer_recover(struct nf_lexer *lexer, const struct nf_token *token);

/* One value of an assignment, with its repeat count. */
struct nf_value {
    struct nf_place where; /* as written, repeat count included */
    bool is_string;
    char *text; /* without repeat count; strings without quotes */
    int64_t repeat;
};
/* group.key(lo:hi) = values */
struct nf_assignment {
    int row;
    struct nf_place name, index; /* index.source -1: no subscript */
    int64_t lo, hi;
    struct nf_value *value;
    int values, capacity;
};

struct nf_list {
    char **item;
    struct nf_place *where;
    int count, capacity;
};

struct nf_error {
    struct nf_place where;
    char *text, *hint;
};

struct nf_input {
    struct nf_params params;
    struct nf_source *source; /* 0: the file, if there is one; then the overrides */
    int sources;
    bool has_file, has_group[NF_ROWS_MAX];
    bool is_listed[NF_ROWS_MAX];        /* the keys of this group were listed in a hint */
    struct nf_place given[NF_ROWS_MAX]; /* where the user set the row; nowhere: the default */
    struct nf_list list[NF_ROWS_MAX];   /* elements given so far, by row */
    bool troubled[NF_ROWS_MAX];         /* an error of the row was told: what follows from it is not */
    bool torn;                          /* structure is damaged: do not complain of what is missing */
    bool no_memory;
    struct nf_error error[NF_ERRORS_MAX];
    int errors; /* found; those beyond NF_ERRORS_MAX are only counted */
};

/* Errors (message.c). `what` has no place in it; hint may be NULL, is one line and begins with a verb. */
void nf_message_add(nf_input *input, struct nf_place where, const char *hint, const char *fmt, ...) NF_PRINTF(4, 5);
/* The whole report, ordered by place, at most `limit` bytes. */
void nf_message_report(const nf_input *input, size_t limit, nf_str *out);
/* Foreign bytes made safe to print; longer than `columns`: cut, with "..." at the end. */
void nf_message_shown(nf_str *out, const char *text, size_t n, int columns);
int nf_message_line(const nf_input *input, struct nf_place where);
/* printf into a malloc'd string; NULL: no memory. */
char *nf_message_format(const char *fmt, ...) NF_PRINTF(1, 2);

/* Names that the table does not have, each told with the nearest that it has (names.c). `name` is in lower case. */
void nf_names_unknown_group(nf_input *input, const char *name, struct nf_place where);
void nf_names_unknown_key(nf_input *input, const char *group, const char *name, struct nf_place where);

/* Reading: a file (namelist.c), a word of the command line (override.c). Errors are added, memory failure latched. */
void nf_namelist_read(nf_input *input, int source);
void nf_override_read(nf_input *input, int source);
/* The values that begin at the lexer, up to the next name, '/', group or end (values.c). True: all well formed. */
bool nf_values_read(nf_input *input, int source, struct nf_lexer *lexer, struct nf_assignment *a);
/* A token that the lexer could not make sense of is told and skipped (true); others are left alone. */
bool nf_values_told_as_bad(nf_input *input, int source, struct nf_lexer *lexer, const struct nf_token *t);
/* Takes `text`; NULL latches the failure of memory. */
void nf_values_add(nf_input *input, struct nf_assignment *a, struct nf_place where, bool is_string, int64_t repeat, char *text);
void nf_assignment_free(struct nf_assignment *a);

/* From words to values (convert.c): false after an error was added. */
bool nf_value_int(nf_input *input, const struct nf_row *row, const struct nf_value *v, int64_t *x);
bool nf_value_real(nf_input *input, const struct nf_row *row, const struct nf_value *v, double *x);
bool nf_value_bool(nf_input *input, const struct nf_row *row, const struct nf_value *v, bool *x);
bool nf_value_choice(nf_input *input, const struct nf_row *row, const struct nf_value *v, int *x);
bool nf_value_text(nf_input *input, const struct nf_row *row, const struct nf_value *v);

/* Into the params (assign.c). An override sets aside what the file gave. */
void nf_assign(nf_input *input, const struct nf_assignment *a);
void nf_assign_lists(nf_input *input); /* after the last assignment */
nf_status nf_assign_defaults(nf_input *input);
void *nf_assign_field(nf_input *input, const struct nf_row *row);
const void *nf_assign_const_field(const nf_input *input, const struct nf_row *row);

/* Conditions over all values (check.c). needs_all: a file's input, where required keys must be there. */
void nf_check(nf_input *input, bool needs_all);

/* One value, as a namelist spells it (echo.c). */
void nf_echo_value(const struct nf_row *row, const void *field, nf_str *out);

/* "real from 0 to 1", "'a', 'b' or 'c'", for messages and help (describe.c). */
/* Words of `text`, each line indented and at most `width` columns long; no line end behind the last. */
void nf_describe_wrapped(nf_str *out, const char *indent, const char *text, int width);
void nf_describe_range(const struct nf_row *row, nf_str *out);
void nf_describe_choices(const struct nf_row *row, bool all, nf_str *out);

#endif
