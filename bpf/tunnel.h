/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Into the tunnel: inner Ethernet addresses, TCP's segment size, and the metadata from which the kernel's VXLAN
 * device builds the outer header (RFC 7348). Encrypts nothing; seal does, on the underlay.
 */
#ifndef VXSEAL_TUNNEL_H
#define VXSEAL_TUNNEL_H

#include <linux/tcp.h>
#include "parse.h"

#define TCP_OPTIONS_MAX 40
#define TCP_MSS_KIND 2
#define TCP_MSS_BYTES 4

struct mss_search {
	__u8 options[TCP_OPTIONS_MAX];
	__u32 bytes;             /* of options in the segment */
	__u32 at;                /* of the option to look at; of the MSS option once it is found */
	__u32 found;
};

/* One option a call (RFC 9293 §3.1). A callback, because the verifier walks a plain loop once per option and path:
 * half a million instructions and seconds of every start. */
static long find_mss(__u32 i __attribute__((unused)), struct mss_search *s)
{
	__u32 at = s->at, kind, len;

	if (at > TCP_OPTIONS_MAX - TCP_MSS_BYTES || at + TCP_MSS_BYTES > s->bytes)
		return 1;
	kind = s->options[at];
	len = s->options[at + 1];
	if (kind == 0)
		return 1;
	if (kind == 1) {
		s->at = at + 1;
		return 0;
	}
	if (len < 2)
		return 1;
	if (kind == TCP_MSS_KIND && len == TCP_MSS_BYTES) {
		s->found = 1;
		return 1;
	}
	s->at = at + len;
	return 0;
}

/*
 * Lowers the MSS option of a SYN to what one sealed packet carries (RFC 9293 §3.7.1), in both directions, so
 * that TCP works where a firewall eats ICMP. Other segments are left alone.
 */
static __noinline int clamp_mss(struct __sk_buff *skb, __u32 l4, __u32 mss_max)
{
	struct mss_search s = {};
	__u16 mss, before, after;
	struct tcphdr tcp;
	__u32 bytes, at;

	if (bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp)) || !tcp.syn || tcp.doff <= 5)
		return PASS;
	bytes = tcp.doff * 4 - sizeof(tcp);
	if (bytes < 1 || bytes > TCP_OPTIONS_MAX)
		return PASS;
	if (bpf_skb_load_bytes(skb, l4 + sizeof(tcp), s.options, bytes))
		return PASS;
	s.bytes = bytes;
	bpf_loop(TCP_OPTIONS_MAX, find_mss, &s, 0);
	at = s.at;
	if (!s.found || at > TCP_OPTIONS_MAX - TCP_MSS_BYTES)
		return PASS;
	mss = (s.options[at + 2] << 8) | s.options[at + 3];
	if (mss <= mss_max)
		return PASS;
	before = bpf_htons(mss);
	after = bpf_htons(mss_max);
	if (bpf_skb_store_bytes(skb, l4 + sizeof(tcp) + at + 2, &after, 2, 0))
		return -DROP_INTERNAL;
	/* At an odd offset the option straddles two words of the checksum: its bytes count swapped. */
	if (at & 1) {
		before = __builtin_bswap16(before);
		after = __builtin_bswap16(after);
	}
	if (bpf_l4_csum_replace(skb, l4 + __builtin_offsetof(struct tcphdr, check), before, after, 2))
		return -DROP_INTERNAL;
	return PASS;
}

static __always_inline int clamp_tcp(struct __sk_buff *skb, const struct config *cfg, const struct ip_info *ip)
{
	__u32 headers = ip->ethertype == bpf_htons(ETH_P_IP) ? 20 + 20 : 40 + 20;

	if (ip->protocol != IPPROTO_TCP || ip->fragment || cfg->vxlan_mtu <= headers)
		return PASS;
	return clamp_mss(skb, ETH_HLEN + ip->header_bytes, cfg->vxlan_mtu - headers);
}

/*
 * Addresses the frame to `peer`: tunnel metadata for the VXLAN device, inner MACs (RFC 7348 §4), and the stamp
 * without which seal drops it. Returns PASS or -DROP_*.
 */
static __always_inline int address_to(struct __sk_buff *skb, const struct config *cfg, __u32 peer, __u32 vni)
{
	struct peer_value *p = bpf_map_lookup_elem(&peers, &peer);
	struct bpf_tunnel_key key = { .tunnel_id = vni, .tunnel_ttl = 64 };
	__u64 flags = BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT;
	const __u32 *remote, *local;
	__u8 macs[2 * ETH_ALEN];

	if (!p)
		return -DROP_NO_PEER;
	remote = (const __u32 *)p->vtep;
	local = (const __u32 *)p->local;
	if (remote[0] == 0 && remote[1] == 0 && remote[2] == bpf_htonl(0xffff)) {
		key.remote_ipv4 = bpf_ntohl(remote[3]);
		key.local_ipv4 = bpf_ntohl(local[3]);
	} else {
		flags |= BPF_F_TUNINFO_IPV6;
		__builtin_memcpy(key.remote_ipv6, remote, 16);
		__builtin_memcpy(key.local_ipv6, local, 16);
	}
	__builtin_memcpy(macs, p->mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, cfg->mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return -DROP_INTERNAL;
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags))
		return -DROP_INTERNAL;
	skb->tc_index = stamp_steered(cfg);
	return PASS;
}

#endif
