# What every part stands on; knows nobody.
libnf_a_SOURCES += \
	%D%/arena.c \
	%D%/die.c \
	%D%/dtype.c \
	%D%/log.c \
	%D%/path.c \
	%D%/pattern.c \
	%D%/status.c \
	%D%/str.c
