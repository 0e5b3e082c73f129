// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * admit: tc ingress on the VXLAN device. The kernel's VXLAN socket takes frames from anyone, so the device lets in
 * only what deliver put there; the socket's frames are known by their tunnel metadata and have no stamp.
 */
#include "parse.h"

static __always_inline int admit_frame(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	struct bpf_tunnel_key key;

	if (!cfg)
		return -DROP_NOT_CONFIGURED;
	/* The helper wants to be told the family. */
	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) ||
	    !bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		return -DROP_FORGED_VXLAN;
	if (!is_opened(skb, cfg))
		return -DROP_NO_COOKIE;
	/* The inner destination MAC is the sender's idea; without this the stack drops it as OTHERHOST. */
	return bpf_skb_change_type(skb, 0 /* PACKET_HOST */) ? -DROP_INTERNAL : PASS;
}

SEC("tc") int admit(struct __sk_buff *skb)
{
	return tc_verdict(skb, admit_frame(skb), PEER_LOCAL, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
