// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * gate: tc egress on the host-side device of a pod, the last hook before the pod. A remote overlay source is
 * believed only of a frame that open decrypted and deliver approved; a permissive pod also takes what nobody has
 * adopted. A pod of another VNI than the host's takes from the host nothing but neighbour discovery.
 */
#include "local.h"
#include "policy.h"
#include "translated.h"

/*
 * No key vouches for the frame. `in_clear`: it arrived from what nobody has adopted, for a permissive pod. The node may
 * have led it to another pod since, and its source may have become a service's.
 */
static __always_inline int refuse_unopened(struct __sk_buff *skb, const struct pod_value *pod,
					   const struct overlay_value *from, int in_clear)
{
	if (is_forwarded_link_talk(skb))
		return -DROP_ROUTER;
	if (!in_clear)
		return is_remote(from) ? -DROP_NAKED_INNER : PASS;
	if (!(pod->flags & POD_F_PERMISSIVE) || (is_remote(from) && !is_unadopted(from)))
		return -DROP_NAKED_INNER;
	count_clear(DIR_INGRESS, skb->len);
	return PASS;
}

static __always_inline int gate_frame(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	struct layer4 l4 = {};
	struct ip_info ip = {};
	__u32 ifindex = skb->ifindex, found = 0;
	struct pod_value *pod = bpf_map_lookup_elem(&pods, &ifindex);
	int err, opened, for_host, in_clear;

	if (!cfg || !pod)
		return -DROP_NOT_CONFIGURED;
	for_host = pod->vni == cfg->host_vni && skb->tc_index == stamp_opened_for_host(cfg);
	opened = for_host || skb->tc_index == stamp_opened(cfg);
	in_clear = skb->tc_index && skb->tc_index == stamp_clear_arrived(cfg);
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
	if (!opened) {
		err = refuse_unopened(skb, pod, find_owner(pod->vni, ip.src), in_clear);
		if (err)
			return err;
	}
	if (!opened && pod->vni != cfg->host_vni)
		return is_neighbour_discovery(skb, &ip) ? PASS : -DROP_TENANT;
	/* Nobody's in this VNI: another tenant's, over a way that still stands. */
	if (pod->vni != cfg->host_vni && !find_owner(pod->vni, ip.src)) {
		found = find_way(pod->vni, ip.dst, ip.src);
		if (!found)
			return -DROP_TENANT;
	}
	return check_policy(skb, &ip, &l4, pod->vni, DIR_INGRESS | way_of(found));
}

SEC("tc") int gate(struct __sk_buff *skb)
{
	return tc_verdict(skb, gate_frame(skb), PEER_LOCAL, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
