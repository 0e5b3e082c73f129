/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Single packets for people to look at: every drop, as far as a few a second of each reason go, and one packet a
 * second of each flow while the agent asks for it. Costs next to nothing otherwise; decides nothing and changes no
 * packet. What is not reported is counted.
 */
#ifndef VXSEAL_REPORT_H
#define VXSEAL_REPORT_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define REPORT_WINDOW_SHIFT 27  /* nanoseconds: windows of 134 ms */
#define REPORT_DROPS 8          /* of one reason, per CPU and window */
#define REPORT_FLOWS 128        /* per CPU and window */
#define FLOW_SECOND_SHIFT 30    /* nanoseconds: about a second */

static __always_inline int report_allowed(__u32 reason, __u32 limit, __u64 now, __u32 *unreported)
{
	struct meter *meter = bpf_map_lookup_elem(&meters, &reason);
	__u64 window = now >> REPORT_WINDOW_SHIFT;

	if (!meter)
		return 0;
	if (meter->window != window) {
		meter->window = window;
		meter->used = 0;
	}
	if (meter->used >= limit) {
		meter->unreported++;
		return 0;
	}
	meter->used++;
	*unreported = meter->unreported;
	meter->unreported = 0;
	return 1;
}

static __always_inline long load_bytes(void *ctx, int xdp, __u32 at, void *to, __u32 bytes)
{
	return xdp ? bpf_xdp_load_bytes(ctx, at, to, bytes) : bpf_skb_load_bytes(ctx, at, to, bytes);
}

/* Addresses, protocol and ports as far as they can be read. */
static __always_inline void describe_packet(void *ctx, int xdp, const struct config *cfg, struct flow_event *event)
{
	__be16 ethertype = 0, ports[2] = {};
	__u32 l4 = 0;
	int later = 0;

	if (load_bytes(ctx, xdp, ETH_HLEN - 2, &ethertype, sizeof(ethertype)))
		return;
	if (ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (load_bytes(ctx, xdp, ETH_HLEN, &ip, sizeof(ip)))
			return;
		event->src[10] = event->src[11] = 0xff;
		event->dst[10] = event->dst[11] = 0xff;
		__builtin_memcpy(event->src + 12, &ip.saddr, 4);
		__builtin_memcpy(event->dst + 12, &ip.daddr, 4);
		event->protocol = ip.protocol;
		l4 = ETH_HLEN + ip.ihl * 4;
		later = ip.frag_off & bpf_htons(0x1fff);
	} else if (ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (load_bytes(ctx, xdp, ETH_HLEN, &ip, sizeof(ip)))
			return;
		__builtin_memcpy(event->src, &ip.saddr, 16);
		__builtin_memcpy(event->dst, &ip.daddr, 16);
		event->protocol = ip.nexthdr;
		l4 = ETH_HLEN + sizeof(ip);
	} else {
		return;
	}
	event->flags |= FLOW_F_IP;
	if (event->protocol == IPPROTO_ESP)
		event->flags |= FLOW_F_OUTER;
	if (later || (event->protocol != IPPROTO_TCP && event->protocol != IPPROTO_UDP) ||
	    load_bytes(ctx, xdp, l4, ports, sizeof(ports)))
		return;
	event->sport = ports[0];
	event->dport = ports[1];
	if (cfg && event->protocol == IPPROTO_UDP &&
	    (ports[1] == bpf_htons(cfg->esp_port) || ports[1] == bpf_htons(cfg->vxlan_port)))
		event->flags |= FLOW_F_OUTER;
}

static __always_inline int report_drop(void *ctx, int xdp, __u32 ifindex, __u32 peer, __u32 reason, __u32 direction,
				       __u32 bytes)
{
	__u64 now = bpf_ktime_get_ns();
	struct flow_event event = {};
	__u32 zero = 0, unreported;

	if (!report_allowed(reason, REPORT_DROPS, now, &unreported))
		return 0;
	event.type = EVENT_DROP;
	event.peer = peer;
	event.now_ns = now;
	event.ifindex = ifindex;
	event.bytes = bytes;
	event.unreported = unreported;
	event.reason = reason;
	event.direction = direction;
	describe_packet(ctx, xdp, bpf_map_lookup_elem(&config, &zero), &event);
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 0;
}

/* Not inlined: its stack must not add to that of the cipher's programs. A program uses one or two of these. */
static __noinline __attribute__((unused)) int report_skb_drop(struct __sk_buff *skb, __u32 peer, __u32 reason, __u32 direction)
{
	return report_drop(skb, 0, skb->ifindex, peer, reason, direction, skb->len);
}

static __noinline __attribute__((unused)) int report_xdp_drop(struct xdp_md *ctx, __u32 peer, __u32 reason,
							      __u32 bytes)
{
	return report_drop(ctx, 1, ctx->ingress_ifindex, peer, reason, DIR_INGRESS, bytes);
}

static __always_inline __u32 hash_flow(const struct flow_event *event)
{
	const __u32 *words = (const __u32 *)event->src; /* src, dst, both ports */
	__u32 hash = event->protocol + event->direction;

	for (int i = 0; i < 9; i++)
		hash = (hash ^ words[i]) * 0x9e3779b1u;
	return hash ^ hash >> 15;
}

static __noinline __attribute__((unused)) int report_sample(struct __sk_buff *skb, __u32 peer, __u32 vni, __u32 direction)
{
	__u64 now = bpf_ktime_get_ns(), seen;
	struct flow_event event = {};
	__u32 slot, zero = 0;
	__u64 *last;

	event.type = EVENT_FLOW;
	event.peer = peer;
	event.now_ns = now;
	event.vni = vni;
	event.ifindex = skb->ifindex;
	event.bytes = skb->len;
	event.direction = direction;
	describe_packet(skb, 0, 0, &event);
	/* Two flows in one slot cost a report more, never one less. */
	slot = hash_flow(&event);
	seen = (__u64)slot << 32 | (__u32)(now >> FLOW_SECOND_SHIFT);
	slot &= FLOW_SLOTS - 1;
	last = bpf_map_lookup_elem(&flow_seen, &slot);
	if (!last || *last == seen)
		return 0;
	*last = seen;
	if (!report_allowed(zero, REPORT_FLOWS, now, &event.unreported))
		return 0;
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	return 0;
}

/* A frame that goes on. `skb` begins with the inner frame. */
static __always_inline void sample_flow(struct __sk_buff *skb, const struct config *cfg, __u32 peer, __u32 vni,
					int direction)
{
	if (cfg->flags & CONFIG_F_FLOWS)
		report_sample(skb, peer, vni, direction);
}

#endif
