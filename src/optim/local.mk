libnf_a_SOURCES += %D%/schedule.c %D%/update.c
