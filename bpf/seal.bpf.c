// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * seal: tc egress on the underlay. VXLAN that our VXLAN device made becomes ESP; everything else of the overlay
 * that would leave in clear is dropped here, at the last hook before the wire. Where the kernel's own IPsec does the
 * cipher, it has done so by now, and VXLAN in clear is what it let slip.
 */
#include "clear.h"
#include "csum.h"
#include "esp.h"
#include "xfrm.h"

#define ENOTSUPP 524 /* the kernel's own, in no header of its interface */

/* Outer headers for `esp_bytes` of ESP: the IP header is the VXLAN device's with other lengths. `udp_bytes` is 0 for raw
 * ESP. */
static __always_inline int write_outer_v4(struct __sk_buff *skb, const struct config *cfg, __u32 udp_bytes,
					  __u32 esp_bytes)
{
	struct iphdr ip;
	struct udphdr udp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + IP4_HEADER, &udp, sizeof(udp)))
		return -DROP_INTERNAL;
	ip.tot_len = bpf_htons(IP4_HEADER + udp_bytes + esp_bytes);
	ip.protocol = udp_bytes ? IPPROTO_UDP : IPPROTO_ESP;
	ip.check = 0;
	ip.check = ipv4_header_csum(&ip);
	udp.dest = bpf_htons(cfg->esp_port); /* the source port stays: it is the flow's hash */
	udp.len = bpf_htons(UDP_HEADER + esp_bytes);
	udp.check = 0; /* RFC 3948 §2.1 */
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return -DROP_INTERNAL;
	if (udp_bytes && bpf_skb_store_bytes(skb, ETH_HLEN + IP4_HEADER, &udp, sizeof(udp), 0))
		return -DROP_INTERNAL;
	return PASS;
}

/* IPv6 needs a real UDP checksum: Linux drops zero (RFC 8200 §8.1). */
static __always_inline int write_outer_v6(struct __sk_buff *skb, struct work *w, const struct config *cfg,
					  __u32 udp_bytes, __u32 esp_bytes)
{
	struct ipv6hdr ip;
	struct udphdr udp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + IP6_HEADER, &udp, sizeof(udp)))
		return -DROP_INTERNAL;
	ip.payload_len = bpf_htons(udp_bytes + esp_bytes);
	ip.nexthdr = udp_bytes ? IPPROTO_UDP : IPPROTO_ESP;
	udp.dest = bpf_htons(cfg->esp_port);
	udp.len = bpf_htons(UDP_HEADER + esp_bytes);
	udp.check = 0;
	udp.check = udp6_csum(&ip, &udp, w->aead.text + ESP_AT, esp_bytes);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0))
		return -DROP_INTERNAL;
	if (udp_bytes && bpf_skb_store_bytes(skb, ETH_HLEN + IP6_HEADER, &udp, sizeof(udp), 0))
		return -DROP_INTERNAL;
	return PASS;
}

static __always_inline __u32 udp_header(__u32 sa_flags)
{
	return sa_flags & SA_F_RAW ? 0 : UDP_HEADER;
}

static __always_inline void count_sealed(__u32 peer, __u32 bytes)
{
	struct peer_stats *stats = bpf_map_lookup_elem(&peer_stats, &peer);

	if (stats) {
		stats->sealed.packets++;
		stats->sealed.bytes += bytes;
	}
}

/* The SA for a VXLAN packet, by its outer destination and VNI. */
static __always_inline struct tx_sa *find_sa(struct __sk_buff *skb, const struct ip_info *ip, __u32 *peer, int *err)
{
	struct vtep_key vtep;
	struct tx_key key;
	__be32 vxlan[2];
	__u32 *number;

	*err = -DROP_MALFORMED;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + ip->header_bytes + UDP_HEADER, vxlan, sizeof(vxlan)))
		return 0;
	__builtin_memcpy(vtep.addr, ip->dst, 16);
	number = bpf_map_lookup_elem(&vteps, &vtep);
	*err = -DROP_NO_PEER;
	if (!number)
		return 0;
	*peer = *number;
	key.vni = bpf_ntohl(vxlan[1]) >> 8;
	key.peer = *number;
	*err = -DROP_NO_SA;
	return bpf_map_lookup_elem(&tx_sa, &key);
}

/* Under an underlay that is a bridge, bond or VLAN other devices follow, whose fences take a stamp for clear text. */
static __always_inline void unstamp(struct __sk_buff *skb)
{
	skb->tc_index = 0;
}

