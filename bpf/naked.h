/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Overlay addresses outside the tunnel. A frame that came over some interface in clear and names an overlay
 * address as its source was made by somebody else: its owner would have sent it sealed.
 */
#ifndef VXSEAL_NAKED_H
#define VXSEAL_NAKED_H

#include "parse.h"

#define VID_MASK 0x0fff /* of a tag's control information (IEEE 802.1Q) */

/*
 * For a frame that arrived in clear in the host's namespace. `wire`: it came over an underlay device, where even
 * our own pods' addresses cannot be the source. Returns PASS or -DROP_NAKED_INNER.
 */
static __always_inline int refuse_naked(struct __sk_buff *skb, const struct config *cfg, int wire)
{
	struct overlay_value *from, *to;
	struct ip_info ip = {};

	if (parse_skb(skb, &ip)) {
		/* Behind a priority tag (VID 0) the stack takes off a second one, and routes what we did not see. */
		if (is_tag(ip.ethertype) && !(skb->vlan_present && (skb->vlan_tci & VID_MASK)))
			return -DROP_NESTED_TAG;
		return PASS; /* not IP, or a header the stack itself refuses */
	}
	from = find_owner(cfg->host_vni, ip.src);
	if (!from)
		return PASS;
	if (is_pod_range(from))
		return is_remote(from) || wire ? -DROP_NAKED_INNER : PASS;
	/* A peer's node address: between hosts it is outside the overlay, towards a pod it is inside. */
	to = find_owner(cfg->host_vni, ip.dst);
	return is_remote(from) && is_pod_range(to) ? -DROP_NAKED_INNER : PASS;
}

#endif
