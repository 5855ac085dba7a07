/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of text and of random tokens: how they are cut and padded, their order over epochs, and their targets, positions and
 * shifted rows held to the definitions, written out again here.
 */
#include "make.h"
#include "tap.h"

#include "nemafit/io/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { S_MAX = 32, DEPTH = 3 };

static nf_mesh *mesh;
static char dir[256];

/* Buffers for n rows of S. */
struct rows {
    int32_t ids[8 * S_MAX], target[8 * S_MAX], segment[8 * S_MAX], position[8 * S_MAX];
    int32_t mtp_ids[DEPTH][8 * S_MAX], mtp_target[DEPTH][8 * S_MAX];
    int32_t *id_list[DEPTH], *target_list[DEPTH];
    struct nf_rows_out out;
};

static void rows_init(struct rows *r, int depth)
{
    memset(r, 0x7f, sizeof *r);
    for (int d = 0; d < DEPTH; d++) {
        r->id_list[d] = r->mtp_ids[d];
        r->target_list[d] = r->mtp_target[d];
    }
    r->out = (struct nf_rows_out){r->ids, r->target, r->segment, r->position, r->id_list, r->target_list, depth};
}

/* The definitions, one place at a time, without the shortcuts of the code. */
static bool as_defined(const struct rows *r, const int32_t *labels, const int32_t *segment, int64_t S, int64_t scored)
{
    int64_t count = 0;
    for (int64_t t = 0; t < S; t++) {
        int32_t y = -100, position = 0;
        if (t + 1 < S && segment[t] != 0 && segment[t + 1] == segment[t])
            y = labels[t + 1];
        for (int64_t k = t; k > 0 && segment[k - 1] == segment[t]; k--)
            position++;
        count += y != -100;
        if (r->target[t] != y || r->position[t] != position)
            return false;
        for (int d = 0; d < r->out.mtp_depth; d++) {
            const int64_t next = t + d + 1;
            int32_t mtp = -100;
            if (next + 1 < S && segment[t] != 0 && segment[next] == segment[t] && segment[next + 1] == segment[next])
                mtp = labels[next + 1];
            if (r->mtp_target[d][t] != mtp || r->mtp_ids[d][t] != (next < S ? r->ids[next] : 0))
                return false;
        }
    }
    return count == scored;
}

static void forming(void)
{
    int32_t labels[S_MAX], segment[S_MAX];
    bool right = true, right_plain = true;
    uint64_t state = 5;
    for (int i = 0; i < 500; i++) {
        struct rows r;
        rows_init(&r, DEPTH);
        const int64_t S = 1 + i % S_MAX;
        int64_t scored = -1;
        int32_t q = 1;
        for (int64_t t = 0; t < S; t++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            q += state >> 61 == 0;
            segment[t] = t > S - i % 5 ? 0 : q;
            r.ids[t] = (int32_t)(state >> 40 & 1023);
            labels[t] = state >> 38 & 1 ? r.ids[t] : -100;
            r.segment[t] = segment[t];
        }
        nf_rows_form(1, S, labels, &r.out, &scored);
        right &= as_defined(&r, labels, segment, S, scored);
        for (int64_t t = 0; t < S; t++)
            segment[t] = 1;
        r.out.segment = NULL;
        nf_rows_form(1, S, labels, &r.out, &scored);
        right_plain &= as_defined(&r, labels, segment, S, scored);
    }
    tap_ok(right, "targets, positions and shifts of packed rows are as defined");
    tap_ok(right_plain, "and of rows of one segment");

    struct rows r;
    rows_init(&r, 1);
    const int32_t two[] = {5, 6, 7, 8, 9, 10};
    memcpy(r.ids, two, sizeof two);
    r.out.segment = NULL;
    int64_t scored = 0;
    nf_rows_form(2, 3, two, &r.out, &scored);
    tap_ok(scored == 4 && r.target[2] == -100 && r.target[3] == 9 && r.position[3] == 0 && r.mtp_ids[0][2] == 0 &&
               r.mtp_target[0][0] == 7 && r.mtp_target[0][1] == -100 && r.mtp_ids[0][3] == 9,
           "rows do not run into one another");
}

/* ---- text -------------------------------------------------------------------------------------------------------------------
 */

static nf_status open_text(char **names, int count, int64_t S, nf_dataset **data)
{
    const nf_strings files = {names, count};
    const struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_TEXT, .seq_len = S, .vocab = 300};
    return nf_dataset_open(mesh, &arg, data);
}

