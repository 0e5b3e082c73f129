/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Headers, inner and outer, from the linear part of a frame. Reads only; decides nothing about trust.
 */
#ifndef VXSEAL_PARSE_H
#define VXSEAL_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "drop.h"

#define IP4_HEADER 20
#define IP6_HEADER 40
#define UDP_HEADER 8
#define VXLAN_HEADER 8
#define NEXTHDR_FRAGMENT_V6 44
#define ND_ROUTER_SOLICITATION 133
#define ND_ROUTER_ADVERTISEMENT 134 /* RFC 4861 §4.2 */
#define ND_NEIGHBOUR_SOLICITATION 135
#define ND_NEIGHBOUR_ADVERTISEMENT 136
#define ND_REDIRECT 137
#define HEADROOM_PULL (ETH_HLEN + 60)

enum fragment { NOT_FRAGMENT, FIRST_FRAGMENT, LATER_FRAGMENT };

struct ip_info {
	__u8 src[16];            /* IPv4-mapped for IPv4 */
	__u8 dst[16];
	__be16 ethertype;
	__u16 header_bytes;      /* IP header with IPv4 options; IPv6: the fixed header only */
	__u16 total_bytes;       /* IP header and payload, by the IP header */
	__u8 protocol;           /* IPv6: first next-header */
	__u8 fragment;           /* NOT_FRAGMENT, FIRST_FRAGMENT or LATER_FRAGMENT */
};

static __always_inline void map_v4(__u8 out[16], __be32 addr)
{
	__u32 *w = (__u32 *)out;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = addr;
}

/*
 * The IP header behind an Ethernet header at `data`.
 * Returns 0, -DROP_MALFORMED for a header that contradicts itself, or -DROP_INNER_PROTOCOL for other ethertypes.
 */
static __always_inline int parse_ip(void *data, void *data_end, struct ip_info *ip)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return -DROP_MALFORMED;
	ip->ethertype = eth->h_proto;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *h = (void *)(eth + 1);

		if ((void *)(h + 1) > data_end || h->version != 4 || h->ihl < 5)
			return -DROP_MALFORMED;
		map_v4(ip->src, h->saddr);
		map_v4(ip->dst, h->daddr);
		ip->header_bytes = h->ihl * 4;
		ip->total_bytes = bpf_ntohs(h->tot_len);
		ip->protocol = h->protocol;
		if (h->frag_off & bpf_htons(0x1fff))
			ip->fragment = LATER_FRAGMENT;
		else
			ip->fragment = h->frag_off & bpf_htons(0x2000) ? FIRST_FRAGMENT : NOT_FRAGMENT;
		/* tot_len is 0 in a super-packet of more than 64 KiB (BIG TCP). */
		if (ip->total_bytes && ip->total_bytes < ip->header_bytes)
			return -DROP_MALFORMED;
		return 0;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *h = (void *)(eth + 1);

		if ((void *)(h + 1) > data_end || h->version != 6)
			return -DROP_MALFORMED;
		__builtin_memcpy(ip->src, &h->saddr, 16);
		__builtin_memcpy(ip->dst, &h->daddr, 16);
		ip->header_bytes = IP6_HEADER;
		ip->total_bytes = bpf_ntohs(h->payload_len) + IP6_HEADER;
		ip->protocol = h->nexthdr;
		/* Which one it is does not matter: with that header in between, no layer 4 is looked for. */
		ip->fragment = h->nexthdr == NEXTHDR_FRAGMENT_V6 ? FIRST_FRAGMENT : NOT_FRAGMENT;
		return 0;
	}
	return -DROP_INNER_PROTOCOL;
}

static __always_inline void pull_headers(struct __sk_buff *skb)
{
	if ((void *)(long)skb->data + HEADROOM_PULL > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, skb->len < HEADROOM_PULL ? skb->len : HEADROOM_PULL);
}

/* parse_ip() on an skb: makes the headers linear first where they are not. */
static __always_inline int parse_skb(struct __sk_buff *skb, struct ip_info *ip)
{
	pull_headers(skb);
	return parse_ip((void *)(long)skb->data, (void *)(long)skb->data_end, ip);
}

/*
 * Whether the network header lies `offset` bytes into the packet. Asked of the kernel, not of the bytes, which whoever sends
 * may choose: the last byte of the linear part is where it would be if counted from that header, and none is behind it.
 * Not inlined: the verifier would not know its pointers again after the subtraction.
 */
