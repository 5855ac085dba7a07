# SPDX-License-Identifier: Apache-2.0
# nemafit(5) is made by the program from its table of parameters, between a written head and foot.
dist_man_MANS += %D%/nemafit.1
man_MANS += %D%/nemafit.5
nobase_dist_doc_DATA += %D%/dataset.md %D%/design.md %D%/input.md %D%/numerics.md %D%/parallelism.md %D%/performance.md %D%/snapshot.md
EXTRA_DIST += %D%/nemafit.5.head %D%/nemafit.5.foot
CLEANFILES += %D%/nemafit.5

%D%/nemafit.5: %D%/nemafit.5.head %D%/nemafit.5.foot src/nemafit$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) %D% && rm -f $@ && \
	ASAN_OPTIONS=detect_leaks=0 src/nemafit$(EXEEXT) --manual-body >$@.body && \
	cat $(srcdir)/%D%/nemafit.5.head $@.body $(srcdir)/%D%/nemafit.5.foot >$@.tmp && \
	rm -f $@.body && mv $@.tmp $@
nobase_dist_doc_DATA += %D%/reliability.md %D%/gpu-check.txt %D%/curves.svg
