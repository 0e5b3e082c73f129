// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * open: XDP on the underlay (tc ingress where XDP cannot attach). ESP of ours is authenticated, checked against
 * replay, decrypted and stripped down to the inner frame. Nothing of it passes the kernel's VXLAN socket, which
 * takes frames from anyone. What open vouches for reaches deliver as XDP metadata with this boot's cookie.
 */
#include "deliver.h"
#include "open.h"

/*
 * open_xdp: the inner frame replaces the packet up to its last byte; only the head and the metadata move. Not the tail:
 * of a packet in several buffers (jumbo frames) the kernel would take the last one as shorter, and the whole as long as
 * before (veth, seen on Linux 6.18), so that the stack reads it shifted.
 */
static __always_inline int open_packet(struct xdp_md *ctx, __u32 *peer)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct config *cfg = get_config();
	struct open_meta *meta;
	struct esp_at esp = {};
	struct ip_info ip = {};
	struct rx_sa *sa;
	struct work *w;
	__u32 total, frame, stripped;
	int result;

	if (!cfg || parse_ip(data, data_end, &ip))
		return PASS;
	result = find_esp(data, data_end, cfg, &ip, &esp);
	if (result != OURS)
		return result;
	sa = find_rx_sa(cfg, &ip, esp.spi, peer, &result);
	if (!sa)
		return result;
	w = get_work();
	total = esp.text + ESP_OVERHEAD;
	if (!w || esp.text & 3 || !within(&total, ESP_OVERHEAD + 1, ESP_TEXT_MAX + ESP_OVERHEAD))
		return -DROP_MALFORMED;
	if (bpf_xdp_load_bytes(ctx, esp.offset, w->aead.text + ESP_AT, total))
		return -DROP_MALFORMED;
	result = esp_open(w, sa, cfg, total - ESP_OVERHEAD);
	if (result < 0)
		return result;
	frame = result - UDP_HEADER - VXLAN_HEADER;
	if (!within(&frame, ETH_HLEN, ESP_TEXT_MAX))
		return -DROP_MALFORMED;
	stripped = (__u32)bpf_xdp_get_buff_len(ctx) - frame;
	if (bpf_xdp_store_bytes(ctx, stripped, w->aead.text + TEXT_AT + UDP_HEADER + VXLAN_HEADER, frame))
		return -DROP_INTERNAL;
	if (bpf_xdp_adjust_head(ctx, stripped) || bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return -DROP_INTERNAL;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -DROP_INTERNAL;
	meta->cookie = cfg->cookie;
	meta->vni = w->sa.vni;
	meta->peer = w->sa.peer;
	count_opened(w->sa.peer, 1, frame);
	return PASS;
}

SEC("xdp.frags") int open_xdp(struct xdp_md *ctx)
{
	__u32 peer = PEER_LOCAL;
	__u64 bytes = bpf_xdp_get_buff_len(ctx);
	int result = open_packet(ctx, &peer);

	if (result >= 0)
		return XDP_PASS;
	count_drop(peer, -result, DIR_INGRESS, bytes);
	report_xdp_drop(ctx, peer, -result, bytes);
	return XDP_DROP;
}

/* open_tc: decrypts and delivers in one step, since tc cannot write metadata. */
static __always_inline int open_frame(struct __sk_buff *skb, __u32 *peer)
{
	struct config *cfg = get_config();
	struct esp_at esp = {};
	struct ip_info ip = {};
	struct rx_sa *sa;
	struct work *w;
	__u32 total, frame;
	int result;

	skb->tc_index = 0;
	if (!cfg || parse_skb(skb, &ip))
		return PASS;
	result = find_esp((void *)(long)skb->data, (void *)(long)skb->data_end, cfg, &ip, &esp);
	if (result != OURS)
		return result;
	sa = find_rx_sa(cfg, &ip, esp.spi, peer, &result);
	if (!sa)
		return result;
	w = get_work();
	total = esp.text + ESP_OVERHEAD;
	if (!w || esp.text & 3 || !within(&total, ESP_OVERHEAD + 1, ESP_TEXT_MAX + ESP_OVERHEAD))
		return -DROP_MALFORMED;
	if (bpf_skb_load_bytes(skb, esp.offset, w->aead.text + ESP_AT, total))
		return -DROP_MALFORMED;
	result = esp_open(w, sa, cfg, total - ESP_OVERHEAD);
	if (result < 0)
		return result;
	frame = result - UDP_HEADER - VXLAN_HEADER;
	if (!within(&frame, ETH_HLEN, ESP_TEXT_MAX))
		return -DROP_MALFORMED;
	/* RECOMPUTE keeps a NIC's CHECKSUM_COMPLETE true; the reset ends what it said of the outer packet. */
	if (bpf_skb_store_bytes(skb, 0, w->aead.text + TEXT_AT + UDP_HEADER + VXLAN_HEADER, frame,
				BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH) ||
	    bpf_skb_change_tail(skb, frame, 0))
		return -DROP_INTERNAL;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_RESET);
	*peer = w->sa.peer;
	count_opened(*peer, 1, frame);
	return deliver_frame(skb, cfg, w->sa.vni, w->sa.peer);
}

SEC("tc") int open_tc(struct __sk_buff *skb)
{
	__u32 peer = PEER_LOCAL;
	int result = open_frame(skb, &peer);

	return tc_verdict(skb, result, peer, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
