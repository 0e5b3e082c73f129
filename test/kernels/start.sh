#!/bin/sh
# First process of a test machine once it has its root: the file systems and modules that a running Debian has, then
# the program that does what the host asks for. $1: folder of this package.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd "$1" || exit
# A host without modules of its own has no such folder; the layer in memory takes it.
mkdir -p /lib/modules
mount --bind "$1/build/kernels/$(uname -r)/lib/modules" /lib/modules
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm 2>/dev/null
ip link set lo up
# The kernel rewrites code of its own where the first capture, hook, tunnel, filter or wish for times of arrival comes, or
# the last one goes (static keys). An emulated processor has been seen to stay at such an instruction for good, and to
# trap at it: they stay switched on meanwhile.
unshare --net sh -c 'ip link set lo up
	tc qdisc add dev lo clsact
	ip link add held type vxlan external dstport 4789 && ip link set held up
	for hook in prerouting input forward output postrouting; do
		echo "add table inet held; add chain inet held $hook { type filter hook $hook priority 0; }"
	done | nft -f -
	ping -q -i 3600 127.0.0.1 >/dev/null &
	exec tcpdump -q -i lo -w /dev/null' 2>/dev/null &
node=$(sed -n 's/.*vxseal.node=\([^ ]*\).*/\1/p' /proc/cmdline)
"$node" build/test/kernels/guest.js
echo o >/proc/sysrq-trigger
read -r _ </dev/console
