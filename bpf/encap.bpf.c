// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * encap: tc egress on the VXLAN device. What steer sent passes; what the host stack routed here (the node's own
 * processes, DNATed flows, fragments, the agent's probes) is given its peer. Anything else is dropped: the device
 * carries nothing that does not belong to the overlay. Where the kernel's own IPsec does the cipher, the mark by which
 * it chooses the SA is put on here.
 */
#include "local.h"
#include "tunnel.h"
#include "xfrm.h"

static __always_inline int address_probe(struct __sk_buff *skb, const struct config *cfg, __u32 *peer)
{
	struct probe probe;

	if (bpf_skb_load_bytes(skb, 0, &probe, sizeof(probe)) || probe.version != 1 || probe.reply)
		return -DROP_MALFORMED;
	*peer = probe.peer;
	return address_to(skb, cfg, probe.peer, cfg->host_vni);
}

static __always_inline int encap_frame(struct __sk_buff *skb, const struct config *cfg, __u32 *peer)
{
	struct overlay_value *to, *from;
	struct ip_info ip = {};
	int err;

	if (skb->tc_index == stamp_steered(cfg))
		return PASS;
	err = parse_skb(skb, &ip);
	if (err == -DROP_INNER_PROTOCOL && ip.ethertype == bpf_htons(PROBE_ETHERTYPE))
		return address_probe(skb, cfg, peer);
	if (err)
		return err;
	/* The stack joins groups on every device, also on ours. */
	if (is_multicast(&ip))
		return -DROP_MULTICAST;
	to = find_owner(cfg->host_vni, ip.dst);
	if (!is_remote(to) || to->peer == PEER_NONE)
		return -DROP_NO_PEER;
	*peer = to->peer;
	/* The receiver refuses a source that is not ours; say it here, where the cause is. */
	from = find_owner(cfg->host_vni, ip.src);
	if (!from || from->peer != PEER_LOCAL)
		return -DROP_SPOOFED_SOURCE;
	err = clamp_tcp(skb, cfg, &ip);
	if (err)
		return err;
	sample_flow(skb, cfg, *peer, cfg->host_vni, DIR_EGRESS);
	return address_to(skb, cfg, *peer, cfg->host_vni);
}

/* The VNI is in the metadata that address_to() made. */
static __always_inline int mark_vni(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key;

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) &&
	    bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		return -DROP_INTERNAL;
	skb->mark = mark_of(key.tunnel_id);
	return PASS;
}

SEC("tc") int encap(struct __sk_buff *skb)
{
	__u32 peer = PEER_LOCAL;
	struct config *cfg = get_config();
	int result = cfg ? encap_frame(skb, cfg, &peer) : -DROP_NOT_CONFIGURED;

	if (result == PASS && cfg && is_xfrm(cfg))
		result = mark_vni(skb);
	return tc_verdict(skb, result, peer, DIR_EGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
