/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ESP (RFC 4303) with ChaCha20-Poly1305 (RFC 7634) in a per-CPU work space. Knows nothing of packets: seal and
 * open copy them in and out.
 *
 * Work space while sealing and opening:
 *   text + 48: SPI 4 | sequence 4 | IV 8     text + 64: ciphertext | ICV 16
 * so that what goes over the wire behind the outer headers is one run of bytes.
 */
#ifndef VXSEAL_ESP_H
#define VXSEAL_ESP_H

#include "aead.h"
#include "parse.h"
#include "replay.h"

#define ESP_HEADER_BYTES 16                          /* SPI, sequence, IV */
#define ESP_ICV_BYTES 16
#define ESP_OVERHEAD (ESP_HEADER_BYTES + ESP_ICV_BYTES)
#define ESP_AT 48                                    /* of SPI in aead.text */
#define TEXT_AT (ESP_AT + ESP_HEADER_BYTES)
#define ESP_TEXT_MAX (AEAD_MAX_TEXT - 64)            /* leaves room for padding and trailer */
#define PAYLOAD_MIN (UDP_HEADER + VXLAN_HEADER + ETH_HLEN)
#define VXLAN_F_VNI 0x08000000                       /* "I" flag, RFC 7348 §5 */

/*
 * What of an SA a packet is sealed or opened with. A copy, because an element of a hash map is used again as soon as
 * another CPU deletes or replaces it, also under a program that still holds it: its counter must not be used with
 * the key of the SA that moved in.
 */
struct sa_copy {
	__u32 key[8];
	__u32 salt;
	__be32 spi;              /* sealing only */
	__u32 flags;
	__u32 peer;              /* opening only */
	__u32 vni;               /* opening only */
};

struct work {
	struct aead aead;
	struct sa_copy sa;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} work SEC(".maps");

static __always_inline struct work *get_work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&work, &zero);
}

/* Keeps clang from deriving a second register for a length the verifier has already seen bounded. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/*
 * A length within its bounds, in the form that every verifier understands: one bound at a time, the lower one
 * signed, and clang kept from merging the two (Linux 6.1 and 6.12 lose the lower bound otherwise), and from using a
 * copy that it spilled before the second comparison (6.1 does not carry the bound over to it).
 */
static __always_inline int within(__u32 *len, __u32 least, __u32 most)
{
	OPAQUE(*len);
	if (*len > most)
		return 0;
	OPAQUE(*len);
	if ((int)*len < (int)least)
		return 0;
	OPAQUE(*len);
	return 1;
}

/* Padding 1, 2, 3 … to a multiple of 4 (RFC 4303 §2.4), its length, next header UDP. Returns bytes added. */
static __always_inline __u32 write_trailer(struct work *w, __u32 len)
{
	__u32 pad = -(len + 2) & 3;
	__u8 *p;

	OPAQUE(len);
	if (len > ESP_TEXT_MAX)
		return 0;
	p = w->aead.text + TEXT_AT + len;
	p[0] = 1;
	p[1] = 2;
	p[2] = 3;
	if (pad == 0) {
		p[0] = 0;
		p[1] = IPPROTO_UDP;
	} else if (pad == 1) {
		p[1] = 1;
		p[2] = IPPROTO_UDP;
	} else if (pad == 2) {
		p[2] = 2;
		p[3] = IPPROTO_UDP;
	} else {
		p[3] = 3;
		p[4] = IPPROTO_UDP;
	}
	return pad + 2;
}

/* Bytes of associated data: SPI | [high half |] low half (RFC 7634 §2.1). */
static __always_inline __u32 write_aad(__u32 aad[4], __be32 spi, __u64 seq, __u32 flags)
{
	aad[0] = spi;
	aad[3] = 0;
	if (flags & SA_F_ESN) {
		aad[1] = bpf_htonl((__u32)(seq >> 32));
		aad[2] = bpf_htonl((__u32)seq);
		return 12;
	}
	aad[1] = bpf_htonl((__u32)seq);
	aad[2] = 0;
	return 8;
}

/* Ciphertext length for `len` bytes of payload. */
static __always_inline __u32 sealed_text_bytes(__u32 len)
{
	return (len + 2 + 3) & ~3u;
}

/* Orders the copy, the counter and the comparison, for the compiler; the atomic does for the CPU. */
#define BARRIER() asm volatile("" ::: "memory")

