#!/bin/busybox sh
# First process of a test machine, in its initramfs: the modules that reach the shared folders, then the real root.
# The root is the host's own, read-only, under a layer in memory. switch_root, not chroot: the kernel looks for
# modprobe in the root of the first process.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs dev /dev
while read -r module; do $bb insmod "/modules/$module" || echo "init: no module $module"; done </modules/order
$bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 root /lower
$bb mount -t tmpfs tmpfs /layer
$bb mkdir /layer/upper /layer/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /newroot
for folder in proc sys dev; do $bb mount --move "/$folder" "/newroot/$folder"; done
root=$($bb sed -n 's/.*vxseal.package=\([^ ]*\).*/\1/p' /newroot/proc/cmdline)
exec $bb switch_root /newroot /bin/sh "$root/test/kernels/start.sh" "$root"
