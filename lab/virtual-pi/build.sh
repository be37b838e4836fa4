#!/bin/sh
# Makes the virtual Pi: FOLDER/{disk.img,kernel,initrd,id_ed25519}. FOLDER holds `sources.list`,
# what this machine's own package sources are. Needs root, mmdebstrap, binfmt for arm, cpio, kmod,
# e2fsprogs and ssh-keygen. `cargo xtask lab --tier vm` starts it.
set -eu
RECIPE=$(cd "$(dirname "$0")" && pwd)
cd "$1"
folder=$(pwd)
KEY=$folder/id_ed25519
export RECIPE KEY
export LC_ALL=C.UTF-8
names() { grep -v '^#' "$RECIPE/$1" | tr '\n' ',' | sed 's/,$//'; }
took() { echo "  $(( $(date +%s) - begun )) s: $1"; }
begun=$(date +%s)

ssh-keygen -q -t ed25519 -N '' -C lab -f "$KEY"

# No script of the kernel package is run: it would make an initrd on the emulated processor, for a
# quarter of an hour. This goes on beside the next step.
mmdebstrap --quiet --architectures=armhf --variant=extract --include=linux-image-armmp,busybox-static \
    bookworm kernel-tree sources.list > kernel.log 2>&1 &
kernel=$!

# With the folders merged from the start, the package that merges them, all of perl with it, is
# not needed.
mmdebstrap --quiet --architectures=armhf --variant=minbase --include="$(names packages)" \
    --hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --aptopt='APT::Install-Recommends "false"' \
    --customize-hook="$RECIPE/customize.sh \"\$1\"" \
    bookworm tree sources.list
took "root tree"
wait "$kernel" || { cat kernel.log; exit 1; }

version=$(ls kernel-tree/lib/modules)
modules=tree/lib/modules/$version
mkdir -p tree/lib/modules
# Drivers for hardware that an emulated machine does not have are most of the kernel's size.
from=kernel-tree/lib/modules/$version
(cd "$from" && find . \( -path './kernel/drivers/*' -o -path './kernel/sound/*' \) ! -path './kernel/drivers/virtio/*' \
    ! -path './kernel/drivers/net/virtio_net.ko' ! -path './kernel/drivers/net/net_failover.ko' ! -path './kernel/drivers/net/tun.ko' \
    ! -path './kernel/drivers/net/dummy.ko' ! -path './kernel/drivers/net/veth.ko' ! -path './kernel/drivers/net/macvlan.ko' \
    ! -path './kernel/drivers/block/virtio_blk.ko' ! -path './kernel/drivers/char/*' ! -path './kernel/drivers/watchdog/*' \
    ! -path './kernel/drivers/block/loop.ko' -name '*.ko' -print) > unneeded
cp -a "$from" "$modules"
(cd "$modules" && xargs rm -f < "$folder/unneeded")
depmod -b tree "$version"

mkdir -p initrd-tree/bin initrd-tree/modules
cp kernel-tree/bin/busybox initrd-tree/bin/busybox
cp "$RECIPE/init" initrd-tree/init
chmod 0755 initrd-tree/init initrd-tree/bin/busybox
: > initrd-tree/modules/order
for wanted in virtio_mmio virtio_blk virtio_console virtio_rng virtio_net ext4; do
    modprobe --dirname tree --set-version "$version" --show-depends "$wanted" | while read -r verb file rest; do
        [ "$verb" = insmod ] || continue
        name=$(basename "$file")
        grep -qx "$name" initrd-tree/modules/order && continue
        cp "$file" "initrd-tree/modules/$name"
        echo "$name" >> initrd-tree/modules/order
    done
done
(cd initrd-tree && find . | cpio --quiet --create --format=newc --owner=0:0) | gzip -1 > initrd
cp "kernel-tree/boot/vmlinuz-$version" kernel
took "kernel and initrd"

# The file has holes: what is not used takes no room here.
mke2fs -q -t ext4 -d tree disk.img 2G
cp tree/etc/ssh/ssh_host_ed25519_key.pub host_key.pub
rm -rf tree kernel-tree initrd-tree unneeded kernel.log
took "disk"
