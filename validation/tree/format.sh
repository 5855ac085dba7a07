# SPDX-License-Identifier: Apache-2.0
# C is formatted by .clang-format, at one version: versions differ.
. "$srcdir/validation/tap.sh"
wanted=14
for tool in clang-format-$wanted clang-format; do
    command -v $tool >/dev/null 2>&1 && break
    tool=
done
[ -n "$tool" ] || tap_skip_all "no clang-format (Debian, Ubuntu: clang-format-$wanted)"
version=$($tool --version | sed 's/.*version \([0-9]*\).*/\1/')
[ "$version" = "$wanted" ] || tap_skip_all "clang-format is version $version, the tree's format is that of $wanted"
cd "$srcdir" || exit 99
find include src validation -name '*.[ch]' ! -path src/config.h ! -path 'validation/tmp/*' -type f | LC_ALL=C sort >"$tap_dir/files"
while read -r file; do
    $tool --style=file "$file" | cmp -s - "$file" || echo "$file"
done <"$tap_dir/files" >"$tap_dir/list"
test -s "$tap_dir/files" && test ! -s "$tap_dir/list"
tap_ok $? "formatted by clang-format $wanted" || tap_note "$tool -i $(tr '\n' ' ' <"$tap_dir/list")"
tap_done
