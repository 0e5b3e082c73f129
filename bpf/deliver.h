/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * From a decrypted frame to its receiver on this node. The key proved which peer sent it; here the frame must
 * prove to speak for that peer only. Shared by deliver (behind XDP) and open_tc.
 */
#ifndef VXSEAL_DELIVER_H
#define VXSEAL_DELIVER_H

#include "local.h"
#include "shared.h"
#include "tunnel.h"

static __always_inline int report_reply(const struct probe *probe, __u32 peer, __u32 bytes)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return CONSUMED; /* the agent is not reading: the probe counts as lost */
	event->type = EVENT_PROBE_REPLY;
	event->peer = peer;
	event->now_ns = bpf_ktime_get_ns();
	event->probe_id = probe->id;
	event->probe_sent_ns = probe->sent_ns;
	event->probe_bytes = bytes;
	event->reserved = 0;
	bpf_ringbuf_submit(event, 0);
	return CONSUMED;
}

/* A request goes back through the tunnel it came from, at its full size; a reply goes to the agent. Not inlined, as below. */
static __noinline int answer_probe(struct __sk_buff *skb, const struct config *cfg, __u32 vni, __u32 peer)
{
	struct probe probe;
	__u8 reply = 1;
	int err;

	if (bpf_skb_load_bytes(skb, 0, &probe, sizeof(probe)) || probe.version != 1)
		return -DROP_MALFORMED;
	if (probe.reply)
		return report_reply(&probe, peer, skb->len);
	if (bpf_skb_store_bytes(skb, __builtin_offsetof(struct probe, reply), &reply, 1, 0))
		return -DROP_INTERNAL;
	err = address_to(skb, cfg, peer, vni);
	if (err)
		return err;
	bpf_redirect(cfg->vxlan_ifindex, 0);
	return REDIRECTED;
}

/*
 * Whether the frame speaks for `peer` and is for this node. Between tenants it travels under the serving one's VNI: then
 * one end is of `vni`, and the other's owner is looked up in its own. Returns the VNI of the receiver, or -DROP_*. Not
 * inlined: its stack must not add to that of the cipher.
 */
static __noinline int find_receiver(const struct config *cfg, const struct ip_info *ip, __u32 vni, __u32 peer)
{
	struct overlay_value *from = find_owner(vni, ip->src), *to = find_owner(vni, ip->dst);
	__u32 receiving = vni, found = 0;

	if (vni != cfg->host_vni && !from && to) {
		found = find_way(vni, ip->dst, ip->src);
		if (way_of(found) == WAY_SERVER)
			from = find_owner(vni_of(found), ip->src);
	} else if (vni != cfg->host_vni && from && !to) {
		found = find_way(vni, ip->src, ip->dst);
		receiving = vni_of(found);
		if (way_of(found) == WAY_SERVER)
			to = find_owner(receiving, ip->dst);
	}
	if (!from || from->peer != peer)
		return -DROP_INNER_SOURCE;
	if (!to || to->peer != PEER_LOCAL)
		return -DROP_INNER_DESTINATION;
	return receiving;
}

/*
 * `peer` is the one whose key opened the frame, `vni` the SA's. Returns OURS for a frame that is stamped and goes to
 * the host's stack through the VXLAN device; otherwise its way is decided.
 */
static __always_inline int approve_frame(struct __sk_buff *skb, const struct config *cfg, __u32 vni, __u32 peer)
{
	struct layer4 l4 = {};
	struct ip_info ip = {};
	int err;

	skb->tc_index = 0;
	err = parse_skb(skb, &ip);
	if (err == -DROP_INNER_PROTOCOL && ip.ethertype == bpf_htons(PROBE_ETHERTYPE))
		return answer_probe(skb, cfg, vni, peer);
	if (err)
		return err;
	err = find_receiver(cfg, &ip, vni, peer);
	if (err < 0)
		return err;
	vni = err;
	err = find_layer4(skb, &ip, &l4);
	if (err)
		return err;
	if (is_link_talk(skb, &l4))
		return -DROP_ROUTER;
	err = clamp_tcp(skb, cfg, &ip);
	if (err)
		return err;
	skb->tc_index = is_endpoint(vni, ip.dst) ? stamp_opened(cfg) : stamp_opened_for_host(cfg);
	sample_flow(skb, cfg, peer, vni, DIR_INGRESS);
	if (vni != cfg->host_vni)
		return deliver_to_pod(skb, cfg, vni, &ip, &l4);
	return OURS;
}

static __always_inline int deliver_frame(struct __sk_buff *skb, const struct config *cfg, __u32 vni, __u32 peer)
{
	int result = approve_frame(skb, cfg, vni, peer);

	if (result != OURS)
		return result;
	bpf_redirect(cfg->vxlan_ifindex, BPF_F_INGRESS);
	return REDIRECTED;
}

/* Several packets where GRO has put them together. */
static __always_inline void count_opened(__u32 peer, __u32 packets, __u32 bytes)
{
	struct peer_stats *stats = bpf_map_lookup_elem(&peer_stats, &peer);

	if (stats) {
		stats->opened.packets += packets;
		stats->opened.bytes += bytes;
	}
}

#endif
