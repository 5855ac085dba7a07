# SPDX-License-Identifier: Apache-2.0
# column.awk: print one named column (-v name=loss) of log.csv, rows without it left out.
BEGIN { FS = "," }
NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
c && $c != "" { print $c }
