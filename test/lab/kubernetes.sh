#!/usr/bin/env bash
# Everything that makes one machine of scripts/machines a node of a Kubernetes cluster, by root: certificates of the
# cluster, control plane, containerd, kubelet. One program is all of Kubernetes (scripts/tools kubernetes). The agent
# comes by the chart, the pod from a DaemonSet of that name. Each verb may be repeated.
#   kubernetes.sh install                       packages, Node.js and Kafka among them
#   kubernetes.sh import                        starts containerd, and reads an image for the node's pods
#   kubernetes.sh server ADDRESS                etcd and the control plane; makes the cluster's certificates
#   kubernetes.sh admit NAME ADDRESS            on the server: writes what a node is known by, a tar
#   kubernetes.sh node NAME ADDRESS             reads that; containerd, the kubelet, and Kafka on the first node
#   kubernetes.sh kubectl|helm ARGS…            on the server
#   kubernetes.sh agent kill|start|restart      start: waits for the one that the kubelet starts, and its answer
#   kubernetes.sh vxseal ARGS…                  the command line of this node's agent
#   kubernetes.sh pod CMD…                      in the pod
#   kubernetes.sh address                       the pod's
#   kubernetes.sh pings start ADDRESS|stop      as machine.sh
#   kubernetes.sh device                        the device of the underlay
#   kubernetes.sh stop                          what was started here ends, pods too
# LAB_PATIENCE: how much longer than usual to wait for something, a whole number.
# KUBERNETES_DIR: another place, where several machines are on one host.
set -euo pipefail
tree=$(cd "$(dirname "$0")/../.." && pwd)
dir=${KUBERNETES_DIR:-/var/lib/vxseal-kubernetes}
program=$tree/build/tools/kubernetes
pki=$dir/pki

readonly SERVICES=10.96.0.0/16 POD=lab WAIT_SECONDS=$((120 * ${LAB_PATIENCE:-1}))
# Java and Maven are for Kafka, Node.js for the script that starts it. What is built comes from elsewhere.
readonly PACKAGES='containerd runc containernetworking-plugins iptables iproute2 iputils-ping openssl procps tcpdump
	util-linux ca-certificates nodejs default-jre-headless maven'
# What a DaemonSet needs to come and to go, of more than forty.
readonly CONTROLLERS=daemonset-controller,garbage-collector-controller,namespace-controller,node-lifecycle-controller,\
pod-garbage-collector-controller,root-ca-certificate-publisher-controller,serviceaccount-controller,\
serviceaccount-token-controller
readonly PAUSE=vxseal.test/busybox:1 # any image that sleeps holds a pod's namespaces
. "$tree/test/lab/common.sh"

fail() { echo "kubernetes: $1" >&2; exit 1; }

install_all() {
	local there
	there=$(dpkg-query -W -f '${db:Status-Status}\n' $PACKAGES 2>/dev/null | grep -cx installed || true)
	[ "$there" != "$(wc -w <<<"$PACKAGES")" ] || return 0
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends $PACKAGES >/dev/null
}

# start NAME COMMAND…: in the background, its log beside it; again when it is there already does nothing.
start() {
	local name=$1
	shift
	! running "$name" || return 0
	setsid "$@" </dev/null >>"$dir/$name.log" 2>&1 &
	echo $! >"$dir/$name.pid"
}
# Its number may be another's since, whose arguments name nothing of ours.
running() { [ -f "$dir/$1.pid" ] && grep -qsF "$dir/" "/proc/$(cat "$dir/$1.pid")/cmdline"; }
up() { within "${@:2}" || { tail -n 20 "$dir/$1.log" >&2; fail "$1 does not answer"; }; }

# issue FILE USER GROUP [NAMES]: a certificate of the cluster's CA.
issue() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/$1.key" -subj "/O=$3/CN=$2" 2>/dev/null |
		openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -days 30 -out "$pki/$1.crt" \
			-extfile <(printf 'extendedKeyUsage=clientAuth,serverAuth\n%s' "${4:+subjectAltName=$4}") 2>/dev/null
}

certificates() {
	local address=$1
	[ ! -f "$pki/scheduler.crt" ] || return 0 # the last
	mkdir -p -m 700 "$pki"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" \
		-days 30 -subj /CN=lab 2>/dev/null
	openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
	issue server kube-apiserver lab "IP:$address,IP:${SERVICES%.*}.1,DNS:kubernetes.default.svc"
	issue admin admin system:masters
	issue controllers system:kube-controller-manager lab
	issue scheduler system:kube-scheduler lab
}