static __always_inline int same_key(const __u32 a[8], const __u32 b[8])
{
	__u32 difference = 0;

	for (int i = 0; i < 8; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

/*
 * Seals the `len` bytes at text + 64: afterwards SPI … ICV lie at text + 48.
 * Returns the length of that, or -DROP_SA_EXHAUSTED: a counter never repeats under a key and never wraps.
 */
static __noinline __attribute__((unused)) int esp_seal(struct work *w, struct tx_sa *sa, __u32 len)
{
	__u32 aad[4], aad_bytes, text, *esp;
	__u64 seq, iv, limit;

	if (!w || !sa || len > ESP_TEXT_MAX)
		return -DROP_TOO_BIG;
	/* Checked before counting: beyond the limit the counter goes on at most once per CPU. */
	if (*(volatile __u64 *)&sa->seq >= sa->limit)
		return -DROP_SA_EXHAUSTED;
	__builtin_memcpy(w->sa.key, sa->key, sizeof(w->sa.key));
	w->sa.salt = sa->salt;
	w->sa.spi = sa->spi;
	w->sa.flags = sa->flags;
	limit = sa->limit;
	BARRIER();
	seq = __sync_fetch_and_add(&sa->seq, 1) + 1;
	BARRIER();
	if (!same_key(w->sa.key, sa->key))
		return -DROP_NO_SA; /* replaced in between: this number belongs to another key */
	if (seq > limit)
		return -DROP_SA_EXHAUSTED;
	text = len + write_trailer(w, len);
	iv = bpf_cpu_to_be64(seq);
	aad_bytes = write_aad(aad, w->sa.spi, seq, w->sa.flags);
	if (aead_seal(&w->aead, w->sa.key, w->sa.salt, iv, aad, aad_bytes, text))
		return -DROP_INTERNAL;
	esp = (__u32 *)(w->aead.text + ESP_AT);
	esp[0] = w->sa.spi;
	esp[1] = bpf_htonl((__u32)seq);
	*(__u64 *)(esp + 2) = iv;
	return text + ESP_OVERHEAD;
}

/*
 * Opens SPI … ICV at text + 48 with `text` bytes of ciphertext: afterwards UDP | VXLAN | frame lie at text + 64.
 * Authenticates, then refuses replays, then checks what was authenticated. Returns the payload's length or -DROP_*;
 * whose the packet is stands in w->sa, not in *sa.
 */
static __noinline __attribute__((unused)) int esp_open(struct work *w, struct rx_sa *sa, const struct config *cfg, __u32 text)
{
	__u32 aad[4], aad_bytes, payload, *esp, *vxlan, at;
	struct udphdr *udp;
	__u64 seq, iv;
	__u32 seq_low;
	__u8 pad, next;

	if (!w || !sa || !cfg || text > ESP_TEXT_MAX || text < PAYLOAD_MIN + 2)
		return -DROP_MALFORMED;
	__builtin_memcpy(w->sa.key, sa->key, sizeof(w->sa.key));
	w->sa.salt = sa->salt;
	w->sa.flags = sa->flags;
	w->sa.peer = sa->peer;
	w->sa.vni = sa->vni;
	BARRIER();
	esp = (__u32 *)(w->aead.text + ESP_AT);
	seq_low = bpf_ntohl(esp[1]);
	iv = *(__u64 *)(esp + 2); /* not a counter to the receiver: the kernel's own IPsec sends seq XOR random */
	seq = w->sa.flags & SA_F_ESN ? infer_sequence(sa->top, seq_low) : seq_low;
	if (!replay_may_accept(sa, seq))
		return -DROP_REPLAY;
	aad_bytes = write_aad(aad, esp[0], seq, w->sa.flags);
	if (aead_open(&w->aead, w->sa.key, w->sa.salt, iv, aad, aad_bytes, text))
		return -DROP_BAD_ICV;
	BARRIER();
	if (!same_key(w->sa.key, sa->key))
		return -DROP_UNKNOWN_SPI; /* replaced in between: the window is another SA's */
	if (!replay_accept(sa, seq, bpf_ktime_get_ns()))
		return -DROP_REPLAY;

	at = TEXT_AT + text - 2;
	OPAQUE(at);
	if (at > TEXT_AT + ESP_TEXT_MAX)
		return -DROP_MALFORMED;
	pad = w->aead.text[at];
	next = w->aead.text[at + 1];
	if (next != IPPROTO_UDP || pad + 2u + PAYLOAD_MIN > text)
		return -DROP_BAD_TRAILER;
	payload = text - 2 - pad;
	udp = (struct udphdr *)(w->aead.text + TEXT_AT);
	vxlan = (__u32 *)(udp + 1);
	if (udp->dest != bpf_htons(cfg->vxlan_port) || bpf_ntohs(udp->len) != payload ||
	    !(vxlan[0] & bpf_htonl(VXLAN_F_VNI)))
		return -DROP_NOT_VXLAN;
	if (bpf_ntohl(vxlan[1]) >> 8 != w->sa.vni)
		return -DROP_WRONG_VNI;
	return payload;
}

#endif
