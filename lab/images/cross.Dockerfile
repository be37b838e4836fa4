# Where `cross` compiles: the Pi's programs against Debian 12's armhf glibc (which asks for
# GLIBC 2.34 at least), the LAN server's programs static against musl.
ARG BASE
FROM ${BASE}

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        gcc libc6-dev \
        gcc-arm-linux-gnueabihf libc6-dev-armhf-cross \
        musl-tools \
        tini \
 && rm -rf /var/lib/apt/lists/*

# For musl only the C compiler is named: rustc links a static program by itself, and with
# musl-gcc as its linker the result would ask for musl's loader.
ENV CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc \
    CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc \
    AR_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-ar \
    CC_x86_64_unknown_linux_musl=musl-gcc

# Started as process 1, cross's shell would ignore Ctrl-C, and compile on behind one's back.
ENTRYPOINT ["tini", "-g", "--"]

# What cross 0.2.5 passes to every build besides; declared so that no engine complains.
ARG CROSS_BASE_IMAGE
ARG CROSS_DEB_ARCH
