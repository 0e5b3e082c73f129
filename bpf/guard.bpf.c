// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * guard: tc ingress on every other interface of the host (second NICs, bridges, VPNs). Nothing there may speak
 * with a remote pod's address, and a pod that is off with none of the overlay's but its own; everything else passes
 * untouched.
 */
#include "naked.h"
#include "source.h"
#include "xfrm.h"

static __always_inline int refuse_posing(struct __sk_buff *skb, const struct config *cfg)
{
	__u32 ifindex = skb->ifindex;
	struct pod_value *pod = bpf_map_lookup_elem(&pods, &ifindex);
	struct ip_info ip = {};

	if (!pod || !(pod->flags & POD_F_OFF) || parse_addresses(skb, &ip))
		return PASS;
	return find_owner(cfg->host_vni, ip.src) && !is_own_source(skb, cfg->host_vni, &ip) ? -DROP_SPOOFED_SOURCE : PASS;
}

static __always_inline int guard_frame(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	int err;

	if (!cfg) {
		skb->tc_index = 0;
		return PASS;
	}
	unmark(skb, cfg);
	err = refuse_posing(skb, cfg);
	return err ? err : refuse_naked(skb, cfg, 0);
}

SEC("tc") int guard(struct __sk_buff *skb)
{
	return tc_verdict(skb, guard_frame(skb), PEER_LOCAL, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
