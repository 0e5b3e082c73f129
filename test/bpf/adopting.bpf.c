// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * A pod's packet on its whole way out of the node, hook after hook: the stamp between them is lost between two runs
 * of BPF_PROG_TEST_RUN. cb[0]: what the node makes of the IPv4 destination in between; 0: nothing.
 */
#include "../../bpf/steer.bpf.c"
#include "../../bpf/clear.h"
#include "../../bpf/naked.h"

static __always_inline int leave(struct __sk_buff *skb, int wire, int bridged)
{
	struct config *cfg = get_config();
	__u32 peer = PEER_LOCAL, to = skb->cb[0];
	struct ip_info ip = {};
	int result = steer_frame(skb, &peer);

	if (cfg && result == PASS && bridged)
		result = refuse_naked(skb, cfg, 0);
	if (to && result == PASS && bpf_skb_store_bytes(skb, ETH_HLEN + 16, &to, sizeof(to), 0))
		result = -DROP_INTERNAL;
	if (cfg && result == PASS && !parse_skb(skb, &ip))
		result = refuse_clear(skb, cfg, &ip, wire);
	return tc_verdict(skb, result, PEER_LOCAL, DIR_EGRESS);
}

SEC("tc") int leave_by_wire(struct __sk_buff *skb)
{
	return leave(skb, 1, 0);
}

SEC("tc") int leave_by_other(struct __sk_buff *skb)
{
	return leave(skb, 0, 0);
}

SEC("tc") int leave_by_bridge(struct __sk_buff *skb)
{
	return leave(skb, 1, 1);
}
