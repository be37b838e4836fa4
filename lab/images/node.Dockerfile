# Every machine of the lab but the database: router, bastion, meters, stranger, admin, home
# server, collector. One image, so that a difference between two machines is a difference of
# configuration.
ARG BASE
FROM ${BASE}

# No service starts while packages are set up, nor later by itself: the lab starts what it wants.
RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d \
 && chmod 755 /usr/sbin/policy-rc.d

# The time service's user, which comes with its package on a Pi.
RUN useradd --system --no-create-home --shell /usr/sbin/nologin systemd-timesync

# dnsmasq-base is dnsmasq without its service. The last line is what the armv7 bastion needs to
# run under user-mode emulation: qemu-arm-static -L /usr/arm-linux-gnueabihf ./bastion
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        iproute2 procps tcpdump \
        nftables iptables conntrack ufw \
        mosquitto mosquitto-clients \
        curl netcat-openbsd nmap \
        dnsmasq-base openssh-server \
        qemu-user-static libc6-armhf-cross libgcc-s1-armhf-cross \
 && rm -rf /var/lib/apt/lists/*
