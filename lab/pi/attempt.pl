# Attempts to speak to somebody, all at once, from the virtual Pi: `tcp:ADDRESS:PORT` or
# `udp:[ADDRESS]:PORT` each; one line each with what came of it, as the lab's prober says it.
# Perl, since every Debian has it.
use strict;
use warnings;
use Errno qw(EINPROGRESS ECONNREFUSED EHOSTUNREACH ENETUNREACH EACCES EPERM);
use IO::Handle;
use Fcntl;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 AF_INET6);

my %words = (
    ECONNREFUSED, "refused", EHOSTUNREACH, "rejected", ENETUNREACH, "unreachable",
    EACCES, "rejected", EPERM, "rejected",
);
my (%outcomes, %waiting);

sub failed {
    my ($target, $error) = @_;
    $outcomes{$target} = $words{$error} // "error";
}

for my $target (@ARGV) {
    my ($protocol, $address, $port) = $target =~ /^(tcp|udp):\[?([0-9a-f.:]+?)\]?:(\d+)$/ or die "what is $target?\n";
    my $v6 = $address =~ /:/;
    my $packed = inet_pton($v6 ? AF_INET6 : AF_INET, $address) or die "what is $address?\n";
    my $to = $v6 ? pack_sockaddr_in6($port, $packed) : pack_sockaddr_in($port, $packed);
    socket(my $one, $v6 ? AF_INET6 : AF_INET, $protocol eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0) or die "socket: $!\n";
    fcntl($one, F_SETFL, O_NONBLOCK) or die "fcntl: $!\n";
    if (!connect($one, $to) && $! != EINPROGRESS) {
        failed($target, $! + 0);
    } elsif ($protocol eq "udp" && !defined send($one, "is anybody there", 0)) {
        failed($target, $! + 0);
    } else {
        $waiting{$target} = [$one, $protocol];
    }
}

my $end = time + 4;
while (%waiting && time <= $end) {
    my ($reading, $writing) = ("", "");
    for my $pair (values %waiting) {
        vec($reading, fileno $pair->[0], 1) = 1;
        vec($writing, fileno $pair->[0], 1) = 1 if $pair->[1] eq "tcp";
    }
    select($reading, $writing, undef, 0.5);
    for my $target (keys %waiting) {
        my ($one, $protocol) = @{ $waiting{$target} };
        next unless vec($reading, fileno $one, 1) || vec($writing, fileno $one, 1);
        delete $waiting{$target};
        my $error = unpack "i", getsockopt($one, SOL_SOCKET, SO_ERROR);
        if ($error) {
            failed($target, $error);
        } elsif ($protocol eq "tcp") {
            $outcomes{$target} = "open";
        } elsif (defined recv($one, my $said, 100, 0)) {
            $outcomes{$target} = "answered";
        } else {
            failed($target, $! + 0);
        }
    }
}
$outcomes{$_} = "timeout" for keys %waiting;
print qq({"target": "$_", "outcome": "$outcomes{$_}", "errno": null}\n) for @ARGV;
