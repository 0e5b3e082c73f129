// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * deliver: tc ingress on the underlay, behind open. Frames with our cookie in their XDP metadata were decrypted by
 * open and go to their receiver; all others came in clear and must not name overlay addresses.
 */
#include "deliver.h"
#include "naked.h"
#include "xfrm.h"

static __always_inline int deliver_or_refuse(struct __sk_buff *skb, __u32 *peer)
{
	void *data = (void *)(long)skb->data;
	struct open_meta *meta = (void *)(long)skb->data_meta;
	struct config *cfg = get_config();

	skb->tc_index = 0;
	if (!cfg)
		return PASS; /* never configured: open decrypts nothing and there is no overlay to protect */
	unmark(skb, cfg);
	if ((void *)(meta + 1) <= data && meta->cookie == cfg->cookie) {
		*peer = meta->peer;
		return deliver_frame(skb, cfg, meta->vni, meta->peer);
	}
	return refuse_naked(skb, cfg, 1);
}

SEC("tc") int deliver(struct __sk_buff *skb)
{
	__u32 peer = PEER_LOCAL;
	int result = deliver_or_refuse(skb, &peer);

	return tc_verdict(skb, result, peer, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
