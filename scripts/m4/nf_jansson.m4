# SPDX-License-Identifier: Apache-2.0
# NF_JANSSON: JSON for safetensors headers and config.json.
AC_DEFUN([NF_JANSSON],
[NF_PACKAGE([JANSSON], [jansson], [jansson], [], [-ljansson])
AC_MSG_CHECKING([for jansson through $nf_JANSSON_from])
NF_TRY_LINK([$JANSSON_CPPFLAGS], [$JANSSON_LIBS],
  [[#include <jansson.h>
    #if JANSSON_VERSION_HEX < 0x020b00
    #error "jansson 2.11 or newer is needed"
    #endif]],
  [[json_error_t e; return json_loadb("0", 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e) != 0;]],
  [AC_MSG_RESULT([yes])],
  [AC_MSG_RESULT([no])
   AC_MSG_ERROR([cannot build a jansson 2.11 program through $nf_JANSSON_from: "$JANSSON_CPPFLAGS $JANSSON_LIBS".
  Install:  Debian, Ubuntu: libjansson-dev pkg-config
  Or set:   JANSSON_CPPFLAGS=-I/path/include JANSSON_LIBS="-L/path/lib -ljansson", or PKG_CONFIG_PATH
  The failed test is in config.log.])])])
