// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* gate for a frame that deliver has approved; see stamped.bpf.c. */
#include "../../bpf/gate.bpf.c"

SEC("tc") int gate_opened(struct __sk_buff *skb)
{
	struct config *cfg = get_config();

	skb->tc_index = cfg ? stamp_opened(cfg) : 0;
	return tc_verdict(skb, gate_frame(skb), PEER_LOCAL, DIR_INGRESS);
}
