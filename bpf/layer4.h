/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What an IP packet carries: transport protocol, and where its header lies. Walks IPv6 extension headers (RFC 8200
 * §4), or one of them in front would hide an ICMPv6 message or a port. Reads only.
 */
#ifndef VXSEAL_LAYER4_H
#define VXSEAL_LAYER4_H

#include "parse.h"

#define IPV6_EXTENSIONS_MAX 6 /* an honest packet has two */

struct layer4 {
	__u32 offset;            /* in the frame */
	__u8 protocol;
	__u8 later;              /* not the first fragment: there is no transport header */
	__u16 pad;
	__u32 id;                /* of the fragments, where it is one */
};

struct extension_walk {
	struct __sk_buff *skb;
	struct layer4 *l4;
	__u32 failed;
};

static __always_inline int is_extension(__u8 protocol)
{
	return protocol == 0 || protocol == 43 || protocol == 60 || protocol == NEXTHDR_FRAGMENT_V6;
}

static long skip_extension(__u32 i __attribute__((unused)), struct extension_walk *w)
{
	__u8 head[8];

	if (!is_extension(w->l4->protocol) || w->l4->later)
		return 1;
	if (bpf_skb_load_bytes(w->skb, w->l4->offset, head, sizeof(head))) {
		w->failed = 1;
		return 1;
	}
	if (w->l4->protocol == NEXTHDR_FRAGMENT_V6) {
		w->l4->later = head[2] || head[3] & 0xf8;
		__builtin_memcpy(&w->l4->id, head + 4, 4);
		w->l4->offset += 8;
	} else {
		w->l4->offset += 8 + head[1] * 8;
	}
	w->l4->protocol = head[0];
	return 0;
}

/* Returns 0, or -DROP_MALFORMED for a chain of headers that is cut off or longer than anybody needs. */
static __always_inline int find_layer4(struct __sk_buff *skb, const struct ip_info *ip, struct layer4 *l4)
{
	struct extension_walk walk = { .skb = skb, .l4 = l4 };
	__be16 id = 0;

	l4->offset = ETH_HLEN + ip->header_bytes;
	l4->protocol = ip->protocol;
	l4->later = 0;
	if (ip->ethertype == bpf_htons(ETH_P_IP)) {
		l4->later = ip->fragment == LATER_FRAGMENT;
		if (ip->fragment)
			bpf_skb_load_bytes(skb, ETH_HLEN + 4, &id, sizeof(id));
		l4->id = id;
		return 0;
	}
	if (!is_extension(ip->protocol))
		return 0;
	bpf_loop(IPV6_EXTENSIONS_MAX, skip_extension, &walk, 0);
	return walk.failed || (is_extension(l4->protocol) && !l4->later) ? -DROP_MALFORMED : 0;
}

#endif
