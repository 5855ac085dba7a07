# SPDX-License-Identifier: Apache-2.0
# attach.pl SNAPSHOT NAME FILE: gives a committed snapshot one more attachment, as if it had been written with it: a copy of FILE under
# NAME, its line in the MANIFEST, and the MANIFEST's own checksum.
use strict;
use warnings;
use Digest::SHA;
my ($dir, $name, $from) = @ARGV;
local $/;
open my $in, '<:raw', $from or die "$from: $!\n";
my $bytes = <$in>;
open my $out, '>:raw', "$dir/$name" or die "$dir/$name: $!\n";
print $out $bytes;
close $out or die "$dir/$name: $!\n";
my $crc = 0xffffffff; # CRC-32C
for my $byte (unpack 'C*', $bytes) {
    $crc ^= $byte;
    $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
}
open my $manifest, '<:raw', "$dir/MANIFEST" or die "$dir/MANIFEST: $!\n";
my $text = <$manifest>;
$text =~ s/^sha256 .*\n\z//m or die "$dir/MANIFEST: no checksum\n";
$text =~ s/^files (\d+)$/sprintf 'files %d', $1 + 1/me or die "$dir/MANIFEST: no count of files\n";
$text =~ s/^(file [^\n]*\n)(?!file )/sprintf "%sfile %d %08x %s\n", $1, length $bytes, $crc ^ 0xffffffff, $name/me or die "$dir/MANIFEST: no files\n";
open $manifest, '>:raw', "$dir/MANIFEST" or die "$dir/MANIFEST: $!\n";
print $manifest $text, 'sha256 ', Digest::SHA::sha256_hex($text), "\n";
close $manifest or die "$dir/MANIFEST: $!\n";
