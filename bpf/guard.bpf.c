// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * guard: tc ingress on every other interface of the host (second NICs, bridges, VPNs). Nothing there may speak
 * with a remote pod's address; everything else passes untouched.
 */
#include "naked.h"

SEC("tc") int guard(struct __sk_buff *skb)
{
	struct config *cfg = get_config();

	if (!cfg)
		skb->tc_index = 0;
	return tc_verdict(skb, cfg ? refuse_naked(skb, cfg, 0) : PASS, PEER_LOCAL, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
