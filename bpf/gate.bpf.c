// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * gate: tc egress on the host-side device of a pod, the last hook before the pod. A remote overlay source is
 * believed only of a frame that open decrypted and deliver approved. A pod of another VNI than the host's takes from
 * the host nothing but neighbour discovery.
 */
#include "local.h"
#include "policy.h"
#include "translated.h"

static __always_inline int gate_frame(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	struct layer4 l4 = {};
	struct ip_info ip = {};
	__u32 ifindex = skb->ifindex;
	struct pod_value *pod = bpf_map_lookup_elem(&pods, &ifindex);
	int err, opened, for_host;

	if (!cfg || !pod)
		return -DROP_NOT_CONFIGURED;
	for_host = pod->vni == cfg->host_vni && skb->tc_index == stamp_opened_for_host(cfg);
	opened = for_host || skb->tc_index == stamp_opened(cfg);
	skb->tc_index = 0;
	err = parse_skb(skb, &ip);
	if (err == -DROP_INNER_PROTOCOL)
		return PASS;
	if (err)
		return err;
	if (for_host)
		note_translated(skb, &ip);
	err = find_layer4(skb, &ip, &l4);
	if (err)
		return err;
	if (!opened && is_remote(find_owner(pod->vni, ip.src)))
		return -DROP_NAKED_INNER;
	if (!opened && pod->vni != cfg->host_vni)
		return is_neighbour_discovery(skb, &l4) ? PASS : -DROP_TENANT;
	return check_policy(skb, &ip, &l4, pod->vni, DIR_INGRESS);
}

SEC("tc") int gate(struct __sk_buff *skb)
{
	return tc_verdict(skb, gate_frame(skb), PEER_LOCAL, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
