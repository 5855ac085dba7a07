/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure parts of snapshots: checksums against published vectors, the MANIFEST's text and back, and its reader under
 * everything that a damaged file or a malicious hand can hold.
 */
#include "../../src/io/hdf5/private.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void crc_vectors(void)
{
    unsigned char b[48], big[4099];
    memset(b, 0, 32);
    tap_ok(nf_crc32c(0, b, 32) == 0x8a9136aa, "CRC32C of 32 zeros (RFC 3720)");
    memset(b, 0xff, 32);
    tap_ok(nf_crc32c(0, b, 32) == 0x62a8ab43, "of 32 bytes 0xff");
    for (int i = 0; i < 32; i++)
        b[i] = (unsigned char)i;
    tap_ok(nf_crc32c(0, b, 32) == 0x46dd794e, "of 0 to 31");
    tap_ok(nf_crc32c(0, "123456789", 9) == 0xe3069283 && nf_crc32c(0, "", 0) == 0, "of the check string, and of nothing");
    uint64_t x = 1;
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (unsigned char)((x = x * 6364136223846793005u + 1442695040888963407u) >> 56);
    bool same = true;
    for (size_t n = 0; n < 200; n++)
        for (size_t from = 0; from < 9; from++)
            same &= nf_crc32c(0, big + from, n) == nf_crc32c_table(0, big + from, n);
    tap_ok(same && nf_crc32c(0, big, sizeof big) == nf_crc32c_table(0, big, sizeof big), "instruction and table agree");
    tap_ok(nf_crc32c(nf_crc32c(0, big, 1001), big + 1001, sizeof big - 1001) == nf_crc32c(0, big, sizeof big), "in parts, too");
}

static bool sha_is(const char *text, size_t n, size_t times, size_t part, const char *wanted)
{
    struct nf_sha256 s;
    char hex[65];
    nf_sha256_start(&s);
    for (size_t k = 0; k < times; k++)
        for (size_t i = 0; i < n; i += part)
            nf_sha256_add(&s, text + i, n - i < part ? n - i : part);
    nf_sha256_end(&s, hex);
    return strcmp(hex, wanted) == 0;
}

