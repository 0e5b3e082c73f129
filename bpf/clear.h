/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What must not leave this node in clear. Shared by seal, on the underlay, and fence, on every other device: routes
 * change, and a packet of the overlay may turn up where nobody expected it.
 */
#ifndef VXSEAL_CLEAR_H
#define VXSEAL_CLEAR_H

#include "parse.h"

/*
 * For a frame that leaves and is not ours to seal. Host-to-host traffic between node addresses is outside the
 * overlay, and pods' traffic to the world stays as the primary CNI made it; what names a remote pod, or joins a pod
 * and a peer's node, belongs inside. `wire`: the device is the underlay, where our own pods are not to be found
 * either; elsewhere a bridge may lead to them. What a permissive pod sent (steer's stamp) may reach what nobody has
 * adopted: judged here by where it leads in the end, as the node may have translated it. Returns PASS,
 * -DROP_CLEAR_EGRESS or -DROP_ROUTER.
 */
static __always_inline int refuse_clear(struct __sk_buff *skb, const struct config *cfg, const struct ip_info *ip,
					int wire)
{
	struct overlay_value *to = find_owner(cfg->host_vni, ip->dst);
	struct overlay_value *from = find_owner(cfg->host_vni, ip->src);
	int to_own_pods = is_pod_range(to) && !is_remote(to);

	if (skb->tc_index == stamp_steered(cfg))
		return -DROP_CLEAR_EGRESS;
	if (is_forwarded_link_talk(skb))
		return -DROP_ROUTER;
	if (skb->tc_index && skb->tc_index == stamp_clear_sent(cfg) && is_unadopted(to) && is_pod_range(from) &&
	    !is_remote(from)) {
		count_clear(DIR_EGRESS, skb->len);
		return PASS;
	}
	if (is_pod_range(to) && (is_remote(to) || wire))
		return -DROP_CLEAR_EGRESS;
	if (is_remote(from) && is_pod_range(from) && !to_own_pods)
		return -DROP_CLEAR_EGRESS;
	if (is_remote(to) && is_pod_range(from))
		return -DROP_CLEAR_EGRESS;
	return PASS;
}

#endif
