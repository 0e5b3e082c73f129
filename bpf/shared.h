/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The one way between tenants: a service that its tenant shares with named addresses of others. Which they are is the
 * configuration's (core/shared.ts), which also holds that an address means one thing only to each of the two. Packets
 * of it, both ways, travel under the serving tenant's VNI. Decides nothing by itself: policy.h holds both sides to it.
 */
#ifndef VXSEAL_SHARED_H
#define VXSEAL_SHARED_H

#include "parse.h"

/* Beside enum direction in one argument. */
#define WAY_MASK (WAY_CLIENT | WAY_SERVER)

/* What find_way() returns: both in one number, since room on the stack is short. */
static __always_inline int way_of(__u32 found)
{
	return found >> 24;
}

static __always_inline __u32 vni_of(__u32 found)
{
	return found & 0xffffff;
}

static __always_inline struct shared_value *find_shared(__u32 vni, const __u8 addr[16])
{
	struct overlay_key key = { .prefixlen = 32 + 128, .vni = vni };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&shared, &key);
}

/*
 * What the address `own` of a VNI is to `remote`, which nobody in that VNI has: WAY_CLIENT or WAY_SERVER, with the VNI
 * that `remote` is of; 0 where they have nothing to do with each other.
 */
static __noinline __u32 find_way(__u32 vni, const __u8 own[16], const __u8 remote[16])
{
	struct shared_value *away = find_shared(vni, remote), *home;

	if (!away)
		return 0;
	home = find_shared(away->vni, own);
	if (!home || home->vni != vni || home->way == away->way || !(home->services & away->services))
		return 0;
	return (away->way & WAY_MASK) << 24 | vni_of(away->vni);
}

#endif
