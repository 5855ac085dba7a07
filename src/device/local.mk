libnf_a_SOURCES += \
	%D%/copy.c \
	%D%/event.c \
	%D%/host.c \
	%D%/private.h \
	%D%/queue.c
