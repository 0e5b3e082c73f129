/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Beside the kernel's own IPsec (overlay.engine xfrm): it has the keys and does the cipher; our programs say whose
 * packets it gets, and what it let through. What they know about a packet is in skb->mark on its way through the
 * kernel, in the form of agent/kernel/xfrm/marks.ts, and taken off again.
 */
#ifndef VXSEAL_XFRM_H
#define VXSEAL_XFRM_H

#include "parse.h"

#define VNI_MARK_LOW_BITS 14

static __always_inline int is_xfrm(const struct config *cfg)
{
	return cfg->flags & CONFIG_F_XFRM;
}

/* Chooses the policy, and with it the SA, of a packet that is to be sealed; and what a state says it has opened. */
static __always_inline __u32 mark_of(__u32 vni)
{
	return XFRM_MARK_VNI | (vni & ((1 << VNI_MARK_LOW_BITS) - 1)) | (vni >> VNI_MARK_LOW_BITS) << 16;
}

/* Some state of ours has opened the packet. */
static __always_inline int is_vni_mark(__u32 mark)
{
	return (mark & ~0x03ff3fffu) == XFRM_MARK_VNI;
}

/* A socket can set a mark too (SO_MARK): only a state of ours may, behind this hook. */
static __always_inline void unmark(struct __sk_buff *skb, const struct config *cfg)
{
	if (is_xfrm(cfg) && is_vni_mark(skb->mark))
		skb->mark = 0;
}

/* The kernel's IPsec has the SA, from the peer that has that address, to the address it came to. */
static __always_inline int is_handed(const struct ip_info *ip, __be32 spi)
{
	struct rx_key key = { .spi = spi };
	struct vtep_key vtep;
	struct xfrm_rx *rx;
	__u32 *number;

	__builtin_memcpy(key.src, ip->src, 16);
	__builtin_memcpy(vtep.addr, ip->src, 16);
	rx = bpf_map_lookup_elem(&xfrm_rx, &key);
	number = bpf_map_lookup_elem(&vteps, &vtep);
	return rx && number && *number == rx->peer && !__builtin_memcmp(rx->local, ip->dst, 16);
}

#endif
