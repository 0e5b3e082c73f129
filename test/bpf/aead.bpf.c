// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Test only: the cipher and the checksums behind BPF_PROG_TEST_RUN. The packet is a request and its text; the
 * outcome lies in the map `result`, the verdict is the run's return value. 100: the request itself was bad.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../../bpf/aead.h"
#include "../../bpf/csum.h"

#define BAD_REQUEST 100

struct request {
	__u32 key[8];
	__u32 salt;
	__u32 iv[2];
	__u32 aad[4];
	__u32 aad_len;
	__u32 counter; /* first block, only for `keystream` */
	__u32 reserved[3];
};

struct work {
	struct request request;
	struct aead aead;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} result SEC(".maps");

/* Copies the request and the packet's last `len` bytes in. Returns the work space, or NULL. */
static __always_inline struct work *take(struct xdp_md *ctx, __u32 len)
{
	__u32 zero = 0;
	struct work *w = bpf_map_lookup_elem(&result, &zero);

	if (!w || bpf_xdp_load_bytes(ctx, 0, &w->request, sizeof(w->request)))
		return 0;
	if (!len)
		return w;
	/* One check at a time, and the lower one signed: else Linux 6.12 and 6.1 do not learn that len is not 0. */
	AEAD_OPAQUE(len);
	if (len > CSUM_MAX_BYTES)
		return 0;
	AEAD_OPAQUE(len);
	if ((int)len < 1)
		return 0;
	return bpf_xdp_load_bytes(ctx, (__u32)bpf_xdp_get_buff_len(ctx) - len, w->aead.text + AEAD_TEXT_AT, len) ? 0 : w;
}

static __always_inline __u32 text_bytes(struct xdp_md *ctx)
{
	return (__u32)bpf_xdp_get_buff_len(ctx) - sizeof(struct request);
}

static __always_inline __u64 iv_of(const struct request *r)
{
	return (__u64)r->iv[1] << 32 | r->iv[0];
}

SEC("xdp.frags") int seal(struct xdp_md *ctx)
{
	__u32 len = text_bytes(ctx);
	struct work *w = take(ctx, len);
	struct request *r;

	if (!w)
		return BAD_REQUEST;
	r = &w->request;
	return aead_seal(&w->aead, r->key, r->salt, iv_of(r), r->aad, r->aad_len, len) ? 1 : 0;
}

/* The text ends with its tag. */
SEC("xdp.frags") int open(struct xdp_md *ctx)
{
	__u32 len = text_bytes(ctx);
	struct work *w = take(ctx, len);
	struct request *r;

	if (!w)
		return BAD_REQUEST;
	r = &w->request;
	return aead_open(&w->aead, r->key, r->salt, iv_of(r), r->aad, r->aad_len, len - AEAD_TAG) ? 1 : 0;
}

/* What the two above cost without the cipher. */
SEC("xdp.frags") int copy(struct xdp_md *ctx)
{
	return take(ctx, text_bytes(ctx)) ? 0 : BAD_REQUEST;
}

/* XORs the first 128 bytes of the text with blocks counter and counter + 1. */
SEC("xdp.frags") int keystream(struct xdp_md *ctx)
{
	struct work *w = take(ctx, text_bytes(ctx));

	if (!w)
		return BAD_REQUEST;
	chacha20_init(&w->aead.chacha, w->request.key, w->request.salt, iv_of(&w->request));
	w->aead.chacha.word[12] = w->request.counter;
	return chacha20_pair(&w->aead.chacha, (struct chacha20_text *)(w->aead.text + AEAD_TEXT_AT));
}

/* Poly1305 under `key` over up to POLY1305_RUN whole blocks; the tag lies in aead.tag. */
SEC("xdp.frags") int poly1305(struct xdp_md *ctx)
{
	__u32 len = text_bytes(ctx);
	struct work *w = take(ctx, len);

	if (!w || len % POLY1305_BLOCK)
		return BAD_REQUEST;
	poly1305_init(&w->aead.poly, (const word32 *)w->request.key);
	if (poly1305_run(&w->aead.poly, (const struct poly1305_text *)(w->aead.text + AEAD_TEXT_AT), len / POLY1305_BLOCK))
		return BAD_REQUEST;
	poly1305_finish(&w->aead.poly, (const word32 *)w->request.key + 4, w->aead.tag);
	return 0;
}

/* The text is IPv6 header, UDP header, payload. The checksum is the verdict. */
SEC("xdp.frags") int udp6(struct xdp_md *ctx)
{
	struct {
		struct ipv6hdr ip;
		struct udphdr udp;
	} headers;
	__u32 len = text_bytes(ctx) - sizeof(headers);
	struct work *w = take(ctx, len);

	if (!w || bpf_xdp_load_bytes(ctx, sizeof(struct request), &headers, sizeof(headers)))
		return 0x10000;
	return udp6_csum(&headers.ip, &headers.udp, w->aead.text + AEAD_TEXT_AT, len);
}

/* The text begins with an IPv4 header. */
SEC("xdp.frags") int ipv4(struct xdp_md *ctx)
{
	struct work *w = take(ctx, text_bytes(ctx));

	if (!w)
		return 0x10000;
	return ipv4_header_csum((const struct iphdr *)(w->aead.text + AEAD_TEXT_AT));
}

char _license[] SEC("license") = "Dual BSD/GPL";
