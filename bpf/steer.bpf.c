// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * steer: tc ingress on the host-side device of a pod, that is, on what the pod sends. Chooses the peer by the
 * longest prefix of (VNI, destination) and hands the frame to the VXLAN device. What is not the overlay's goes on
 * to the host stack as the primary CNI made it; a permissive pod's with a stamp, since the node may translate it to
 * what nobody has adopted (clear.h).
 */
#include "local.h"
#include "policy.h"
#include "source.h"
#include "translated.h"
#include "tunnel.h"

/* A host that believed a pod's router advertisement would send it other traffic; no pod has a reason for one. */
static __always_inline int plays_router(struct __sk_buff *skb, const struct layer4 *l4)
{
	__u8 type = 0;

	if (l4->protocol != IPPROTO_ICMPV6 || l4->later)
		return 0;
	bpf_skb_load_bytes(skb, l4->offset, &type, 1);
	return type == ND_ROUTER_ADVERTISEMENT || type == ND_REDIRECT;
}

/* The frame does not fit the tunnel: hand it to the host stack, whose route through the VXLAN device answers with
 * ICMP or fragments inside (RFC 1191, RFC 8201). Where there is no such route it must not wander off in clear. */
static __always_inline int yield_too_big(const struct config *cfg, __u32 vni, const struct overlay_value *to)
{
	return vni == cfg->host_vni && is_pod_range(to) ? PASS : -DROP_TOO_BIG;
}

/*
 * A tenant's pod speaks with its own VNI only, or with a service of `vni` that is shared with it, or as one with its
 * client. The host's stack would answer it, or route it, by addresses that mean something else there: what is left is
 * neighbour discovery with the gateway. Returns OURS when the frame goes on into the tunnel.
 */
static __always_inline int steer_tenant(struct __sk_buff *skb, const struct config *cfg, __u32 vni, int own,
					const struct ip_info *ip, const struct layer4 *l4,
					const struct overlay_value *to)
{
	if (is_multicast(ip))
		return is_neighbour_discovery(skb, ip) ? PASS : -DROP_MULTICAST;
	if (!own && to) {
		if (!is_link_local(ip->src) || !is_neighbour_discovery(skb, ip))
			return -DROP_SPOOFED_SOURCE;
		/* Linux asks so whether a gateway, which may lie in the pods' own prefix, is still there (RFC 4861 §7.3.3). */
		return is_endpoint(vni, ip->dst) ? -DROP_ROUTER : PASS;
	}
	if (own && is_remote(to))
		return OURS;
	if (own && to) {
		int result = deliver_to_pod(skb, cfg, vni, ip, l4);

		if (result == REDIRECTED || result == -DROP_ROUTER)
			return result;
	}
	return is_neighbour_discovery(skb, ip) ? PASS : -DROP_TENANT;
}

static __always_inline int steer_frame(struct __sk_buff *skb, __u32 *peer)
{
	struct config *cfg = get_config();
	struct overlay_value *to;
	struct layer4 l4 = {};
	struct ip_info ip = {};
	__u32 ifindex = skb->ifindex, length = 0, vni, found = 0;
	struct pod_value *pod;
	__u16 clear;
	int err, own;

	skb->tc_index = 0;
	pod = bpf_map_lookup_elem(&pods, &ifindex);
	if (!cfg || !pod)
		return -DROP_NOT_CONFIGURED;
	vni = pod->vni;
	clear = pod->flags & POD_F_PERMISSIVE && vni == cfg->host_vni ? stamp_clear_sent(cfg) : 0;
	err = parse_skb(skb, &ip);
	if (err == -DROP_INNER_PROTOCOL) /* ARP and the like stay on this link; tags hide what is behind them */
		return is_tag(ip.ethertype) ? -DROP_NESTED_TAG : PASS;
	if (err)
		return err;
	err = find_layer4(skb, &ip, &l4);
	if (err)
		return err;
	if (plays_router(skb, &l4))
		return -DROP_ROUTER;
	to = find_owner(vni, ip.dst);
	own = is_own_source(skb, vni, &ip);
	if (!own && (is_remote(to) || find_owner(vni, ip.src)))
		return -DROP_SPOOFED_SOURCE;
	if (own && !to && vni != cfg->host_vni)
		found = find_way(vni, ip.src, ip.dst);
	err = check_policy(skb, &ip, &l4, vni, DIR_EGRESS | way_of(found));
	if (err)
		return err;
	if (found)
		to = find_owner(vni_of(found), ip.dst);
	if (vni != cfg->host_vni) {
		err = steer_tenant(skb, cfg, found ? vni_of(found) : vni, own, &ip, &l4, to);
		if (err != OURS)
			return err;
	}
	if (!own)
		return PASS;
	if (!is_remote(to) || (clear && is_unadopted(to))) {
		skb->tc_index = clear;
		return PASS;
	}
	if (to->peer == PEER_NONE)
		return -DROP_NO_PEER;
	/* Through the stack, and with its route through the VXLAN device back to us (encap). */
	if (vni == cfg->host_vni && is_pod_range(to) && is_translated(skb, &ip, &l4))
		return PASS;
	*peer = to->peer;
	if (bpf_check_mtu(skb, cfg->vxlan_ifindex, &length, 0, BPF_MTU_CHK_SEGS))
		return yield_too_big(cfg, vni, to);
	err = clamp_tcp(skb, cfg, &ip);
	if (err)
		return err;
	/* Between tenants under the service's keys: a node without a grant for them takes no part. */
	err = address_to(skb, cfg, *peer, way_of(found) == WAY_CLIENT ? vni_of(found) : vni);
	if (err)
		return err;
	sample_flow(skb, cfg, *peer, vni, DIR_EGRESS);
	bpf_redirect(cfg->vxlan_ifindex, 0);
	return REDIRECTED;
}

SEC("tc") int steer(struct __sk_buff *skb)
{
	__u32 peer = PEER_LOCAL;
	int result = is_bare(skb) ? -DROP_MALFORMED : steer_frame(skb, &peer);

	return tc_verdict(skb, result, peer, DIR_EGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