static void text(void)
{
    char a[300], b[300], *names[] = {a, b};
    nf_dataset *data = NULL;
    struct rows r;
    int64_t scored = 0;
    snprintf(a, sizeof a, "%s/a.txt", dir);
    snprintf(b, sizeof b, "%s/b.txt", dir);
    make_file(a, "ab\0\xff", 4); /* stream: a b 0 255 END c d e END, 9 tokens */
    make_file(b, "cde", 3);
    static const int32_t stream[] = {'a', 'b', 0, 255, 256, 'c', 'd', 'e', 256, 256, 256, 256};

    tap_ok(open_text(names, 2, 4, &data) == NF_OK && nf_dataset_rows(data) == 3 && nf_dataset_seq_len(data) == 4 &&
               nf_dataset_segmented(data),
           "9 tokens in rows of 4: 3 rows, the last one padded");
    rows_init(&r, 2);
    const int64_t all[] = {0, 1, 2};
    bool right = data && nf_dataset_fetch(data, all, 3, &r.out, &scored) == NF_OK && memcmp(r.ids, stream, sizeof stream) == 0;
    static const int32_t target[] = {'b', 0, 255, -100, 'c', 'd', 'e', -100, -100, -100, -100, -100};
    static const int32_t segment[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0};
    right = right && memcmp(r.target, target, sizeof target) == 0 && memcmp(r.segment, segment, sizeof segment) == 0;
    tap_ok(right && scored == 6, "ids, targets and segments of all rows");
    const int64_t some[] = {2, 0};
    rows_init(&r, 0);
    right = data && nf_dataset_fetch(data, some, 2, &r.out, &scored) == NF_OK && memcmp(r.ids, stream + 8, 16) == 0 &&
            memcmp(r.ids + 4, stream, 16) == 0 && scored == 3;
    tap_ok(right, "rows by number, in any order");
    rows_init(&r, 0);
    const int64_t beyond[] = {3};
    tap_ok(data && make_diagnosed(nf_dataset_fetch(data, beyond, 1, &r.out, &scored), NF_EBUG, "row 3 of 3"),
           "a row that is not there");
    nf_dataset_free(data);
    data = NULL;

    tap_ok(open_text(names, 2, 3, &data) == NF_OK && nf_dataset_rows(data) == 3 && !nf_dataset_segmented(data),
           "9 tokens in rows of 3: nothing padded");
    rows_init(&r, 0);
    r.out.segment = NULL;
    tap_ok(data && nf_dataset_fetch(data, all, 3, &r.out, &scored) == NF_OK && scored == 6 && r.ids[4] == 256 &&
               r.position[5] == 2,
           "and then no segments are needed");
    nf_dataset_free(data);
    data = NULL;
    names[0] = b;
    names[1] = a;
    tap_ok(open_text(names, 2, 4, &data) == NF_OK, "files in the other order");
    rows_init(&r, 0);
    const int64_t first[] = {0};
    tap_ok(data && nf_dataset_fetch(data, first, 1, &r.out, &scored) == NF_OK && r.ids[0] == 'c' && r.ids[3] == 256,
           "are read in the order given");
    nf_dataset_free(data);
}

static void refusals(void)
{
    char a[300], none[300], empty[300], *names[] = {a, none};
    nf_dataset *data = NULL;
    snprintf(a, sizeof a, "%s/a.txt", dir);
    snprintf(none, sizeof none, "%s/none.txt", dir);
    snprintf(empty, sizeof empty, "%s/empty.txt", dir);
    make_text(a, "text");
    make_text(empty, "");
    tap_ok(make_diagnosed(open_text(names, 2, 4, &data), NF_EMISSING, "none.txt"), "a file that is not there");
    names[1] = empty;
    tap_ok(make_diagnosed(open_text(names, 2, 4, &data), NF_EDATA, "empty.txt: is empty"), "an empty file");
    names[1] = dir;
    tap_ok(make_diagnosed(open_text(names, 2, 4, &data), NF_EDATA, dir), "a directory");
    tap_ok(make_diagnosed(open_text(names, 1, 1, &data), NF_EUSAGE, "data.seq_len is 1, need >= 2"), "rows of one token");
    tap_ok(make_diagnosed(open_text(names, 0, 4, &data), NF_EUSAGE, "no file is given"), "no file");
    const nf_strings files = {names, 1};
    struct nf_dataset_arg arg = {.files = &files, .format = NF_FORMAT_TEXT, .seq_len = 4, .vocab = 256};
    tap_ok(make_diagnosed(nf_dataset_open(mesh, &arg, &data), NF_EDATA, "needs a vocabulary of 257 ids, the model has 256"),
           "a vocabulary too small");
}

static void people(void)
{
    char a[300], *names[] = {a};
    nf_str out = {0};
    nf_dataset *data = NULL;
    int32_t ids[16];
    snprintf(a, sizeof a, "%s/a.txt", dir);
    if (!tap_ok(open_text(names, 1, 4, &data) == NF_OK, "a text for people"))
        return;
    static const int32_t line[] = {'A', '\n', 27, 0xc3, 0xa9, 0xc3, 0xe2, 0x80, 0xae, 256, 300, -1, 0xf0, 0x9f, 0x98, 0x80};
    nf_dataset_decode(data, line, 16, &out);
    tap_ok(strcmp(out.text, "A\\n\\x1b\xc3\xa9\\xc3\\xe2\\x80\\xae<end><300><-1>\xf0\x9f\x98\x80") == 0,
           "text is shown, what a terminal should not get is escaped");
    nf_dataset_decode(data, line, 0, &out);
    nf_dataset_decode(data, line, 1, &out);
    tap_ok(strcmp(out.text + out.len - 5, "\xf0\x9f\x98\x80"
                                          "A") == 0,
           "what is decoded is appended");
    nf_str_free(&out);
    tap_ok(nf_dataset_encode(data, "h\xc3\xa9", ids, 16) == 3 && ids[0] == 'h' && ids[1] == 0xc3 && ids[2] == 0xa9,
           "a prompt as bytes");
    tap_ok(nf_dataset_encode(data, "abcdef", ids, 2) == 2, "no more of it than fits");
    nf_dataset_free(data);
}

