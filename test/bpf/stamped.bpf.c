// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The packet programs behind a stamp or a verdict of open that BPF_PROG_TEST_RUN cannot hand over itself
 * (skb->tc_index and XDP metadata must be empty there). Nothing here decides anything.
 */
#include "../../bpf/seal.bpf.c"
#include "../../bpf/deliver.h"

static __always_inline int seal_stamped(struct __sk_buff *skb, int opened)
{
	struct config *cfg = get_config();
	__u32 peer = PEER_LOCAL;

	if (cfg)
		skb->tc_index = opened ? stamp_opened(cfg) : stamp_steered(cfg);
	return tc_verdict(skb, seal_or_refuse(skb, &peer), peer, DIR_EGRESS);
}

SEC("tc") int seal_steered(struct __sk_buff *skb)
{
	return seal_stamped(skb, 0);
}

SEC("tc") int seal_opened(struct __sk_buff *skb)
{
	return seal_stamped(skb, 1);
}

/* deliver for a frame that the key of peer cb[1] opened in VNI cb[0]. */
SEC("tc") int deliver_opened(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	__u32 peer = skb->cb[1], vni = skb->cb[0];
	int result = cfg ? deliver_frame(skb, cfg, vni, peer) : PASS;

	return tc_verdict(skb, result, peer, DIR_INGRESS);
}
