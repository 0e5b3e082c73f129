/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Overlay addresses outside the tunnel. A frame that came over some interface in clear and names an overlay
 * address as its source was made by somebody else: its owner would have sent it sealed.
 */
#ifndef VXSEAL_NAKED_H
#define VXSEAL_NAKED_H

#include "parse.h"

#define VID_MASK 0x0fff /* of a tag's control information (IEEE 802.1Q) */

/* A permissive pod of the host's VNI has the address. */
static __always_inline int is_permissive(const struct config *cfg, const __u8 addr[16])
{
	struct endpoint_key key = { .vni = cfg->host_vni };
	struct endpoint_value *endpoint;
	struct pod_value *pod;
	__u32 ifindex;

	__builtin_memcpy(key.addr, addr, 16);
	endpoint = bpf_map_lookup_elem(&endpoints, &key);
	if (!endpoint)
		return 0;
	ifindex = endpoint->ifindex;
	pod = bpf_map_lookup_elem(&pods, &ifindex);
	return pod && pod->flags & POD_F_PERMISSIVE;
}

/*
 * For a frame that arrived in clear in the host's namespace. `wire`: it came over an underlay device, where even
 * our own pods' addresses cannot be the source. What nobody has adopted may speak with a permissive pod, and is
 * stamped: gate must know that it was judged before the node translated it. Every other stamp is taken off, since one
 * that came from another namespace means nothing. Returns PASS or -DROP_NAKED_INNER.
 */
static __always_inline int refuse_naked(struct __sk_buff *skb, const struct config *cfg, int wire)
{
	int sent = !wire && skb->tc_index && skb->tc_index == stamp_clear_sent(cfg);
	struct overlay_value *from, *to;
	struct ip_info ip = {};

	skb->tc_index = 0;
	if (parse_addresses(skb, &ip)) {
		/* Behind a priority tag (VID 0) the stack takes off a second one, and routes what we did not see. */
		if (is_tag(ip.ethertype) && !(skb->vlan_present && (skb->vlan_tci & VID_MASK)))
			return -DROP_NESTED_TAG;
		return PASS; /* not IP, or a header the stack itself refuses */
	}
	from = find_owner(cfg->host_vni, ip.src);
	if (!from)
		return PASS;
	if (is_unadopted(from)) {
		if (!is_permissive(cfg, ip.dst))
			return -DROP_NAKED_INNER;
		skb->tc_index = stamp_clear_arrived(cfg);
		return PASS;
	}
	if (is_pod_range(from)) {
		if (is_remote(from) || wire)
			return -DROP_NAKED_INNER;
		/* What steer stamped goes on through the pods' bridge, a device with a guard of its own. */
		if (sent && is_permissive(cfg, ip.src))
			skb->tc_index = stamp_clear_sent(cfg);
		return PASS;
	}
	/* A peer's node address: between hosts it is outside the overlay, towards a pod it is inside. */
	to = find_owner(cfg->host_vni, ip.dst);
	return is_remote(from) && is_pod_range(to) ? -DROP_NAKED_INNER : PASS;
}

#endif
