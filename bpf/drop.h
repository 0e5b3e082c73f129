/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Verdicts. Every function of the data plane returns PASS, REDIRECTED or -DROP_*; the one exit of each program
 * turns that into the kernel's verdict and counts the drop. Nothing else drops.
 */
#ifndef VXSEAL_DROP_H
#define VXSEAL_DROP_H

#include <linux/pkt_cls.h>
#include "maps.h"
#include "report.h"

#define PASS 0        /* not ours, or approved: the next program or the stack goes on */
#define REDIRECTED 1  /* bpf_redirect() has been called */
#define OURS 3        /* of a step on the way: go on, there is more to decide */
#define CONSUMED 2    /* ended here on purpose (a probe's reply): neither passed nor a drop */

static __always_inline void count_drop(__u32 peer, int reason, int direction, __u64 bytes)
{
	struct drop_key key = { .peer = peer, .reason = reason, .direction = direction };
	struct counter *c = bpf_map_lookup_elem(&drops, &key);

	if (!c) {
		struct counter zero = {};

		bpf_map_update_elem(&drops, &key, &zero, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&drops, &key);
		if (!c)
			return;
	}
	c->packets++;
	c->bytes += bytes;
}

/* tc: TC_ACT_UNSPEC lets programs of others at the same hook run too (TCX_NEXT has the same value). */
static __always_inline int tc_verdict(struct __sk_buff *skb, int result, __u32 peer, int direction)
{
	if (result == PASS)
		return TC_ACT_UNSPEC;
	if (result == REDIRECTED)
		return TC_ACT_REDIRECT;
	if (result < 0) {
		count_drop(peer, -result, direction, skb->len);
		report_skb_drop(skb, peer, -result, direction);
	}
	return TC_ACT_SHOT;
}

static __always_inline struct config *get_config(void)
{
	__u32 zero = 0;
	struct config *cfg = bpf_map_lookup_elem(&config, &zero);

	return cfg && cfg->abi == ABI_VERSION ? cfg : 0;
}

/*
 * skb->tc_index carries what our programs already know about a frame. It survives the VXLAN device, forwarding
 * and fragmentation inside one namespace, cannot be set through a socket, and no firewall looks at it (a mark
 * would be read by kube-proxy's rules). Every ingress hook clears it, so a value that came from another
 * namespace means nothing. The values are random per boot, as a second line.
 */
static __always_inline __u16 stamp_steered(const struct config *cfg)
{
	return cfg->stamp;
}

static __always_inline __u16 stamp_opened(const struct config *cfg)
{
	return cfg->stamp ^ 0xffff;
}

/* Opened, and addressed to the node itself: a pod gets it only if the node translates its destination. */
static __always_inline __u16 stamp_opened_for_host(const struct config *cfg)
{
	return cfg->stamp ^ 0x0ff0;
}

/*
 * Past the tunnel: sent by a permissive pod, and arrived for one. Not the last word: seal, fence and gate look whether
 * the other side still has no owner. 0 is what everything else carries.
 */
static __always_inline __u16 stamp_clear_sent(const struct config *cfg)
{
	return cfg->stamp ^ 0xf00f;
}

static __always_inline __u16 stamp_clear_arrived(const struct config *cfg)
{
	return cfg->stamp ^ 0xff00;
}

static __always_inline void count_clear(__u32 direction, __u64 bytes)
{
	struct counter *c = bpf_map_lookup_elem(&clear_stats, &direction);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

static __always_inline int is_opened(const struct __sk_buff *skb, const struct config *cfg)
{
	return skb->tc_index == stamp_opened(cfg) || skb->tc_index == stamp_opened_for_host(cfg);
}

#endif
