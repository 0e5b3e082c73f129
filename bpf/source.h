/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose address a pod's device may speak with: shared by steer, and by guard for pods that have no steer.
 */
#ifndef VXSEAL_SOURCE_H
#define VXSEAL_SOURCE_H

#include "parse.h"

static __always_inline int is_own_source(struct __sk_buff *skb, __u32 vni, const struct ip_info *ip)
{
	struct endpoint_key key = { .vni = vni };
	struct endpoint_value *endpoint;

	__builtin_memcpy(key.addr, ip->src, 16);
	endpoint = bpf_map_lookup_elem(&endpoints, &key);
	return endpoint && endpoint->ifindex == skb->ifindex;
}

#endif
