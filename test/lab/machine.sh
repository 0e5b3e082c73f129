#!/usr/bin/env bash
# Everything that is done on one machine of scripts/machines, by root: packages and build, the broker, the agent with
# its configuration, one pod as the CNI plugin "ptp" makes it. Each verb may be repeated.
#   machine.sh packages                       what is installed, Node.js and Kafka among it
#   machine.sh install                        the same, and the build
#   machine.sh join NAME ADDRESS              NAME is node1, node2, …; /etc/vxseal holds its key and certificate
#   machine.sh agent start|stop|kill|restart
#   machine.sh vxseal ARGS…                   the command line against this agent
#   machine.sh pod CMD…                       in the pod
#   machine.sh pings start ADDRESS|stop       from the pod, 50 a second; stop waits for 400 more, and prints how many
#                                             were sent, were answered, and the number of the last that was
#   machine.sh device                         the device of the underlay
# LAB_PATIENCE: how much longer than usual to wait for something, a whole number.
# MACHINE_DIR, MACHINE_IDENTITY, MACHINE_PINS, MACHINE_POD: other places, where several machines are on one host.
set -euo pipefail
tree=$(cd "$(dirname "$0")/../.." && pwd)
dir=${MACHINE_DIR:-/var/lib/vxseal-machine}
identity=${MACHINE_IDENTITY:-/etc/vxseal}
pins=${MACHINE_PINS:-/sys/fs/bpf/vxseal}
pod=${MACHINE_POD:-pod}
cli=$tree/build/agent/cli/vxseal.js

readonly POD_MTU=1500 WAIT_SECONDS=$((60 * ${LAB_PATIENCE:-1})) NODE_LEAST=20.19.0
. "$tree/test/lab/common.sh"

fail() { echo "machine: $1" >&2; exit 1; }
pod_netns() { echo "/run/netns/$pod"; }

packages() {
	export DEBIAN_FRONTEND=noninteractive
	if ! command -v node >/dev/null; then
		apt-get update -qq
		# The headers that Debian ships apart from Node.js are for the native module.
		apt-get install -y -qq --no-install-recommends nodejs npm libuv1-dev ca-certificates >/dev/null
	fi
	[ "$(printf '%s\n' "$NODE_LEAST" "$(node -p process.versions.node)" | sort -V | head -n 1)" = "$NODE_LEAST" ] ||
		fail "Node.js $NODE_LEAST or newer is needed: take another box with VXSEAL_BOX"
	"$tree/scripts/setup" kafka
}

write_config() {
	local name=$1 address=$2
	mkdir -p "$dir"
	cat >"$dir/config.yaml" <<-YAML
		nodeName: $name
		runDir: $dir/run
		stateDir: $dir/state
		pinDir: $pins
		identity:
		  trustDomain: machines.vxseal
		  key: $identity/node.key
		  chain: $identity/node.crt
		  roots: $identity/roots.crt
		bus: {type: kafka}
		kafka: {brokers: ["$BROKER:9092"]}
		underlay: {devices: [$(device_of "$address")]}
		overlay:
		  vni: 100
		  prefixes: [10.244.${name#node}.0/24]
		  protectedPrefixes: [10.244.0.0/16]
		probes: {intervalMs: 1s}
	YAML
}

# One veth, the default route through the node's end of it.
make_pod() {
	local index=${1#node} to=10.244.${1#node}.2 gateway=10.244.${1#node}.1
	! ip link show "pod$index" >/dev/null 2>&1 || return 0
	sysctl -q -w net.ipv4.ip_forward=1
	[ -e "/run/netns/$pod" ] || ip netns add "$pod"
	ip link add "pod$index" mtu $POD_MTU type veth peer name eth0 mtu $POD_MTU netns "$pod"
	ip addr add "$gateway/32" dev "pod$index"
	ip link set "pod$index" up
	ip route add "$to/32" dev "pod$index" src "$gateway"
	ip -n "$pod" link set lo up
	ip -n "$pod" link set eth0 up
	ip -n "$pod" addr add "$to/24" dev eth0 noprefixroute
	ip -n "$pod" route add "$gateway/32" dev eth0 scope link
	ip -n "$pod" route add default via "$gateway" dev eth0
}

# Well or not: it answers.
answers() { [[ "$(vxseal status --json 2>/dev/null || true)" == *'"readiness"'* ]]; }
vxseal() { node "$cli" "$@" --socket "$dir/run/agent.sock"; }

alive() { [ -f "$dir/agent.pid" ] && grep -qs "$dir/config.yaml" "/proc/$(cat "$dir/agent.pid")/cmdline"; }

agent() {
	case ${1:-} in
	start)
		! alive || return 0
		setsid node "$cli" agent --config "$dir/config.yaml" </dev/null >>"$dir/agent.log" 2>&1 &
		echo $! >"$dir/agent.pid"
		within answers || { tail -n 20 "$dir/agent.log" >&2; fail "the agent does not answer"; }
		;;
	stop | kill)
		alive || return 0
		kill -"$([ "$1" = stop ] && echo TERM || echo KILL)" "$(cat "$dir/agent.pid")"
		within gone "$(cat "$dir/agent.pid")" || fail "the agent does not end"
		;;
	restart) agent stop && agent start ;;
	*) fail "agent start, stop, kill or restart" ;;
	esac
}

attached() { vxseal pods attach --netns "/run/netns/$pod" --name "$pod" --namespace lab --vni 100 >/dev/null 2>"$dir/attach.log"; }

join() {
	local name=$1 address=$2
	[ -n "$(device_of "$address")" ] || fail "no device has $address"
	broker "$address"
	write_config "$name" "$address"
	make_pod "$name"
	agent start
	within attached || fail "the pod is not attached: $(cat "$dir/attach.log")"
}

verb=${1:-}
[ $# = 0 ] || shift
case $verb in
packages) packages ;;
install) packages && "$tree/scripts/build" ;;
join) join "$@" ;;
agent) agent "$@" ;;
vxseal) vxseal "$@" ;;
pod) pod "$@" ;;
pings) pings "$@" ;;
device) sed -n 's/^underlay: {devices: \[\(.*\)\]}$/\1/p' "$dir/config.yaml" ;;
*) fail "packages, install, join, agent, vxseal, pod, pings or device" ;;
esac
