// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* A packet in clear on its whole way to a pod; see adopting.bpf.c. cb[1]: the same for the IPv4 source. */
#include "../../bpf/gate.bpf.c"
#include "../../bpf/naked.h"

static __always_inline int arrive(struct __sk_buff *skb, int wire)
{
	struct config *cfg = get_config();
	__u32 to = skb->cb[0], from = skb->cb[1];
	int result = cfg ? refuse_naked(skb, cfg, wire) : -DROP_NOT_CONFIGURED;

	if (to && bpf_skb_store_bytes(skb, ETH_HLEN + 16, &to, sizeof(to), 0))
		result = -DROP_INTERNAL;
	if (from && bpf_skb_store_bytes(skb, ETH_HLEN + 12, &from, sizeof(from), 0))
		result = -DROP_INTERNAL;
	if (result == PASS)
		result = gate_frame(skb);
	return tc_verdict(skb, result, PEER_LOCAL, DIR_INGRESS);
}

SEC("tc") int arrive_by_wire(struct __sk_buff *skb)
{
	return arrive(skb, 1);
}

SEC("tc") int arrive_by_other(struct __sk_buff *skb)
{
	return arrive(skb, 0);
}
