/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Flows from the tunnel that the node translated on their way to a pod (host ports, services: DNAT). The pod's
 * replies must pass the host stack, which alone can translate them back; steer would send them off as they are. gate
 * notes such a flow, steer asks. A flow that is forgotten is noted again by its next packet.
 */
#ifndef VXSEAL_TRANSLATED_H
#define VXSEAL_TRANSLATED_H

#include "layer4.h"

/* What has no ports of its own (fragments, ICMP errors) goes the way of any flow between the two addresses. */
static __always_inline void read_ports(struct __sk_buff *skb, const struct ip_info *ip, const struct layer4 *l4,
				       struct translated_key *key, int pod_sends)
{
	__be16 ports[2] = {}; /* source, destination: TCP, UDP and SCTP alike */

	key->protocol = l4->protocol;
	if (ip->fragment || l4->later ||
	    (l4->protocol != IPPROTO_TCP && l4->protocol != IPPROTO_UDP && l4->protocol != IPPROTO_SCTP) ||
	    bpf_skb_load_bytes(skb, l4->offset, ports, sizeof(ports))) {
		key->protocol = 0;
		return;
	}
	key->pod_port = ports[pod_sends ? 0 : 1];
	key->remote_port = ports[pod_sends ? 1 : 0];
}

/* For a frame on its way to the pod. Not inlined: its stack must not add to that of policy. */
static __noinline __attribute__((unused)) int note_translated(struct __sk_buff *skb, const struct ip_info *ip)
{
	struct translated_key key = {}, pair = {};
	struct layer4 l4 = {};
	__u32 one = 1;

	if (find_layer4(skb, ip, &l4))
		return 0;
	__builtin_memcpy(key.pod, ip->dst, 16);
	__builtin_memcpy(key.remote, ip->src, 16);
	__builtin_memcpy(pair.pod, ip->dst, 16);
	__builtin_memcpy(pair.remote, ip->src, 16);
	read_ports(skb, ip, &l4, &key, 0);
	/* The look-up alone keeps an entry from being the least recently used. */
	if (!bpf_map_lookup_elem(&translated, &key))
		bpf_map_update_elem(&translated, &key, &one, BPF_ANY);
	if (!bpf_map_lookup_elem(&translated, &pair))
		bpf_map_update_elem(&translated, &pair, &one, BPF_ANY);
	return 0;
}

/* For a frame that the pod sent. */
static __always_inline int is_translated(struct __sk_buff *skb, const struct ip_info *ip, const struct layer4 *l4)
{
	struct translated_key key = {};

	__builtin_memcpy(key.pod, ip->src, 16);
	__builtin_memcpy(key.remote, ip->dst, 16);
	read_ports(skb, ip, l4, &key, 1);
	return bpf_map_lookup_elem(&translated, &key) != 0;
}

#endif
