/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ChaCha20-Poly1305 as ESP uses it (RFC 8439 §2.8, RFC 7634), in place in a per-CPU work space. Owns the order of
 * what is encrypted and authenticated. Knows nothing of packets, sequence numbers or replays; that a nonce never
 * repeats under a key is the caller's. No branch and no address depends on a secret; lengths are no secrets.
 *
 * Blocks 0 (whose first half is the one-time Poly1305 key) and 1 of the key stream are made together in `head`,
 * before the text is touched: opening needs the first to authenticate and the second only afterwards. 1472 bytes
 * are then exactly 12 pairs.
 */
#ifndef VXSEAL_AEAD_H
#define VXSEAL_AEAD_H

#include "chacha20.h"
#include "poly1305.h"

#define AEAD_MAX_TEXT 9216 /* bytes; jumbo frames fit */
#define AEAD_TAG 16        /* bytes */
#define AEAD_TEXT_AT 64    /* where the text lies in `text` */
#define AEAD_AAD_AT (AEAD_TEXT_AT - POLY1305_BLOCK)

struct aead {
	struct chacha20 chacha;
	struct poly1305 poly;
	__u32 tag[4];
	__u8 head[CHACHA20_PAIR] __attribute__((aligned(16))); /* key stream, blocks 0 and 1 */
	/*
	 * [0, 48): the caller's, untouched here. [48, 64): overwritten with the associated data, so that it, the
	 * ciphertext and the lengths are one run for Poly1305; the caller's again afterwards. [64, ...): the text,
	 * the tag, and room for padding, whole pairs of blocks and whole chunks of csum.h.
	 */
	__u8 text[AEAD_TEXT_AT + AEAD_MAX_TEXT + 512] __attribute__((aligned(16)));
};

/* Keeps clang from knowing what it knows of x: else it drops, or moves to another register, the check after it. */
#define AEAD_OPAQUE(x) asm volatile("" : "+r"(x))

/* Context of the bpf_loop callbacks: a loop that the verifier walks once, whatever the length. */
struct aead_loop {
	struct aead *aead;
};

/* Block 0 of the key stream went into the key, block 1 into the first 64 bytes: pair i is blocks 2 + 2i, 3 + 2i. */
static long aead_crypt_pair(__u32 i, struct aead_loop *loop)
{
	__u32 at;

	if (i >= AEAD_MAX_TEXT / CHACHA20_PAIR)
		return 1;
	at = AEAD_TEXT_AT + CHACHA20_BLOCK + i * CHACHA20_PAIR;
	chacha20_pair(&loop->aead->chacha, (struct chacha20_text *)(loop->aead->text + at));
	return 0;
}

static long aead_mac_run(__u32 i, struct aead_loop *loop)
{
	__u32 at;

	if (i > AEAD_MAX_TEXT / (POLY1305_RUN * POLY1305_BLOCK))
		return 1;
	at = i * (POLY1305_RUN * POLY1305_BLOCK);
	AEAD_OPAQUE(at); /* else + becomes |, of which the verifier knows less */
	poly1305_run(&loop->aead->poly, (const struct poly1305_text *)(loop->aead->text + AEAD_AAD_AT + at),
		     POLY1305_RUN);
	return 0;
}

/*
 * XORs the key stream from block 1 on to the text. What lies behind it, up to a whole block, becomes garbage. Inlined:
 * a frame more, and open needs over the 512 bytes of stack that Linux 6.1 allows all calls together.
 */
static __always_inline int aead_crypt(struct aead *a, __u32 len)
{
	struct aead_loop loop = { .aead = a };
	const word64 *block1;
	word64 *text;
	__u32 rest, at;

	if (!a)
		return -1;
	block1 = (const word64 *)(a->head + CHACHA20_BLOCK);
	text = (word64 *)(a->text + AEAD_TEXT_AT);
	for (int i = 0; i < CHACHA20_BLOCK / 8; i++)
		text[i] ^= block1[i];
	if (len <= CHACHA20_BLOCK)
		return 0;
	rest = len - CHACHA20_BLOCK;
	at = (rest + CHACHA20_BLOCK - 1) / CHACHA20_PAIR;
	bpf_loop(at, aead_crypt_pair, &loop, 0);
	at *= CHACHA20_PAIR;
	if (at >= rest)
		return 0;
	AEAD_OPAQUE(at);
	if (at > AEAD_MAX_TEXT)
		return -1;
	return chacha20_block(&a->chacha, (struct chacha20_end *)(a->text + AEAD_TEXT_AT + CHACHA20_BLOCK + at));
}

