# SPDX-License-Identifier: Apache-2.0
# digest.pl SNAPSHOT ...: for each directory one line: step; SHA-256 of all that its run goes on from: how far it is, and every
# tensor's bytes as they lie in the ranks' files, in the order of the tensors; SHA-256 of what evaluations found, or "due" if the one of
# this step was broken off by a signal. It reads the MANIFEST for places only and believes no checksum. A snapshot that cannot be read
# so ends it with status 1.
use strict;
use warnings;
use Digest::SHA;
my %size = (fp32 => 4, bf16 => 2, i16 => 2, u16 => 2, fp64 => 8, i32 => 4);
for my $dir (@ARGV) {
    my $sha = Digest::SHA->new(256);
    my $evaluated = Digest::SHA->new(256);
    my (@tensor, $step, $ranks, %file);
    open my $manifest, '<', "$dir/MANIFEST" or die "$dir/MANIFEST: $!\n";
    while (my $line = <$manifest>) {
        chomp $line;
        $step = $1 if $line =~ /^step (\d+)$/;
        # what the run goes on with; not by which start of the program, and not when, it was written
        $sha->add("$line\n") if $line =~ /^(step|row|updates|skipped|\w+_seed|model|data) /;
        $evaluated->add("$line\n") if $line =~ /^(best_step|best_loss|last_loss|finished) /;
        if ($line =~ /^tensor (\S+) (\S+) (\d+) (.*)$/) {
            die "$dir: unknown type $2\n" unless $size{$2};
            push @tensor, [$1, $size{$2}];
            $sha->add("$line\n");
        }
        next unless $line =~ /^piece (\d+) (\d+) (\d+) (\d+) (\d+) /;
        my ($t, $f, $count, $at) = ($1, $2, $4, $5);
        my $name = sprintf '%s/rank-%05d.h5', $dir, $f;
        $file{$f} or open $file{$f}, '<:raw', $name or die "$name: $!\n";
        my $bytes = $count * $tensor[$t][1];
        seek($file{$f}, $at, 0) && read($file{$f}, my $data, $bytes) == $bytes or die "$name: ends before byte ", $at + $bytes, "\n";
        $sha->add($data);
    }
    die "$dir: no step, or no tensors\n" unless defined $step && @tensor;
    open my $state, '<', "$dir/state.txt" or die "$dir/state.txt: $!\n";
    my $due = grep { /^evaluation_due = 1$/ } <$state>;
    print "$step ", $sha->hexdigest, ' ', $due ? 'due' : $evaluated->hexdigest, "\n";
}