# kubeconfig NAME: for who has that certificate; its files are beside it.
kubeconfig() {
	cat >"$pki/$1.conf" <<-YAML
		apiVersion: v1
		kind: Config
		current-context: lab
		contexts: [{name: lab, context: {cluster: lab, user: me}}]
		clusters: [{name: lab, cluster: {server: "https://$(cat "$dir/server"):6443", certificate-authority: ca.crt}}]
		users: [{name: me, user: {client-certificate: $1.crt, client-key: $1.key}}]
	YAML
}

kubectl() { "$program" kubectl --kubeconfig "$pki/admin.conf" "$@"; }
helm() {
	HELM_CACHE_HOME=$dir/helm HELM_CONFIG_HOME=$dir/helm HELM_DATA_HOME=$dir/helm \
		"$tree/build/tools/helm" --kubeconfig "$pki/admin.conf" "$@"
}

server() {
	local address=$1 name
	echo "$address" >"$dir/server"
	certificates "$address"
	for name in admin controllers scheduler; do kubeconfig "$name"; done
	start etcd "$program" etcd --data-dir "$dir/etcd" --listen-client-urls http://127.0.0.1:2379 \
		--advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
	start apiserver "$program" apiserver --etcd-servers http://127.0.0.1:2379 --bind-address "$address" \
		--advertise-address "$address" --service-cluster-ip-range $SERVICES --authorization-mode Node,RBAC \
		--enable-admission-plugins NodeRestriction --allow-privileged --client-ca-file "$pki/ca.crt" \
		--tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" \
		--kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
		--service-account-issuer https://kubernetes.default.svc \
		--service-account-key-file "$pki/accounts.key" --service-account-signing-key-file "$pki/accounts.key"
	up apiserver kubectl get --raw /readyz
	start controllers "$program" controllers --kubeconfig "$pki/controllers.conf" --use-service-account-credentials \
		--service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" --leader-elect=false \
		--controllers "$CONTROLLERS" \
		--node-monitor-grace-period $((50 * ${LAB_PATIENCE:-1}))s
	start scheduler "$program" scheduler --kubeconfig "$pki/scheduler.conf" --leader-elect=false
	up controllers kubectl -n default get serviceaccount default
}

