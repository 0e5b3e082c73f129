/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Internet checksums (RFC 1071) of the outer headers. Results are as they lie in the packet: store them without
 * byte swapping. Changes no packet.
 */
#ifndef VXSEAL_CSUM_H
#define VXSEAL_CSUM_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CSUM_MAX_BYTES 9728 /* whole chunks; the ESP packet of a full work space (aead.h) is shorter */
#define CSUM_CHUNK 512 /* bpf_csum_diff() refuses more before Linux 6.13 */

/* One's complement of the 16-bit one's complement sum. */
static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (__u16)~sum;
}

/* Of a header without options, whose `check` is 0 (RFC 791 §3.1). */
static __always_inline __u16 ipv4_header_csum(const struct iphdr *ip)
{
	const __u32 *words = (const __u32 *)ip;
	__u64 sum = 0;

	for (int i = 0; i < 5; i++)
		sum += words[i];
	return csum_fold(sum);
}

struct csum_loop {
	const __u8 *data;
	__u64 sum;
};

static long csum_chunk(__u32 i, struct csum_loop *loop)
{
	if (i >= CSUM_MAX_BYTES / CSUM_CHUNK)
		return 1;
	loop->sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)(loop->data + i * CSUM_CHUNK), CSUM_CHUNK, 0);
	return 0;
}

/*
 * Sum of `bytes` at `data`, not folded. `data` begins at an even place of the checksummed run; CSUM_MAX_BYTES must be
 * readable from there on, whatever `bytes` is, and beyond that many bytes the sum is 0.
 */
static __noinline __u64 csum_sum(const __u8 *data, __u32 bytes)
{
	struct csum_loop loop = { .data = data };
	__u32 at = bytes & ~(CSUM_CHUNK - 1u), rest = bytes & (CSUM_CHUNK - 4u), odd = bytes & 3;

	asm volatile("" : "+r"(at), "+r"(rest), "+r"(odd));
	if (at > CSUM_MAX_BYTES - CSUM_CHUNK || rest > CSUM_CHUNK - 4)
		return 0;
	bpf_loop(at / CSUM_CHUNK, csum_chunk, &loop, 0);
	data += at;
	if (rest)
		loop.sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)data, rest, 0);
	data += rest;
	if (odd > 0)
		loop.sum += data[0];
	if (odd > 1)
		loop.sum += (__u32)data[1] << 8;
	if (odd > 2)
		loop.sum += (__u32)data[2] << 16;
	return loop.sum;
}

/*
 * Of UDP over IPv6 (RFC 8200 §8.1): pseudo-header, `udp` with its length set and its `check` 0, and `bytes` of
 * payload at `data` (as for csum_sum()). Never 0, which would mean "none" and is dropped by Linux.
 */
static __always_inline __u16 udp6_csum(const struct ipv6hdr *ip, const struct udphdr *udp, const __u8 *data,
				       __u32 bytes)
{
	const __u32 *addresses = (const __u32 *)&ip->saddr, *header = (const __u32 *)udp;
	__u64 sum = csum_sum(data, bytes);
	__u16 check;

	for (int i = 0; i < 8; i++)
		sum += addresses[i];
	sum += header[0];
	sum += header[1];
	sum += udp->len;
	sum += bpf_htons(17); /* next header UDP */
	check = csum_fold(sum);
	return check ? check : 0xffff;
}

#endif
