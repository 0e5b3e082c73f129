// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * admit: tc ingress on the VXLAN device. The kernel's VXLAN socket takes frames from anyone, so the device lets in
 * only what deliver put there; the socket's frames are known by their tunnel metadata and have no stamp. Where the
 * kernel's own IPsec does the cipher they come through that socket, with the mark of the SA that opened them: the same
 * checks as deliver's then stand here.
 */
#include "deliver.h"
#include "xfrm.h"

/* Outer source and VNI; -1 for what did not come through the socket. */
static __always_inline int read_tunnel(struct __sk_buff *skb, struct vtep_key *vtep, __u32 *vni)
{
	struct bpf_tunnel_key key;

	/* The helper wants to be told the family. */
	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		map_v4(vtep->addr, bpf_htonl(key.remote_ipv4));
	} else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6)) {
		__builtin_memcpy(vtep->addr, key.remote_ipv6, 16);
	} else {
		return -1;
	}
	*vni = key.tunnel_id;
	return 0;
}

/*
 * The state that sets the mark takes only what comes from its peer's address (its selector), and open hands it only
 * what comes from the peer that has the address now: an SA of another peer cannot carry it.
 * What no state of ours opened has no such mark.
 */
static __always_inline int admit_opened(struct __sk_buff *skb, const struct config *cfg, const struct vtep_key *vtep,
					__u32 vni, __u32 *peer)
{
	__u32 mark = skb->mark, *number, bytes = skb->len, packets = skb->gso_segs ?: 1;
	int result;

	skb->mark = 0;
	if (!is_xfrm(cfg) || !is_vni_mark(mark))
		return -DROP_FORGED_VXLAN;
	number = bpf_map_lookup_elem(&vteps, vtep);
	if (!number)
		return -DROP_FORGED_VXLAN;
	*peer = *number;
	if (mark != mark_of(vni))
		return -DROP_WRONG_VNI;
	result = approve_frame(skb, cfg, vni, *peer);
	if (result >= 0)
		count_opened(*peer, packets, bytes);
	return result == OURS ? PASS : result;
}

static __always_inline int admit_frame(struct __sk_buff *skb, __u32 *peer)
{
	struct config *cfg = get_config();
	struct vtep_key vtep;
	__u32 vni = 0;
	int result;

	if (!cfg)
		return -DROP_NOT_CONFIGURED;
	if (!read_tunnel(skb, &vtep, &vni)) {
		result = admit_opened(skb, cfg, &vtep, vni, peer);
		if (result != PASS)
			return result;
	} else if (!is_opened(skb, cfg)) {
		return -DROP_NO_COOKIE;
	}
	/* The inner destination MAC is the sender's idea; without this the stack drops it as OTHERHOST. */
	return bpf_skb_change_type(skb, 0 /* PACKET_HOST */) ? -DROP_INTERNAL : PASS;
}

SEC("tc") int admit(struct __sk_buff *skb)
{
	__u32 peer = PEER_LOCAL;
	int result = admit_frame(skb, &peer);

	return tc_verdict(skb, result, peer, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