static void sha_vectors(void)
{
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", a[] = "aaaaaaaaaa";
    tap_ok(sha_is("", 0, 1, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
           "SHA-256 of nothing (FIPS 180)");
    tap_ok(sha_is("abc", 3, 1, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"), "of abc");
    tap_ok(sha_is(two, 56, 1, 7, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
           "of two blocks, in parts");
    tap_ok(sha_is(a, 10, 100000, 10, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"), "of a million a");
}

/* ---- the MANIFEST ---------------------------------------------------------------------------------------------------------
 */

static char *copy(const char *s)
{
    char *c = malloc(strlen(s) + 1);
    return c ? strcpy(c, s) : NULL;
}

static struct nf_h5_manifest sample(void)
{
    struct nf_h5_manifest m = {.meta = {.generation = 3,
                                        .step = 100,
                                        .row = 6400,
                                        .updates = 99,
                                        .best_step = -1,
                                        .ranks = 2,
                                        .ep = 2,
                                        .train_seed = UINT64_MAX,
                                        .csv_bytes = -1,
                                        .jsonl_bytes = 12,
                                        .best_loss = 1.5,
                                        .finished = true}};
    strcpy(m.meta.program, "nemafit 0.1");
    strcpy(m.meta.model, "0123456789abcdef");
    strcpy(m.run, "00000000000000000000000000000001");
    m.file = calloc(5, sizeof *m.file);
    m.file[0] = (struct nf_h5_file){copy("rank-00000.h5"), 1000, 1};
    m.file[1] = (struct nf_h5_file){copy("rank-00001.h5"), 2000, 0xffffffff};
    m.file[2] = (struct nf_h5_file){copy("checksums"), 8, 7};
    m.file[3] = (struct nf_h5_file){copy("input.used.nml"), 0, 0};
    m.files = 4;
    m.tensor = calloc(3, sizeof *m.tensor);
    m.tensor[0] = (struct nf_h5_tensor){copy("weights"), copy("a.weight"), NF_F32, 2, {4, 5}};
    m.tensor[1] = (struct nf_h5_tensor){copy("m"), copy("a name with blanks"), NF_BF16, 1, {6}};
    m.tensors = 2;
    m.piece = calloc(4, sizeof *m.piece);
    m.piece[0] = (struct nf_h5_piece){0, 0, 0, 15, 96, 11};
    m.piece[1] = (struct nf_h5_piece){0, 1, 15, 5, 96, 12};
    m.piece[2] = (struct nf_h5_piece){1, 1, 0, 6, 1988, 13};
    m.pieces = 3;
    return m;
}

static void round_trip(nf_str *text)
{
    struct nf_h5_manifest m = sample(), back = {0};
    nf_str again = {0};
    tap_ok(nf_h5_manifest_print(&m, text) == NF_OK, "printed");
    tap_ok(nf_h5_manifest_parse("M", text->text, text->len, &back) == NF_OK, "parsed");
    tap_note("%s", nf_diagnosis());
    tap_ok(nf_h5_manifest_print(&back, &again) == NF_OK && again.len == text->len &&
               memcmp(again.text, text->text, text->len) == 0,
           "and printed again: the same text");
    tap_ok(back.piece_of && back.piece_of[0] == 0 && back.piece_of[1] == 2 && back.piece_of[2] == 3 && back.meta.finished &&
               back.meta.train_seed == UINT64_MAX,
           "with what was put in");
    nf_str_free(&again);
    nf_h5_manifest_free(&m);
    nf_h5_manifest_free(&back);
}

/* One change in the body, for which there is a reason to refuse it. */
static void refused(const nf_str *text, const char *from, const char *to, const char *why)
{
    const char *at = strstr(text->text, from);
    nf_str changed = {0};
    struct nf_h5_manifest m = {0};
    bool right = at != NULL;
    if (right) {
        nf_str_addn(&changed, text->text, (size_t)(at - text->text));
        nf_str_add(&changed, to);
        nf_str_add(&changed, at + strlen(from));
        changed.len -= 72; /* the last line */
        right = nf_h5_manifest_body("M", changed.text, changed.len, &m) == NF_EDATA && strstr(nf_diagnosis(), why);
    }
    if (!tap_ok(right, "refused: %s -> %.40s", from, strcmp(to, "\n") ? to : "(empty line)"))
        tap_note("%s", nf_diagnosis());
    nf_diagnosis_clear();
    nf_h5_manifest_free(&m);
    nf_str_free(&changed);
}

static void refusals(const nf_str *text)
{
    refused(text, "nemafit-snapshot 1", "nemafit-snapshot 2", "has format 2, this version of the program reads format 1");
    refused(text, "nemafit-snapshot 1", "something", "is not the MANIFEST of a snapshot");
    refused(text, "step 100", "step 0100", "line 5: a number is expected");
    refused(text, "step 100", "step -100", "line 5: a number is expected");
    refused(text, "step 100", "step 9223372036854775808", "line 5: a number is too large");
    refused(text, "step 100", "step 99999999999999999999", "line 5: a number is expected");
    refused(text, "step 100", "step 100 ", "line 5");
    refused(text, "step 100\n", "", "line 5: 'step' is expected");
    refused(text, "best_step -1", "best_step -2", "line 9: a number is expected");
    refused(text, "finished 1", "finished 2", "too large");
    refused(text, "model 0123456789abcdef", "model 0123456789abcdeg", "a fingerprint is expected");
    refused(text, "ranks 2", "ranks 0", "too small");
    refused(text, "ranks 2", "ranks 3", "is not the name of such a file");
    refused(text, "ep 2", "ep 3", "too large");
    refused(text, "files 4", "files 1", "is not the number");
    refused(text, "files 4", "files 9000000000000000000", "counts more than follows");
    refused(text, "rank-00001.h5", "rank-00000.h5", "is not the name of such a file");
    refused(text, "input.used.nml", "../../etc/passwd", "is not the name of such a file");
    refused(text, "input.used.nml", ".hidden", "is not the name of such a file");
    refused(text, "input.used.nml", "checksums", "a file is listed twice");
    refused(text, "input.used.nml", "rank-00001.h5", "a file is listed twice");
    refused(text, "ffffffff rank", "fffffff rank", "hexadecimal digits are expected");
    refused(text, "fp32 2 4 5", "fp31 2 4 5", "an element type is expected");
    refused(text, "fp32 2 4 5", "fp32 4 4 5", "too large");
    refused(text, "fp32 2 4 5", "fp32 2 0 5", "a shape is impossible");
    refused(text, "fp32 2 4 5", "fp32 2 4611686018427387904 4611686018427387904", "a shape is impossible");
    refused(text, "fp32 2 4 5", "fp32 2 4 6", "elements of a tensor are in no piece, or in two");
    refused(text, "a.weight", "a.\tweight", "has a control byte");
    refused(text, "piece 0 0 0 15", "piece 0 0 0 14", "elements of a tensor are in no piece, or in two");
    refused(text, "piece 0 0 0 15", "piece 0 0 0 16", "elements of a tensor are in no piece, or in two");
    refused(text, "piece 0 0 0 15", "piece 0 0 0 0", "a piece reaches beyond its tensor");
    refused(text, "piece 0 0 0 15", "piece 0 0 9223372036854775807 9223372036854775807", "a piece reaches beyond its tensor");
    refused(text, "piece 0 0 0 15", "piece 2 0 0 15", "too large");
    refused(text, "piece 0 0 0 15", "piece 0 2 0 15", "too large");
    refused(text, "piece 0 0 0 15 96", "piece 0 0 0 15 941", "a piece reaches beyond its file");
    refused(text, "piece 0 0 0 15 96", "piece 0 0 0 15 9223372036854775807", "a piece reaches beyond its file");
    refused(text, "pieces 3", "pieces 2", "line");
    refused(text, "pieces 3", "pieces 4", "line");
}

/* Every bit of the file, its length, and random bytes: nothing is taken for whole, and nothing crashes. */
static void damage(const nf_str *text)
{
    struct nf_h5_manifest m = {0};
    char *bytes = malloc(text->len + 1);
    int64_t accepted = 0;
    for (size_t i = 0; i < text->len * 8; i++) {
        memcpy(bytes, text->text, text->len);
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        accepted += nf_h5_manifest_parse("M", bytes, text->len, &m) == NF_OK;
        nf_diagnosis_clear();
    }
    tap_ok(accepted == 0, "each of %zu bits is found when it flips", text->len * 8);
    for (size_t n = 0; n < text->len; n++) {
        char *cut = malloc(n + 1); /* of its own size, so that a sanitizer sees a step too far */
        memcpy(cut, text->text, n);
        accepted += nf_h5_manifest_parse("M", cut, n, &m) == NF_OK;
        nf_diagnosis_clear();
        accepted += nf_h5_manifest_body("M", cut, n, &m) == NF_OK && n != text->len - 72;
        nf_diagnosis_clear();
        nf_h5_manifest_free(&m);
        free(cut);
    }
    tap_ok(accepted == 0, "and so is every truncation");
    uint64_t x = 12345;
    int64_t same = 0;
    for (int k = 0; k < 20000; k++) { /* behind the checksum: mutations that a parser must survive */
        size_t n = text->len - 72;
        memcpy(bytes, text->text, n);
        for (int j = 0; j <= k % 4; j++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            const size_t at = (size_t)(x >> 33) % n, from = (size_t)(x >> 13) % n;
            if (x % 3 == 0)
                bytes[at] = (char)(x >> 56);
            else if (x % 3 == 1)
                memmove(bytes + at, bytes + from, (at > from ? n - at : n - from) / 2);
            else
                bytes[at] = "0123456789 \n-"[(x >> 40) % 13];
        }
        same += nf_h5_manifest_body("M", bytes, n, &m) == NF_OK;
        nf_diagnosis_clear();
        nf_h5_manifest_free(&m);
    }
    tap_ok(same < 20000, "20000 mutations behind the checksum are survived; %lld are still a MANIFEST", (long long)same);
    free(bytes);
}

int main(void)
{
    nf_str text = {0};
    tap_open();
    crc_vectors();
    sha_vectors();
    round_trip(&text);
    refusals(&text);
    damage(&text);
    nf_str_free(&text);
    return tap_done();
}
