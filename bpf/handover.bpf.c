// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * open, where the kernel's own IPsec does the cipher: in the place of open.bpf.c, under the same names. The kernel would
 * take ESP in UDP (RFC 3948) only through a socket, which ends with its process; so the UDP header of what is ours is
 * taken off, and the kernel gets what RFC 4303 has, still sealed. Everything else is refused as open does.
 */
#include "csum.h"
#include "open.h"
#include "xfrm.h"

struct ether4 {
	struct ethhdr eth;
	struct iphdr ip;
} __attribute__((packed));

struct ether6 {
	struct ethhdr eth;
	struct ipv6hdr ip;
} __attribute__((packed));

static __always_inline void become_esp4(struct iphdr *ip)
{
	ip->tot_len = bpf_htons(bpf_ntohs(ip->tot_len) - UDP_HEADER);
	ip->protocol = IPPROTO_ESP;
	ip->check = 0;
	ip->check = ipv4_header_csum(ip);
}

static __always_inline void become_esp6(struct ipv6hdr *ip)
{
	ip->payload_len = bpf_htons(bpf_ntohs(ip->payload_len) - UDP_HEADER);
	ip->nexthdr = IPPROTO_ESP;
}

/* PASS: the stack's. -DROP_*: refused. OURS: the UDP header is to go, and the rest is the kernel's IPsec's. */
static __always_inline int find_handed(void *data, void *data_end, const struct config *cfg, struct ip_info *ip)
{
	struct esp_at esp = {};
	int result;

	/* The kernel would put them together, and open them without asking whose they are. */
	if (ip->fragment && ip->protocol == IPPROTO_ESP && is_peer(ip))
		return -DROP_FRAGMENT;
	result = find_esp(data, data_end, cfg, ip, &esp);
	if (result != OURS)
		return result;
	if (!is_handed(ip, esp.spi))
		return refuse_unknown(cfg, ip);
	if (!esp.text || esp.text & 3)
		return -DROP_MALFORMED;
	if (ip->protocol != IPPROTO_UDP)
		return PASS;
	/* Options would move with the wrong part. */
	return ip->header_bytes == (ip->ethertype == bpf_htons(ETH_P_IP) ? IP4_HEADER : IP6_HEADER) ? OURS
												  : -DROP_MALFORMED;
}

static __always_inline int hand_over_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct config *cfg = get_config();
	struct ipv6hdr header6;
	struct iphdr header4;
	struct ip_info ip = {};
	struct ether4 four;
	struct ether6 six;
	int result;

	if (!cfg || parse_ip(data, data_end, &ip))
		return PASS;
	result = find_handed(data, data_end, cfg, &ip);
	if (result != OURS)
		return result;
	if (ip.ethertype == bpf_htons(ETH_P_IP)) {
		if (bpf_xdp_load_bytes(ctx, 0, &four, sizeof(four)))
			return -DROP_MALFORMED;
		header4 = four.ip;
		become_esp4(&header4);
		four.ip = header4;
		if (bpf_xdp_adjust_head(ctx, UDP_HEADER) || bpf_xdp_store_bytes(ctx, 0, &four, sizeof(four)))
			return -DROP_INTERNAL;
		return PASS;
	}
	if (bpf_xdp_load_bytes(ctx, 0, &six, sizeof(six)))
		return -DROP_MALFORMED;
	header6 = six.ip;
	become_esp6(&header6);
	six.ip = header6;
	if (bpf_xdp_adjust_head(ctx, UDP_HEADER) || bpf_xdp_store_bytes(ctx, 0, &six, sizeof(six)))
		return -DROP_INTERNAL;
	return PASS;
}

static __always_inline int hand_over_tc(struct __sk_buff *skb)
{
	struct config *cfg = get_config();
	struct ip_info ip = {};
	struct ipv6hdr six;
	struct iphdr four;
	int result;

	skb->tc_index = 0;
	if (!cfg)
		return PASS;
	unmark(skb, cfg);
	if (parse_skb(skb, &ip))
		return PASS;
	result = find_handed((void *)(long)skb->data, (void *)(long)skb->data_end, cfg, &ip);
	if (result != OURS)
		return result;
	if (ip.ethertype == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &four, sizeof(four)))
			return -DROP_MALFORMED;
		become_esp4(&four);
		if (bpf_skb_store_bytes(skb, ETH_HLEN, &four, sizeof(four), 0))
			return -DROP_INTERNAL;
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &six, sizeof(six)))
			return -DROP_MALFORMED;
		become_esp6(&six);
		if (bpf_skb_store_bytes(skb, ETH_HLEN, &six, sizeof(six), 0))
			return -DROP_INTERNAL;
	}
	return bpf_skb_adjust_room(skb, -UDP_HEADER, BPF_ADJ_ROOM_NET, 0) ? -DROP_INTERNAL : PASS;
}

SEC("xdp.frags") int open_xdp(struct xdp_md *ctx)
{
	__u64 bytes = bpf_xdp_get_buff_len(ctx);
	int result = hand_over_xdp(ctx);

	if (result >= 0)
		return XDP_PASS;
	count_drop(PEER_LOCAL, -result, DIR_INGRESS, bytes);
	report_xdp_drop(ctx, PEER_LOCAL, -result, bytes);
	return XDP_DROP;
}

SEC("tc") int open_tc(struct __sk_buff *skb)
{
	return tc_verdict(skb, hand_over_tc(skb), PEER_LOCAL, DIR_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