/*
 * Leaves in a->tag the tag of AAD | ciphertext | padding | lengths (RFC 8439 §2.8). The 32 bytes behind the
 * ciphertext, where a received tag lies, are overwritten.
 */
__noinline int aead_mac(struct aead *a, __u32 aad_len, __u32 len)
{
	struct aead_loop loop = { .aead = a };
	__u32 blocks, rest, at;
	const word32 *key;
	word64 *p;

	AEAD_OPAQUE(len);
	if (!a || len > AEAD_MAX_TEXT)
		return -1;
	key = (const word32 *)a->head;
	p = (word64 *)(a->text + AEAD_TEXT_AT + len);
	p[0] = 0;
	p[1] = 0;
	at = (len + POLY1305_BLOCK - 1) & ~(POLY1305_BLOCK - 1u);
	AEAD_OPAQUE(at);
	if (at > AEAD_MAX_TEXT)
		return -1;
	p = (word64 *)(a->text + AEAD_TEXT_AT + at);
	p[0] = aad_len;
	p[1] = len;

	poly1305_init(&a->poly, key);
	blocks = at / POLY1305_BLOCK + 2;
	bpf_loop(blocks / POLY1305_RUN, aead_mac_run, &loop, 0);
	rest = blocks % POLY1305_RUN;
	at = blocks - rest;
	AEAD_OPAQUE(at);
	if (at > AEAD_MAX_TEXT / POLY1305_BLOCK)
		return -1;
	poly1305_run(&a->poly, (const struct poly1305_text *)(a->text + AEAD_AAD_AT + at * POLY1305_BLOCK), rest);
	poly1305_finish(&a->poly, key + 4, a->tag);
	return 0;
}

static __always_inline void aead_init(struct aead *a, const __u32 key[8], __u32 salt, __u64 iv, const __u32 aad[4],
				      __u32 aad_len)
{
	word32 *laid = (word32 *)(a->text + AEAD_AAD_AT);

	chacha20_init(&a->chacha, key, salt, iv);
	__builtin_memset(a->head, 0, sizeof(a->head));
	chacha20_pair(&a->chacha, (struct chacha20_text *)a->head);
	laid[0] = aad[0];
	laid[1] = aad[1];
	laid[2] = aad_len > 8 ? aad[2] : 0;
	laid[3] = 0;
}

/*
 * Encrypts `len` bytes at a->text + 64 in place and writes the 16 bytes of the tag behind them.
 *
 * Nonce = salt | iv, both as they lie on the wire. aad_len is 8 or 12 (RFC 7634 §2.1); aad's other words must be
 * readable and are ignored. The key stays the caller's; a->chacha and a->head hold secrets afterwards, as the map
 * that the key came from does.
 * Returns 0, or -1 when len is beyond AEAD_MAX_TEXT: the text is then still in clear and must not be sent.
 */
static __always_inline int aead_seal(struct aead *a, const __u32 key[8], __u32 salt, __u64 iv, const __u32 aad[4],
				     __u32 aad_len, __u32 len)
{
	word32 *tag;

	AEAD_OPAQUE(len);
	if (len > AEAD_MAX_TEXT)
		return -1;
	aead_init(a, key, salt, iv, aad, aad_len);
	if (aead_crypt(a, len) || aead_mac(a, aad_len, len))
		return -1;
	tag = (word32 *)(a->text + AEAD_TEXT_AT + len);
	for (int i = 0; i < 4; i++)
		tag[i] = a->tag[i];
	return 0;
}

/*
 * Authenticates `len` bytes at a->text + 64 by the tag behind them and, only if it is right, decrypts them in
 * place. The bytes behind the text are overwritten. Arguments as for aead_seal().
 * Returns 0, or -1 on a wrong tag or a len beyond AEAD_MAX_TEXT: the text must not be delivered.
 */
static __always_inline int aead_open(struct aead *a, const __u32 key[8], __u32 salt, __u64 iv, const __u32 aad[4],
				     __u32 aad_len, __u32 len)
{
	__u32 received[4], difference = 0;
	const word32 *tag;

	AEAD_OPAQUE(len);
	if (len > AEAD_MAX_TEXT)
		return -1;
	tag = (const word32 *)(a->text + AEAD_TEXT_AT + len);
	for (int i = 0; i < 4; i++)
		received[i] = tag[i];
	aead_init(a, key, salt, iv, aad, aad_len);
	if (aead_mac(a, aad_len, len))
		return -1;
	for (int i = 0; i < 4; i++) {
		difference |= received[i] ^ a->tag[i];
		AEAD_OPAQUE(difference); /* else clang compares word by word and leaves at the first that differs */
	}
	if (difference)
		return -1;
	return aead_crypt(a, len);
}

#endif
