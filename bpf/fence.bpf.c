// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * fence: tc egress on every device of the host that is neither underlay, VXLAN device nor a pod's (second NICs,
 * bridges, VPNs). Where the outer packet goes is the host's routing; only the underlay seals, so nothing of the
 * overlay may take another way.
 */
#include "clear.h"

static __always_inline int fence_frame(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	struct ip_info ip = {};

	if (!cfg)
		return PASS; /* never configured: the VXLAN device and its routes do not exist yet */
	if (parse_addresses(skb, &ip))
		return skb->tc_index == stamp_steered(cfg) ? -DROP_CLEAR_EGRESS : PASS;
	return refuse_clear(skb, cfg, &ip, 0);
}

SEC("tc") int fence(struct __sk_buff *skb)
{
	return tc_verdict(skb, fence_frame(skb), PEER_LOCAL, DIR_EGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
