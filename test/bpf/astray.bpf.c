// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* fence for a frame that the VXLAN device made; see stamped.bpf.c. */
#include "../../bpf/fence.bpf.c"

SEC("tc") int fence_steered(struct __sk_buff *skb)
{
	struct config *cfg = get_config();

	skb->tc_index = cfg ? stamp_steered(cfg) : 0;
	return tc_verdict(skb, fence_frame(skb), PEER_LOCAL, DIR_EGRESS);
}