# The cluster's own network: a veth for each pod from the node's range. The chart chains vxseal behind it.
network() {
	local index=${1#node} folder
	mkdir -p /etc/cni/net.d /opt/cni/bin
	folder=/usr/lib/cni
	[ ! -x $folder/ptp ] || cp -u $folder/{ptp,host-local,loopback} /opt/cni/bin/
	[ -x /opt/cni/bin/ptp ] || fail "no plugin ptp: apt-get install containernetworking-plugins"
	ls /etc/cni/net.d/*.conflist >/dev/null 2>&1 || cat >/etc/cni/net.d/10-lab.conflist <<-JSON
		{"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "ptp", "mtu": 1500, "ipMasq": false,
		"ipam": {"type": "host-local", "dataDir": "$dir/addresses", "routes": [{"dst": "0.0.0.0/0"}],
		"ranges": [[{"subnet": "10.244.$index.0/24"}]]}}]}
	JSON
}

containerd_config() {
	local cri='plugins."io.containerd.grpc.v1.cri"'
	cat >"$dir/containerd.toml" <<-TOML
		version = 2
		root = "$dir/containerd"
		state = "$dir/containerd-state"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
		  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
		[grpc]
		  address = "$dir/containerd.sock"
		[$cri]
		  sandbox_image = "$PAUSE"
		  disable_tcp_service = true
		  disable_apparmor = true
		  # Lower than our own it may only be set with CAP_SYS_RESOURCE.
		  restrict_oom_score_adj = true
		[$cri.containerd]
		  snapshotter = "overlayfs"
		[$cri.cni]
		  bin_dir = "/opt/cni/bin"
		  conf_dir = "/etc/cni/net.d"
	TOML
}

# Without groups of its own for classes of pods: several nodes may be on one kernel.
kubelet_config() {
	cat >"$dir/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		address: $1
		authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}}
		cgroupDriver: cgroupfs
		cgroupsPerQOS: false
		enforceNodeAllocatable: []
		containerRuntimeEndpoint: unix://$dir/containerd.sock
		failSwapOn: false
		localStorageCapacityIsolation: false
		evictionHard: {memory.available: 0%, nodefs.available: 0%, imagefs.available: 0%}
		imageGCHighThresholdPercent: 100
		resolvConf: ""
		podLogsDir: $dir/pod-logs
	YAML
}

# The certificate's key is made here: whoever may make a machine a node has the cluster's authority.
admit() {
	local name=$1 address=$2
	[ -f "$pki/$name.crt" ] || issue "$name" "system:node:$name" system:nodes "IP:$address,DNS:$name"
	kubeconfig "$name"
	tar -C "$pki" -c ca.crt "$name.crt" "$name.key" "$name.conf"
}

runtime() {
	containerd_config
	start containerd containerd --config "$dir/containerd.toml"
	up containerd ctr_k8s version
}

import() {
	runtime </dev/null
	ctr_k8s images import -
}

known() { "$program" kubectl --kubeconfig "$pki/$1.conf" get node "$1"; }

node() {
	local name=$1 address=$2
	mkdir -p -m 700 "$pki"
	tar -C "$pki" -x
	echo "$address" >"$dir/address"
	sysctl -q -w net.ipv4.ip_forward=1
	broker "$address"
	network "$name"
	runtime
	kubelet_config "$address"
	start kubelet "$program" kubelet --config "$dir/kubelet.yaml" --kubeconfig "$pki/$name.conf" \
		--hostname-override "$name" --node-ip "$address" --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet-pki"
	up kubelet known "$name"
}

ctr_k8s() { ctr --address "$dir/containerd.sock" --namespace k8s.io "$@"; }

container() { ctr_k8s containers ls -q "labels.\"io.kubernetes.pod.name\"~=^$1,labels.\"io.cri-containerd.kind\"==$2${3:+,labels.\"io.kubernetes.container.name\"==$3}"; }
process_of() { ctr_k8s tasks ls | awk -v id="$1" '$1 == id && $3 == "RUNNING" { print $2 }'; }

pod_netns() {
	local id process
	for id in $(container $POD sandbox); do
		process=$(process_of "$id")
		[ -z "$process" ] || { echo "/proc/$process/ns/net"; return; }
	done
	fail "no pod $POD runs here"
}
address() { (pod ip -o -4 addr show dev eth0) | awk '{ sub("/.*", "", $4); print $4; exit }'; }

agent_process() {
	local id process
	for id in $(container vxseal- container agent); do
		process=$(process_of "$id")
		[ -z "$process" ] || { echo "$process"; return; }
	done
	return 1
}
another_agent() { local now; now=$(agent_process) && [ "$now" != "$(cat "$dir/ended" 2>/dev/null || true)" ]; }
end_agent() {
	agent_process >"$dir/ended" || fail "no agent runs here"
	kill -"$1" "$(cat "$dir/ended")"
}
agent() {
	case ${1:-} in
	kill) end_agent KILL ;;
	start)
		within another_agent || fail "the kubelet starts no agent; its log is $dir/kubelet.log"
		within vxseal drops || fail "the agent does not answer"
		;;
	restart) end_agent TERM && agent start ;;
	*) fail "agent kill, start or restart: helm is who removes it" ;;
	esac
}
vxseal() {
	local process
	process=$(agent_process) || { echo "kubernetes: no agent runs here: it comes by the chart, from the kubelet" >&2; return 1; }
	nsenter -t "$process" --mount -- /usr/local/bin/vxseal "$@" --socket /run/vxseal/agent.sock
}

stop() {
	local name id process
	if running kubelet; then kill "$(cat "$dir/kubelet.pid")"; fi
	for id in $(ctr_k8s containers ls -q 2>/dev/null || true); do
		ctr_k8s tasks kill -s KILL "$id" 2>/dev/null || true
	done
	for name in scheduler controllers apiserver etcd containerd; do
		! running "$name" || kill "$(cat "$dir/$name.pid")"
	done
	"$tree/scripts/kafka" stop --dir "$dir/kafka"
}

mkdir -p "$dir"
verb=${1:-}
[ $# = 0 ] || shift
case $verb in
install) install_all ;;
import | server | admit | node | kubectl | helm | agent | vxseal | pod | address | pings | stop) "$verb" "$@" ;;
device) device_of "$(cat "$dir/address")" ;;
*) fail "$(sed -n 's/^#   kubernetes.sh \([a-z|]*\).*/\1/p' "$0" | paste -sd ' ')" ;;
esac
