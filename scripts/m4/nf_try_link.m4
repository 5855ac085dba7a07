# SPDX-License-Identifier: Apache-2.0
# NF_TRY_LINK(CPPFLAGS, LIBS, PROLOGUE, BODY, IF-YES, IF-NO): link a real call, so that wrong libraries are found here.
AC_DEFUN([NF_TRY_LINK],
[nf_save_CPPFLAGS=$CPPFLAGS
nf_save_LIBS=$LIBS
CPPFLAGS="$1 $CPPFLAGS"
LIBS="$2 $LIBS"
AC_LINK_IFELSE([AC_LANG_PROGRAM([$3], [$4])], [nf_linked=yes], [nf_linked=no])
CPPFLAGS=$nf_save_CPPFLAGS
LIBS=$nf_save_LIBS
AS_IF([test "$nf_linked" = yes], [$5], [$6])])

# NF_PACKAGE(VAR, WHAT, MODULES, FALLBACK-CPPFLAGS, FALLBACK-LIBS): fill VAR_CPPFLAGS and VAR_LIBS. What the user set is kept;
# else the first pkg-config module there is; else the fall-back. nf_VAR_from says which, for messages.
AC_DEFUN([NF_PACKAGE],
[AC_REQUIRE([NF_PKG_CONFIG])dnl
AC_ARG_VAR([$1_CPPFLAGS], [preprocessor flags for $2, instead of what pkg-config says])
AC_ARG_VAR([$1_LIBS], [linker flags for $2, instead of what pkg-config says])
nf_$1_from=
AS_IF([test -n "$$1_CPPFLAGS$$1_LIBS"], [nf_$1_from="$1_CPPFLAGS and $1_LIBS as given"],
  [AS_IF([test -n "$PKG_CONFIG"],
     [for nf_module in $3; do
        AS_IF([$PKG_CONFIG --exists "$nf_module" 2>&AS_MESSAGE_LOG_FD],
          [$1_CPPFLAGS=`$PKG_CONFIG --cflags "$nf_module"`
           $1_LIBS=`$PKG_CONFIG --libs "$nf_module"`
           nf_$1_from="pkg-config $nf_module"
           break])
      done])
   AS_IF([test -z "$nf_$1_from"],
     [$1_CPPFLAGS="$4"
      $1_LIBS="$5"
      nf_$1_from="$5 (pkg-config knows none of: $3)"])])])

AC_DEFUN([NF_PKG_CONFIG],
[AC_ARG_VAR([PKG_CONFIG], [path of pkg-config])
AC_PATH_PROGS([PKG_CONFIG], [pkg-config pkgconf])])
