/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers of safetensors files that are wrong in every known way, each with the code and the words of its refusal; headers that
 * are odd but right; and many thousand damaged ones, of which those accepted must be consistent.
 */
#include "make.h"
#include "tap.h"

#include "nemafit/io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* JSON, bytes of data behind it, and what to find in the diagnosis; NULL: accepted with `count` tensors. */
struct header_case {
    const char *what, *json;
    int64_t data;
    const char *found;
    int64_t count;
};

#define A4(more) "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]" more "}"
#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct header_case cases[] = {
    {"plain", "{" A4("") "}", 4, NULL, 1},
    {"no tensors", "{}", 0, NULL, 0},
    {"metadata", "{\"__metadata__\":{\"format\":\"pt\"}," A4("") "}", 4, NULL, 1},
    {"12 leading white space", " \n{" A4("") "}", 4, NULL, 1},
    {"trailing white space", "{" A4("") "}   ", 4, NULL, 1},
    {"56 empty tensor", ONE("\"F32\"", "[0,3]", "[0,0]"), 0, NULL, 1},
    {"59 scalar", ONE("\"F32\"", "[]", "[0,4]"), 4, NULL, 1},
    {"62 misaligned",
     "{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":["
     "1,5]}}",
     5, NULL, 2},
    {"63 metadata null", "{\"__metadata__\":null," A4("") "}", 4, NULL, 1},
    {"27 unknown field", "{" A4(",\"extra\":[{\"x\":1e3},true]") "}", 4, NULL, 1},
    {"out of order", "{\"b\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[4,12]}," A4("") "}", 12, NULL, 2},
    {"F4 even", ONE("\"F4\"", "[2]", "[0,1]"), 1, NULL, 1},

    {"08 invalid UTF-8", "{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "ST-005: byte 0xff is not valid UTF-8 (line 1, column 4, header byte 3)", 0},
    {"08 overlong", "{\"a\xc0\xaf\":{}}", 4, "ST-005", 0},
    {"08 surrogate as bytes", "{\"a\xed\xa0\x80\":{}}", 4, "ST-005", 0},
    {"08 above U+10FFFF", "{\"a\xf4\x90\x80\x80\":{}}", 4, "ST-005", 0},
    {"09 truncated JSON", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],", 4, "ST-006: not JSON: ends where", 0},
    {"09 open string", "{\"a", 4, "ST-006: not JSON: a string without an end", 0},
    {"10 garbage behind", "{" A4("") "}x", 4, "ST-006: not JSON: 'x' where the end should stand", 0},
    {"11 array", "[]", 0, "ST-007", 0},
    {"11 number", "12", 0, "ST-007", 0},
    {"11 string", "\"x\"", 0, "ST-007", 0},
    {"11 null", "null", 0, "ST-007", 0},
    {"13 byte order mark", "\xef\xbb\xbf{" A4("") "}", 4, "ST-006: starts with a byte order mark", 0},
    {"15 duplicate, same", "{" A4("") "," A4("") "}", 4, "ST-008: key 'a' stands twice (header bytes 1 and 54)", 0},
    {"16 duplicate, other", "{" A4("") ",\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
     "ST-008: key 'a' stands twice", 0},
    {"17 duplicate field", "{" A4(",\"dtype\":\"F32\"") "}", 4, "ST-008: tensor 'a': 'dtype' stands twice", 0},
    {"18 duplicate by escape",
     "{\"e\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"\\u0065\":{\"dtype\":\"F32\",\"shape\":[1],\"data_"
     "offsets\":[0,4]}}",
     4, "ST-008: key 'e' stands twice", 0},
    {"19 duplicate metadata", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "ST-008: key '__metadata__' stands twice", 0},
    {"20 metadata number", "{\"__metadata__\":{\"a\":1}}", 0, "ST-009", 0},
    {"21 metadata nested", "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "ST-009", 0},
    {"22 unknown dtype", ONE("\"I33\"", "[1]", "[0,4]"), 4, "ST-010: tensor 'a': unknown dtype 'I33'; known are", 0},
    {"23 lower case", ONE("\"i32\"", "[1]", "[0,4]"), 4, "ST-010: tensor 'a': unknown dtype 'i32'", 0},
    {"dtype number", ONE("4", "[1]", "[0,4]"), 4, "ST-010", 0},
    {"24 no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "ST-011: tensor 'a': 'dtype' is missing", 0},
    {"25 no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "ST-011: tensor 'a': 'shape' is missing", 0},
    {"26 no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "ST-011: tensor 'a': 'data_offsets' is missing", 0},
    {"28 negative", ONE("\"F32\"", "[-1]", "[0,4]"), 4, "ST-013: tensor 'a': dimension 0 (-1) is negative", 0},
    {"29 2.0", ONE("\"F32\"", "[1,2.0]", "[0,8]"), 8, "ST-013: tensor 'a': dimension 1 (2.0) is not an integer", 0},
    {"30 2e0", ONE("\"F32\"", "[2e0]", "[0,8]"), 8, "ST-013: tensor 'a': dimension 0 (2e0) is not an integer", 0},
    {"31 string", ONE("\"F32\"", "[\"2\"]", "[0,8]"), 8, "ST-013: tensor 'a': dimension 0 is not an integer", 0},
    {"32 2^64", ONE("\"F32\"", "[18446744073709551616]", "[0,8]"), 8,
     "ST-013: tensor 'a': dimension 0 (18446744073709551616) does not fit in 64 bits", 0},
    {"33 product wraps to 0", ONE("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "ST-014", 0},
    {"34 product wraps to 4", ONE("\"U8\"", "[4611686018427387905,4]", "[0,4]"), 4, "ST-014", 0},
    {"35 bytes wrap", ONE("\"F64\"", "[2305843009213693953]", "[0,8]"), 8, "ST-014", 0},
    {"36 shape too large", ONE("\"F32\"", "[2]", "[0,4]"), 4,
     "ST-015: tensor 'a': shape and dtype need 8 bytes, data_offsets give 4", 0},
    {"37 shape too small", ONE("\"F32\"", "[1]", "[0,8]"), 8,
     "ST-015: tensor 'a': shape and dtype need 4 bytes, data_offsets give 8", 0},
    {"38 negative offset", ONE("\"F32\"", "[1]", "[-4,0]"), 4, "ST-016: tensor 'a': offset -4 is negative", 0},
    {"39 end before begin", ONE("\"F32\"", "[1]", "[4,0]"), 4, "ST-017: tensor 'a': data_offsets [4, 0] end before they begin",
     0},
    {"40 truncated data", "{" A4("") ",\"b\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[4,20]}}", 10,
     "ST-018: tensor 'b': the file ends before it does: 10 bytes are missing", 0},
    {"41 one offset", ONE("\"F32\"", "[1]", "[4]"), 4, "ST-016: tensor 'a': data_offsets has one number, not two", 0},
    {"42 three offsets", ONE("\"F32\"", "[1]", "[0,4,8]"), 8, "ST-016: tensor 'a': data_offsets has more than two numbers", 0},
    {"43 full overlap", "{" A4("") ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "ST-019: tensor 'b': its bytes overlap those of tensor 'a'", 0},
    {"44 partial overlap", "{" A4("") ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}", 6,
     "ST-019: tensor 'b': its bytes overlap those of tensor 'a'", 0},
    {"45 hole in the middle", "{" A4("") ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12,
     "ST-020: tensor 'b': bytes [4, 8) of the data before it belong to no tensor", 0},
    {"46 hole at the start", ONE("\"F32\"", "[1]", "[4,8]"), 8, "ST-020: tensor 'a': bytes [0, 4)", 0},
    {"47 trailing bytes", "{" A4("") "}", 9, "ST-021: 5 bytes stand behind the last tensor", 0},
    {"48 begin near 2^64", ONE("\"F32\"", "[2]", "[18446744073709551608,18446744073709551615]"), 8,
     "ST-016: tensor 'a': offset 18446744073709551608 is beyond the end of any file", 0},
    {"48 begin near 2^63", ONE("\"F32\"", "[2]", "[9223372036854775800,9223372036854775808]"), 8, "ST-016", 0},
    {"50 empty name", "{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "ST-023: tensor '': the name is empty", 0},
    {"51 NUL in name", "{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "ST-023: tensor 'a\\x00b': the name holds a control byte", 0},
    {"52 ESC in name", "{\"\\u001b[31m\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "ST-023: tensor '\\x1b[31m': the name holds a control byte", 0},
    {"54 lone surrogate", "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "ST-005: half of a surrogate pair", 0},
    {"54 lone low surrogate", "{\"\\udc00x\":{}}", 4, "ST-005", 0},
    {"54 high with high", "{\"\\ud800\\ud800\":{}}", 4, "ST-005", 0},
    {"57 0 x huge", ONE("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"), 0, "ST-014", 0},
    {"57b huge x 0", ONE("\"F32\"", "[4294967296,4294967296,0]", "[0,0]"), 0, "ST-014", 0},
    {"58 F4 odd count", ONE("\"F4\"", "[3]", "[0,1]"), 1, "ST-025: tensor 'a': 3 elements of F4 do not fill whole bytes", 0},
    {"64 tensor null", "{\"a\":null}", 0, "ST-011: tensor 'a': is not an object", 0},
    {"64 tensor number", "{\"a\":1}", 0, "ST-011", 0},
    {"64 tensor array", "{\"a\":[1]}", 0, "ST-011", 0},
    {"65 single quotes", "{'a':1}", 0, "ST-006", 0},
    {"66 comment", "{/* x */}", 0, "ST-006", 0},
    {"67 trailing comma", "{" A4("") ",}", 4, "ST-006: not JSON: '}' where another element should stand", 0},
    {"67 trailing comma in array", ONE("\"F32\"", "[1,]", "[0,4]"), 4, "ST-006", 0},
    {"missing colon", "{\"a\" {}}", 4, "ST-006", 0},
    {"missing comma", "{" A4("") " \"b\":1}", 4, "ST-006", 0},
    {"raw control byte in a string", "{\"a\n\":1}", 4, "ST-006: not JSON: control byte 0x0a in a string", 0},
    {"bad escape", "{\"\\x41\":1}", 4, "ST-006: not JSON: an escape that does not exist", 0},
    {"bad \\u", "{\"\\u12g4\":1}", 4, "ST-006: not JSON: an escape that does not exist", 0},
    {"NaN", ONE("\"F32\"", "[NaN]", "[0,4]"), 4, "ST-013", 0},
    {"68 leading zero", ONE("\"F32\"", "[1]", "[00,4]"), 4, "ST-006: not JSON: a number with a leading zero", 0},
    {"69 -0", ONE("\"F32\"", "[1]", "[-0,4]"), 4, "ST-016: tensor 'a': offset -0 is negative", 0},
    {"offset 4.0", ONE("\"F32\"", "[1]", "[0,4.0]"), 4, "ST-016: tensor 'a': offset 4.0 is not an integer", 0},
    {"offsets object", ONE("\"F32\"", "[1]", "{}"), 4, "ST-016: tensor 'a': data_offsets is not an array", 0},
    {"shape object", ONE("\"F32\"", "{}", "[0,4]"), 4, "ST-013: tensor 'a': shape is not an array", 0},
    {"71 metadata like a tensor", "{\"__metadata__\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "ST-009",
     0},
    {"metadata array", "{\"__metadata__\":[]}", 0, "ST-009", 0},
    {"9 dimensions", ONE("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "ST-024: tensor 'a': more than 8 dimensions", 0},
};

static nf_status parse(const char *json, size_t n, int64_t data, int64_t *count)
{
    struct nf_st_entry *entries = NULL;
    const nf_status status = nf_st_header_parse("dir/x.safetensors", json, n, 8 + n + (uint64_t)data, &entries, count);
    if (status == NF_OK)
        nf_st_entries_free(entries, *count);
    return status;
}

static void table(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct header_case *c = &cases[i];
        int64_t count = -1;
        const nf_status status = parse(c->json, strlen(c->json), c->data, &count);
        if (c->found) {
            tap_ok(make_diagnosed(status, NF_EDATA, c->found), "refused: %s", c->what);
        } else {
            tap_ok(status == NF_OK && count == c->count, "accepted: %s", c->what);
            if (status != NF_OK)
                tap_note("%s", nf_diagnosis());
            nf_diagnosis_clear();
        }
    }
}

/* Cases too large to write down. */
static void made(void)
{
    nf_str s = {0};
    int64_t count;
    nf_str_add(&s, "{\"a\":");
    for (int i = 0; i < 200000; i++)
        nf_str_add(&s, "[");
    tap_ok(make_diagnosed(parse(s.text, s.len, 0, &count), NF_EDATA, "ST-022: nested deeper than 64"),
           "refused: 49 200,000 deep");
    nf_str_free(&s);

    s = (nf_str){0};
    nf_str_add(&s, "{\"");
    for (int i = 0; i < 65536; i++)
        nf_str_add(&s, "n");
    nf_str_add(&s, "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    tap_ok(make_diagnosed(parse(s.text, s.len, 4, &count), NF_EDATA, "the name is longer than 1024 bytes"),
           "refused: 53 name of 64 KiB");
    nf_str_free(&s);

    s = (nf_str){0};
    nf_str_add(&s, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1");
    for (int i = 1; i < 100000; i++)
        nf_str_add(&s, ",1");
    nf_str_add(&s, "],\"data_offsets\":[0,4]}}");
    tap_ok(make_diagnosed(parse(s.text, s.len, 4, &count), NF_EDATA, "ST-024: tensor 'a': more than 8 dimensions"),
           "refused: 55 100,000 dimensions");
    nf_str_free(&s);

    s = (nf_str){0};
    nf_str_add(&s, "{\"a\":{\"dtype\":\"F32\",\"shape\":[");
    for (int i = 0; i < 100000; i++)
        nf_str_add(&s, "7");
    nf_str_add(&s, "],\"data_offsets\":[0,4]}}");
    tap_ok(make_diagnosed(parse(s.text, s.len, 4, &count), NF_EDATA,
                          "ST-013: tensor 'a': dimension 0 (777777777777777777777777...) does not fit"),
           "refused: 78 number of 100,000 digits");
    nf_str_free(&s);

    for (int n = 262144; n <= 262145; n++) {
        s = (nf_str){0};
        for (int i = 0; i < n; i++)
            nf_str_addf(&s, "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "{", i);
        nf_str_add(&s, "}");
        const nf_status status = parse(s.text, s.len, 0, &count);
        if (n == 262144)
            tap_ok(status == NF_OK && count == n, "accepted: as many tensors as a file may hold");
        else
            tap_ok(make_diagnosed(status, NF_EDATA, "ST-028"), "refused: 70 one tensor more");
        nf_str_free(&s);
    }

    char nul[128];
    const int n = snprintf(nul, sizeof nul, "{" A4("") "}");
    memset(nul + n, 0, 8);
    tap_ok(make_diagnosed(parse(nul, (size_t)n + 8, 4, &count), NF_EDATA,
                          "ST-006: not JSON: a NUL byte where the end should stand"),
           "refused: 14 NUL padding");
    tap_ok(make_diagnosed(parse(nul, 0, 4, &count), NF_EDATA, "ST-004"), "refused: 07 empty header");
    struct nf_st_entry *entries;
    tap_ok(make_diagnosed(nf_st_header_parse("x", "{}", 2, 9, &entries, &count), NF_EDATA,
                          "ST-002: header says 2 bytes, file has 9 bytes"),
           "refused: header longer than the file");
}

/* ---- whole files ----------------------------------------------------------------------------------------------------------
 */

struct file_case {
    const char *what;
    const char *bytes;
    size_t n;
    const char *found;
};
#define BYTES(text) text, sizeof(text) - 1

static const struct file_case files[] = {
    {"01 empty file", BYTES(""), "ST-001: file has 0 bytes, need >= 8"},
    {"02 7 bytes", BYTES("\2\0\0\0\0\0\0"), "ST-001: file has 7 bytes"},
    {"03 header longer than file", BYTES("\x10\0\0\0\0\0\0\0{}"), "ST-002: header says 16 bytes, file has 10 bytes"},
    {"04 2^64 - 1", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "ST-002: header says 18446744073709551615 bytes"},
    {"05 2^64 - 8", BYTES("\xf8\xff\xff\xff\xff\xff\xff\xff{}"), "ST-002: header says 18446744073709551608 bytes"},
    {"06 above the limit", BYTES("\x01\xe1\xf5\x05\0\0\0\0{}"), "ST-003: header says 100000001 bytes"},
    {"07 no header", BYTES("\0\0\0\0\0\0\0\0"), "ST-004: empty header"},
    {"72 git-LFS pointer", BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
     "ST-040: this is a git-LFS pointer"},
    {"73 web page", BYTES("<!DOCTYPE html>\n<html><body>404</body></html>"), "ST-041"},
    {"73 web page after blanks", BYTES("\n  <html><body>Sorry</body></html>"), "ST-041"},
    {"74 pickle", BYTES("\x80\x02}q\x01X\x04\0\0\0abcd"), "ST-042: this is a PyTorch pickle"},
    {"75 zip", BYTES("PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0"), "ST-042: this is a PyTorch pickle"},
    {"76 GGUF", BYTES("GGUF\x03\0\0\0\0\0\0\0"), "ST-043: this is a GGUF file"},
    {"77 big-endian length", BYTES("\0\0\0\0\0\0\0\2{}"), "ST-044: the header length is big-endian (2 bytes)"},
};

static void whole_files(void)
{
    char dir[256], path[300];
    nf_device *device;
    nf_mesh *mesh;
    if (!tap_ok(make_folder(dir, "t_header") && nf_device_host(1, &device) == NF_OK &&
                    nf_mesh_new(NULL, 1, device, &mesh) == NF_OK,
                "a folder and a mesh of one rank"))
        return;
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        nf_st *st = NULL;
        const bool made_it = make_file(path, files[i].bytes, files[i].n);
        tap_ok(made_it && make_diagnosed(nf_st_open_file(mesh, path, &st), NF_EDATA, files[i].found), "refused: %s",
               files[i].what);
        nf_st_free(st);
    }
    nf_st *st = NULL;
    make_text(path, "\2");
    FILE *f = fopen(path, "wb");
    if (f) {
        fwrite("\2\0\0\0\0\0\0\0{}", 1, 10, f);
        fclose(f);
    }
    tap_ok(nf_st_open_file(mesh, path, &st) == NF_OK && nf_st_count(st) == 0, "accepted: a file without tensors");
    nf_st_free(st);
    nf_mesh_free(mesh);
    nf_device_free(device);
    make_remove(dir);
}

int main(void)
{
    tap_open();
    table();
    made();
    whole_files();
    return tap_done();
}
