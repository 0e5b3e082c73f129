/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * To a pod on this node past the host's routing, for VNIs other than the host's: their addresses mean nothing there,
 * since several tenants may have the same. Shared by deliver and steer.
 */
#ifndef VXSEAL_LOCAL_H
#define VXSEAL_LOCAL_H

#include "layer4.h"

/*
 * Solicitations and advertisements between a pod and its gateway (RFC 4861 §4.3, §4.4). Nothing that hides them is taken
 * for one: honest ones have no header in between, and what a router must refuse later is to be seen there at one glance.
 */
static __always_inline int is_neighbour_discovery(struct __sk_buff *skb, const struct ip_info *ip)
{
	__u8 type = 0;

	if (ip->ethertype != bpf_htons(ETH_P_IPV6) || ip->protocol != IPPROTO_ICMPV6)
		return 0;
	bpf_skb_load_bytes(skb, ETH_HLEN + IP6_HEADER, &type, 1);
	return type == ND_NEIGHBOUR_SOLICITATION || type == ND_NEIGHBOUR_ADVERTISEMENT;
}

/*
 * Anything of RFC 4861 §4. It is for one link, and believed for its hop limit of 255, which a tunnel and a redirect do
 * not lower: from another link it would only ever be a forgery.
 */
static __always_inline int is_link_talk(struct __sk_buff *skb, const struct layer4 *l4)
{
	__u8 type = 0;

	if (l4->protocol != IPPROTO_ICMPV6 || l4->later)
		return 0;
	bpf_skb_load_bytes(skb, l4->offset, &type, 1);
	return type >= ND_ROUTER_SOLICITATION && type <= ND_REDIRECT;
}

static __always_inline int is_endpoint(__u32 vni, const __u8 addr[16])
{
	struct endpoint_key key = { .vni = vni };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&endpoints, &key) != 0;
}

/* fe80::/10 */
static __always_inline int is_link_local(const __u8 addr[16])
{
	return (*(const __be16 *)addr & bpf_htons(0xffc0)) == bpf_htons(0xfe80);
}

/* 224.0.0.0/4, 255.255.255.255, ff00::/8 */
static __always_inline int is_multicast(const struct ip_info *ip)
{
	return ip->ethertype == bpf_htons(ETH_P_IP) ? ip->dst[12] >= 224 : ip->dst[0] == 0xff;
}

/* Straight to the pod's device, whose gate lets in only what is stamped. */
static __always_inline int deliver_to_pod(struct __sk_buff *skb, const struct config *cfg, __u32 vni,
					  const struct ip_info *ip, const struct layer4 *l4)
{
	struct endpoint_key key = { .vni = vni };
	struct endpoint_value *endpoint;
	struct pod_value *pod;
	__u8 macs[2 * ETH_ALEN];
	__u32 ifindex;

	__builtin_memcpy(key.addr, ip->dst, 16);
	endpoint = bpf_map_lookup_elem(&endpoints, &key);
	if (!endpoint)
		return -DROP_INNER_DESTINATION;
	ifindex = endpoint->ifindex;
	pod = bpf_map_lookup_elem(&pods, &ifindex);
	if (!pod)
		return -DROP_INNER_DESTINATION;
	if (is_link_talk(skb, l4))
		return -DROP_ROUTER;
	__builtin_memcpy(macs, pod->mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, pod->host_mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return -DROP_INTERNAL;
	skb->tc_index = stamp_opened(cfg);
	bpf_redirect(ifindex, 0);
	return REDIRECTED;
}

#endif
