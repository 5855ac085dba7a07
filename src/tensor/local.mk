libnf_a_SOURCES += \
	%D%/new.c \
	%D%/view.c
