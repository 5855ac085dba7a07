# SPDX-License-Identifier: Apache-2.0
# Readers of untrusted text under mutations: t_NAME with the plain driver, run by make check; fuzz_NAME under libFuzzer, built
# and run by scripts/fuzz only (configure --enable-fuzzers).
nf_fuzz_plain = %D%/target.h %D%/mutate.c %D%/driver.c validation/files.c validation/files.h
nf_fuzz_deep = %D%/target.h %D%/mutate.c %D%/libfuzzer.c
check_PROGRAMS += %D%/t_header %D%/t_index %D%/t_config %D%/t_namelist %D%/t_manifest
EXTRA_PROGRAMS += %D%/fuzz_header %D%/fuzz_index %D%/fuzz_config %D%/fuzz_namelist %D%/fuzz_manifest
%C%_t_header_SOURCES = %D%/header.c $(nf_fuzz_plain)
%C%_t_index_SOURCES = %D%/index.c $(nf_fuzz_plain)
%C%_t_config_SOURCES = %D%/config.c $(nf_fuzz_plain)
%C%_t_namelist_SOURCES = %D%/namelist.c $(nf_fuzz_plain)
%C%_t_manifest_SOURCES = %D%/manifest.c $(nf_fuzz_plain)
%C%_fuzz_header_SOURCES = %D%/header.c $(nf_fuzz_deep)
%C%_fuzz_index_SOURCES = %D%/index.c $(nf_fuzz_deep)
%C%_fuzz_config_SOURCES = %D%/config.c $(nf_fuzz_deep)
%C%_fuzz_namelist_SOURCES = %D%/namelist.c $(nf_fuzz_deep)
%C%_fuzz_manifest_SOURCES = %D%/manifest.c $(nf_fuzz_deep)
%C%_fuzz_header_LDADD = libnf.a $(NF_LIBS) $(FUZZ_LIBS)
%C%_fuzz_index_LDADD = libnf.a $(NF_LIBS) $(FUZZ_LIBS)
%C%_fuzz_config_LDADD = libnf.a $(NF_LIBS) $(FUZZ_LIBS)
%C%_fuzz_namelist_LDADD = libnf.a $(NF_LIBS) $(FUZZ_LIBS)
%C%_fuzz_manifest_LDADD = libnf.a $(NF_LIBS) $(FUZZ_LIBS)
EXTRA_DIST += %D%/seeds