static __always_inline int seal_frame(struct __sk_buff *skb, const struct config *cfg, const struct ip_info *ip,
				      __u32 *peer)
{
	__u32 header = ip->ethertype == bpf_htons(ETH_P_IP) ? IP4_HEADER : IP6_HEADER;
	__u32 payload = ip->total_bytes - header, outer, esp_bytes, esp_at;
	struct work *w = get_work();
	struct tx_sa *sa;
	int err;

	if (skb->tc_index != stamp_steered(cfg))
		return -DROP_FORGED_VXLAN;
	if (!w)
		return -DROP_INTERNAL;
	if (skb->gso_size)
		return -DROP_GSO;
	if (ip->fragment)
		return -DROP_FRAGMENT;
	if (ip->header_bytes != header || skb->len != ETH_HLEN + ip->total_bytes)
		return -DROP_MALFORMED;
	sa = find_sa(skb, ip, peer, &err);
	if (!sa)
		return err;
	outer = header + udp_header(sa->flags);
	/* bpf_skb_change_tail() would let it grow beyond the device's MTU. */
	if (outer + ESP_OVERHEAD + sealed_text_bytes(payload) > cfg->underlay_mtu)
		return -DROP_TOO_BIG;
	if (!within(&payload, PAYLOAD_MIN, ESP_TEXT_MAX))
		return -DROP_MALFORMED;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + header, w->aead.text + TEXT_AT, payload))
		return -DROP_MALFORMED;
	err = esp_seal(w, sa, payload);
	if (err < 0)
		return err;
	esp_bytes = err;
	outer = header + udp_header(w->sa.flags);
	/* Not supported for a packet that is left to an encapsulating device: its inner checksum is not written yet. */
	err = bpf_skb_change_tail(skb, ETH_HLEN + outer + esp_bytes, 0);
	if (err)
		return err == -ENOTSUPP ? -DROP_GSO : -DROP_INTERNAL;
	/* Segments share pages with the sender's retransmit queue: a private copy before writing. */
	if (bpf_skb_pull_data(skb, skb->len))
		return -DROP_INTERNAL;
	err = header == IP4_HEADER ? write_outer_v4(skb, cfg, udp_header(w->sa.flags), esp_bytes)
				   : write_outer_v6(skb, w, cfg, udp_header(w->sa.flags), esp_bytes);
	if (err)
		return err;
	esp_at = ETH_HLEN + outer;
	if (!within(&esp_bytes, ESP_OVERHEAD, AEAD_MAX_TEXT))
		return -DROP_INTERNAL;
	if (bpf_skb_store_bytes(skb, esp_at, w->aead.text + ESP_AT, esp_bytes, 0))
		return -DROP_INTERNAL;
	unstamp(skb);
	count_sealed(*peer, payload - UDP_HEADER - VXLAN_HEADER);
	return PASS;
}

/*
 * A state of the kernel's IPsec has sealed the packet. What is left: the flow's hash as source port of ESP in UDP
 * (the state has a fixed one), and to count it. The counted bytes hold ESP's padding too.
 */
static __always_inline int finish_sealed(struct __sk_buff *skb, const struct config *cfg, const struct ip_info *ip,
					 __u32 *peer)
{
	__u32 at = ETH_HLEN + ip->header_bytes, hash, outer = ip->header_bytes;
	struct vtep_key vtep;
	struct udphdr udp;
	__u32 *number;
	__be16 port;

	skb->mark = 0;
	__builtin_memcpy(vtep.addr, ip->dst, 16);
	number = bpf_map_lookup_elem(&vteps, &vtep);
	if (!number)
		return -DROP_NO_PEER;
	*peer = *number;
	if (ip->fragment)
		return -DROP_FRAGMENT;
	if (ip->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)) || udp.dest != bpf_htons(cfg->esp_port))
			return -DROP_CLEAR_EGRESS;
		hash = bpf_get_hash_recalc(skb);
		port = bpf_htons(0xc000 | ((hash ^ hash >> 16) & 0x3fff));
		if (udp.check && bpf_l4_csum_replace(skb, at + __builtin_offsetof(struct udphdr, check), udp.source,
						     port, BPF_F_MARK_MANGLED_0 | sizeof(port)))
			return -DROP_INTERNAL;
		if (bpf_skb_store_bytes(skb, at, &port, sizeof(port), 0))
			return -DROP_INTERNAL;
		outer += UDP_HEADER;
	} else if (ip->protocol != IPPROTO_ESP) {
		return -DROP_CLEAR_EGRESS;
	}
	unstamp(skb);
	if (ip->total_bytes > outer + ESP_OVERHEAD + UDP_HEADER + VXLAN_HEADER + 2)
		count_sealed(*peer, ip->total_bytes - outer - ESP_OVERHEAD - UDP_HEADER - VXLAN_HEADER - 2);
	return PASS;
}

static __always_inline int seal_or_refuse(struct __sk_buff *skb, __u32 *peer)
{
	struct config *cfg = get_config();
	struct ip_info ip = {};
	struct udphdr udp;

	if (!cfg)
		return PASS; /* never configured: the VXLAN device and its routes do not exist yet */
	if (parse_skb(skb, &ip))
		/* Not IP: nothing of ours. A header that contradicts itself: the stack made none, a raw socket did. */
		return skb->tc_index == stamp_steered(cfg) ? -DROP_MALFORMED : PASS;
	/* Only a state sets this mark, and only seal lets out what is stamped: one without the other is somebody else's. */
	if (is_xfrm(cfg) && skb->mark == XFRM_MARK_SEALED && skb->tc_index == stamp_steered(cfg))
		return finish_sealed(skb, cfg, &ip, peer);
	if (ip.protocol == IPPROTO_UDP && ip.fragment != LATER_FRAGMENT &&
	    !bpf_skb_load_bytes(skb, ETH_HLEN + ip.header_bytes, &udp, sizeof(udp)) &&
	    udp.dest == bpf_htons(cfg->vxlan_port))
		return seal_frame(skb, cfg, &ip, peer);
	return refuse_clear(skb, cfg, &ip, 1);
}

SEC("tc") int seal(struct __sk_buff *skb)
{
	__u32 peer = PEER_LOCAL;
	int result = seal_or_refuse(skb, &peer);

	return tc_verdict(skb, result, peer, DIR_EGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
