/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which arriving packets are ours to open, for XDP and tc alike. Copies nothing.
 */
#ifndef VXSEAL_OPEN_H
#define VXSEAL_OPEN_H

#include "esp.h"

/* Where the ESP packet lies in the frame. */
struct esp_at {
	__u32 offset;            /* of the SPI */
	__u32 text;              /* bytes of ciphertext */
	__be32 spi;
};

/* PASS: the stack's. -DROP_*: refused. OURS: `esp` is set. */
static __always_inline int find_esp(void *data, void *data_end, const struct config *cfg, const struct ip_info *ip,
				    struct esp_at *esp)
{
	__u32 header = ip->header_bytes, outer = header;
	struct udphdr *udp;
	__be32 *spi;

	if (ip->fragment)
		return PASS; /* reassembled by the stack, where nothing listens and admit refuses VXLAN */
	if (header > 60)
		return -DROP_MALFORMED;
	if (ip->protocol == IPPROTO_UDP) {
		udp = data + ETH_HLEN + header;
		if ((void *)(udp + 1) > data_end)
			return PASS;
		if (udp->dest == bpf_htons(cfg->vxlan_port))
			return -DROP_FORGED_VXLAN;
		if (udp->dest != bpf_htons(cfg->esp_port))
			return PASS;
		outer += UDP_HEADER;
		/* NAT keepalive (RFC 3948 §2.3) and the like. */
		if (bpf_ntohs(udp->len) < UDP_HEADER + 4)
			return PASS;
		if (bpf_ntohs(udp->len) != ip->total_bytes - header)
			return -DROP_MALFORMED;
	} else if (ip->protocol != IPPROTO_ESP) {
		return PASS;
	}
	spi = data + ETH_HLEN + outer;
	if ((void *)(spi + 1) > data_end)
		return -DROP_MALFORMED;
	if (!*spi)
		return PASS; /* non-ESP marker: IKE (RFC 3948 §2.2) */
	esp->offset = ETH_HLEN + outer;
	esp->spi = *spi;
	/* Bounds against the frame come with the copy, which sees fragments of the buffer too. */
	if (ip->total_bytes < outer + ESP_OVERHEAD + PAYLOAD_MIN + 2)
		esp->text = 0;
	else
		esp->text = ip->total_bytes - outer - ESP_OVERHEAD;
	return OURS;
}

static __always_inline int is_peer(const struct ip_info *ip)
{
	struct vtep_key vtep;

	__builtin_memcpy(vtep.addr, ip->src, 16);
	return !!bpf_map_lookup_elem(&vteps, &vtep);
}

/* Nobody here has the SA. A stranger's SPI is an IKE daemon's where the port is shared. */
static __always_inline int refuse_unknown(const struct config *cfg, const struct ip_info *ip)
{
	return cfg->flags & CONFIG_F_SHARED_PORT && !is_peer(ip) ? PASS : -DROP_UNKNOWN_SPI;
}

/* The SA, or why there is none. */
static __always_inline struct rx_sa *find_rx_sa(const struct config *cfg, const struct ip_info *ip, __be32 spi,
						__u32 *peer, int *err)
{
	struct rx_key key = { .spi = spi };
	struct rx_sa *sa;

	__builtin_memcpy(key.src, ip->src, 16);
	sa = bpf_map_lookup_elem(&rx_sa, &key);
	if (sa)
		*peer = sa->peer;
	else
		*err = refuse_unknown(cfg, ip);
	return sa;
}

#endif
