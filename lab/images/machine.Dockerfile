# What stands around the virtual Pi: the container in which it is emulated, and the one that plays
# the Internet for it (time, packages). Apart from the other machines, since only this tier needs it.
ARG BASE
FROM ${BASE}

RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d \
 && chmod 755 /usr/sbin/policy-rc.d

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        iproute2 procps tcpdump \
        qemu-system-arm qemu-utils \
        busybox chrony \
 && rm -rf /var/lib/apt/lists/*