/* ---- order ------------------------------------------------------------------------------------------------------------------
 */

static bool is_permutation(const nf_dataset *data, int64_t epoch, int64_t N)
{
    bool seen[200] = {false};
    for (int64_t i = 0; i < N; i++) {
        const int64_t row = nf_dataset_order(data, epoch * N + i);
        if (row < 0 || row >= N || seen[row])
            return false;
        seen[row] = true;
    }
    return true;
}

static void order(void)
{
    bool permutations = true, plain = true;
    int64_t same_epochs = 0, same_seeds = 0, fixed = 0;
    const int64_t sizes[] = {1, 2, 3, 7, 64, 100, 129, 200};
    for (int k = 0; k < 8; k++) {
        const int64_t N = sizes[k];
        struct nf_dataset_arg arg = {
            .format = NF_FORMAT_MOCK, .seq_len = 4, .vocab = 10, .mock_rows = N, .shuffle = true, .seed = 3};
        nf_dataset *a = NULL, *b = NULL, *c = NULL;
        permutations &= nf_dataset_open(mesh, &arg, &a) == NF_OK;
        arg.seed = 4;
        permutations &= nf_dataset_open(mesh, &arg, &b) == NF_OK;
        arg.shuffle = false;
        permutations &= nf_dataset_open(mesh, &arg, &c) == NF_OK;
        for (int64_t epoch = 0; epoch < 5 && permutations; epoch++)
            permutations &= is_permutation(a, epoch, N) && is_permutation(b, epoch, N);
        for (int64_t i = 0; i < N && permutations && N >= 64; i++) {
            same_epochs += nf_dataset_order(a, i) == nf_dataset_order(a, N + i);
            same_seeds += nf_dataset_order(a, i) == nf_dataset_order(b, i);
            fixed += nf_dataset_order(a, i) == i;
        }
        for (int64_t i = 0; i < 3 * N && permutations; i++)
            plain &= nf_dataset_order(c, i) == i % N;
        nf_dataset_free(a);
        nf_dataset_free(b);
        nf_dataset_free(c);
    }
    tap_ok(permutations, "every epoch is a permutation of the rows");
    /* Of 493 places about one in each of the 4 sizes agrees by chance: a Poisson number of mean 4. */
    tap_ok(same_epochs < 20 && same_seeds < 20 && fixed < 20, "another one for each epoch and each seed");
    tap_ok(plain, "without shuffling the rows come as they stand");
}

static void mock(void)
{
    struct nf_dataset_arg arg = {.format = NF_FORMAT_MOCK, .seq_len = 30, .vocab = 7, .mock_rows = 5, .seed = 9};
    nf_dataset *data = NULL;
    struct rows r, again;
    int64_t scored = 0, counts[7] = {0};
    const int64_t all[] = {0, 1, 2, 3, 4}, last[] = {4};
    if (!tap_ok(nf_dataset_open(mesh, &arg, &data) == NF_OK && nf_dataset_rows(data) == 5 && !nf_dataset_segmented(data),
                "random rows"))
        return;
    rows_init(&r, 1);
    rows_init(&again, 1);
    bool right = nf_dataset_fetch(data, all, 5, &r.out, &scored) == NF_OK && scored == 5 * 29;
    for (int i = 0; i < 150; i++) {
        right &= r.ids[i] >= 0 && r.ids[i] < 7;
        counts[right ? r.ids[i] : 0]++;
    }
    for (int v = 0; v < 7; v++)
        right &= counts[v] > 0;
    tap_ok(right, "within the vocabulary, and all of it");
    right = nf_dataset_fetch(data, last, 1, &again.out, &scored) == NF_OK && memcmp(again.ids, r.ids + 120, 120) == 0;
    tap_ok(right && memcmp(r.ids, r.ids + 30, 120) != 0, "a row is the same whenever it is fetched, and unlike the others");
    nf_str out = {0};
    nf_dataset_decode(data, (const int32_t[]){3, 4}, 2, &out);
    tap_ok(strcmp(out.text, "<3><4>") == 0 && nf_dataset_encode(data, "x", r.ids, 4) == -1,
           "numbers are shown as numbers, and there is no text");
    nf_str_free(&out);
    nf_dataset_free(data);
}

int main(void)
{
    nf_device *device = NULL;
    tap_open();
    if (tap_ok(make_folder(dir, "t_dataset") && nf_device_host(1, &device) == NF_OK &&
                   nf_mesh_new(NULL, 1, device, &mesh) == NF_OK,
               "a folder and a mesh of one rank")) {
        forming();
        text();
        refusals();
        people();
        order();
        mock();
    }
    nf_mesh_free(mesh);
    nf_device_free(device);
    make_remove(dir);
    return tap_done();
}
