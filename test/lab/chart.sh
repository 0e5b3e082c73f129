# The machines of scripts/machines, which sources this, as nodes of one Kubernetes cluster: agents come by the chart, pods from
# a DaemonSet. test/lab/kubernetes.sh is what each machine does.

# Not where Kafka is: neither of the two leaves a slow machine much.
readonly SERVER=${NODES##* }
readonly ROLLOUT=$((180 * PATIENCE))s POD=lab

kubectl() { machine "$SERVER" kubectl "$@"; }
# Asked anew when the server of a slow machine does not answer in time.
settled() { within kubectl -n "$1" rollout status "daemonset/$2" --timeout=30s; }

# The programs of a cluster, built here once.
provide_tools() {
	local tool
	[ -x /bin/busybox ] || fail "/bin/busybox is missing, which the pods are to run: apt-get install busybox-static"
	mkdir -p "$DIR/tools"
	for tool in kubernetes helm; do
		"$root/scripts/tools" $tool
		cp -u "$root/build/tools/$tool" "$DIR/tools/"
	done
}

# The agent's, which is in that archive, and one whose program sleeps.
import_images() {
	feed "$1" import <"$DIR/sleeps/image.tar" >/dev/null && feed "$1" import <"$2" >"$DIR/$1.image"
}

# Nodes, which take in the images side by side before anything else goes on there, and their server.
make_cluster() {
	local archive=$1 node admitted import importing=()
	rm -rf "$DIR/sleeps"
	mkdir -p "$DIR/sleeps"
	node -e 'require(process.argv[1]).makeImage(process.argv[2])' "$root/build/test/cni/image.js" "$DIR/sleeps"
	for node in $NODES; do
		import_images "$node" "$archive" &
		importing+=($!)
	done
	for import in "${importing[@]}"; do wait "$import" || fail "a node does not take in the images"; done
	machine "$SERVER" server "$(node_address "$SERVER")"
	for node in $NODES; do
		echo "machines: $node joins the cluster" >&2
		admitted=$(machine "$SERVER" admit "$node" "$(node_address "$node")" | base64 -w 0)
		base64 -d <<<"$admitted" | feed "$node" node "$node" "$(node_address "$node")"
	done
	within kubectl wait --for=condition=Ready --timeout=30s node --all || fail "the nodes do not get ready: $said"
}

values() {
	local reference node device
	reference=$(sed -n 's/^unpacking \(.*:[^ :]*\) (.*/\1/p' "$DIR/node1.image")
	[ "$(grep -c . <<<"$reference")" = 1 ] || { echo "machines: not one image with a tag is in what was imported: $reference" >&2; return 1; }
	cat <<-YAML
		image: {repository: ${reference%:*}, tag: ${reference##*:}, pullPolicy: Never}
		config:
		  identity: {trustDomain: machines.vxseal}
		  kafka: {brokers: ["$(node_address node1):9092"], tls: false}
		  overlay: {vni: 100, protectedPrefixes: [10.244.0.0/16]}
		  probes: {intervalMs: ${PATIENCE}s, timeoutMs: $((12 * PATIENCE))s}
		nodes:
	YAML
	for node in $NODES; do
		device=$(machine "$node" device) && [ -n "$device" ] || return 1
		echo "  $node: {underlay: {devices: [$device]}, overlay: {prefixes: [10.244.${node#node}.0/24]}}"
	done
}

chart() { values >"$DIR/values.yaml" && insist upgrade "$@" && settled kube-system vxseal && all_up; }
# Once more, as the server of a slow machine may not have answered in time. What failed has said why.
insist() { answers && { "$@" || { answers && "$@"; }; }; }
answers() { within kubectl get --raw /readyz && said=''; }
upgrade() {
	feed "$SERVER" helm upgrade --install vxseal "$TREE/charts/vxseal" --namespace kube-system --values - "$@" \
		<"$DIR/values.yaml" >/dev/null
}

one_pod_each() {
	[ "$(kubectl get pod -l app=$POD -o 'jsonpath={.items[*].status.podIP}' | wc -w)" = "$(wc -w <<<"$NODES")" ]
}

# The plugin has told the agent of it.
attached() { machine "$1" vxseal pods list | grep "$POD-" >/dev/null; }

# One on each node.
start_pods() {
	local node
	feed "$SERVER" kubectl apply -f - >/dev/null <<-YAML || return 1
		apiVersion: apps/v1
		kind: DaemonSet
		metadata: {name: $POD, namespace: default}
		spec:
		  selector: {matchLabels: {app: $POD}}
		  template:
		    metadata: {labels: {app: $POD}}
		    spec:
		      automountServiceAccountToken: false
		      terminationGracePeriodSeconds: 1
		      containers: [{name: sleeps, image: "vxseal.test/busybox:1", imagePullPolicy: Never}]
	YAML
	settled default $POD && within one_pod_each || return 1
	for node in $NODES; do attached "$node" || return 1; done
}
restart_pods() { kubectl rollout restart daemonset/$POD >/dev/null && start_pods && reach; }

# A value of the configuration changes, and with it the agents, node by node.
rolled() { chart --set config.log.level=debug; }
# Seen by what is there: helm says so too when the server did not answer, or did not while helm waited.
removed() { insist agents_run && insist uninstall && within nothing_left; }
agents_run() { kubectl -n kube-system get daemonset vxseal >/dev/null; }
uninstall() {
	machine "$SERVER" helm uninstall vxseal --namespace kube-system --ignore-not-found --cascade foreground --wait \
		--timeout "$ROLLOUT" >/dev/null
}
# What is left is what it says.
nothing_left() {
	local left
	left=$(kubectl -n kube-system get daemonset,pod -l app.kubernetes.io/name=vxseal -o name) && echo "$left" && [ -z "$left" ]
}