static __noinline int is_network_at(struct __sk_buff *skb, __u32 offset)
{
	__u32 bytes = skb->data_end - skb->data;
	__u8 byte;

	barrier_var(bytes); /* or the compiler adds the offset to half a pointer */
	bytes -= offset;
	if (bpf_skb_load_bytes_relative(skb, bytes - 1, &byte, 1, BPF_HDR_START_NET))
		return 0;
	return bpf_skb_load_bytes_relative(skb, bytes, &byte, 1, BPF_HDR_START_NET) != 0;
}

/*
 * The packet begins with its IP header, and what would be read as Ethernet is IP: on devices without a link layer (tun,
 * WireGuard), and behind somebody's generic XDP program that takes several buffers, whose copy of the packet has lost the
 * length of its Ethernet header (seen on Linux 6.18).
 */
static __always_inline int is_bare(struct __sk_buff *skb)
{
	return is_network_at(skb, 0);
}

/* Addresses at the network header, wherever it lies, by the version there. Returns 0 or -DROP_INNER_PROTOCOL. */
static __noinline int parse_at_network(struct __sk_buff *skb, struct ip_info *ip)
{
	struct ipv6hdr h;
	struct iphdr *h4 = (void *)&h;

	if (bpf_skb_load_bytes_relative(skb, 0, &h, IP4_HEADER, BPF_HDR_START_NET))
		return -DROP_INNER_PROTOCOL;
	if (h4->version == 4) {
		ip->ethertype = bpf_htons(ETH_P_IP);
		map_v4(ip->src, h4->saddr);
		map_v4(ip->dst, h4->daddr);
		return 0;
	}
	if (h4->version != 6 || bpf_skb_load_bytes_relative(skb, 0, &h, IP6_HEADER, BPF_HDR_START_NET))
		return -DROP_INNER_PROTOCOL;
	ip->ethertype = bpf_htons(ETH_P_IPV6);
	__builtin_memcpy(ip->src, &h.saddr, 16);
	__builtin_memcpy(ip->dst, &h.daddr, 16);
	return 0;
}

/*
 * parse_skb() at any device, for who wants no more than addresses: in front of the IP header there may be nothing, or
 * another header than Ethernet's (GRE has its outer one there).
 */
static __always_inline int parse_addresses(struct __sk_buff *skb, struct ip_info *ip)
{
	pull_headers(skb);
	if (!is_network_at(skb, ETH_HLEN) && !parse_at_network(skb, ip))
		return 0;
	return parse_ip((void *)(long)skb->data, (void *)(long)skb->data_end, ip);
}

/*
 * Neighbour discovery (RFC 4861 §4) that a router has passed on, which lowers its hop limit: nobody may believe it (§7.1).
 * A tenant's pod may say nothing but that to its node, whose routing would carry it to whom it has no tunnel, and in clear.
 */
static __always_inline int is_forwarded_link_talk(struct __sk_buff *skb)
{
	__u8 head[8], type;

	if (bpf_skb_load_bytes_relative(skb, 0, head, sizeof(head), BPF_HDR_START_NET) || head[0] >> 4 != 6 ||
	    head[6] != IPPROTO_ICMPV6 || head[7] == 255)
		return 0;
	if (bpf_skb_load_bytes_relative(skb, IP6_HEADER, &type, 1, BPF_HDR_START_NET))
		return 0;
	return type >= ND_ROUTER_SOLICITATION && type <= ND_REDIRECT;
}

/* Any further tag behind the one that the kernel took off into skb->vlan_tci. */
static __always_inline int is_tag(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD);
}

static __always_inline struct overlay_value *find_owner(__u32 vni, const __u8 addr[16])
{
	struct overlay_key key = { .prefixlen = 32 + 128, .vni = vni };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&overlay, &key);
}

static __always_inline int is_remote(const struct overlay_value *owner)
{
	return owner && owner->peer != PEER_LOCAL;
}

/* Named by the operator as not adopted yet, and announced by no node that we know of. */
static __always_inline int is_unadopted(const struct overlay_value *owner)
{
	return owner && owner->peer == PEER_NONE && owner->flags & OVERLAY_F_CLEAR;
}

static __always_inline int is_pod_range(const struct overlay_value *owner)
{
	return owner && !(owner->flags & OVERLAY_F_NODE);
}

#endif
