/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ChaCha20 (RFC 8439 §2.1-2.4), two blocks at a time. Owns the key stream and nothing else: it neither
 * authenticates nor checks lengths. No branch and no address depends on a key, a nonce or a text.
 *
 * The rounds are generated (scripts/gen-cipher), because the compiler lays 32 words into ten registers badly: the
 * generator puts away the word that is needed last. Rotation to the left by n is a multiplication by 2^32 + 1, which
 * leaves a word beside itself, and a shift: BPF has no rotate, and the usual copy, shift, shift, or are four.
 *
 * Rejected: one block at a time (the chain of dependent steps leaves the processor idle); 64-bit words holding a word
 * of each block (keeping carries apart costs more than it saves); C, which is a tenth slower (test/bpf/chacha20_twin.h).
 */
#ifndef VXSEAL_CHACHA20_H
#define VXSEAL_CHACHA20_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the cipher loads and stores words as they lie in memory: little-endian only"
#endif

#define CHACHA20_BLOCK 64
#define CHACHA20_PAIR (2 * CHACHA20_BLOCK)

/* Words read from or written to byte buffers, at any alignment the processor takes. */
typedef __u32 __attribute__((may_alias)) word32;
typedef __u64 __attribute__((may_alias)) word64;

struct chacha20 {
	__u32 word[16];   /* input block, RFC 8439 §2.3 */
	__u32 shared[16]; /* the same after the steps that no counter reaches */
};

struct chacha20_text {
	__u8 byte[CHACHA20_PAIR];
};

struct chacha20_end {
	__u8 byte[CHACHA20_BLOCK];
};

/*
 * int chacha20_pair(struct chacha20 *c, struct chacha20_text *text)
 *
 * XORs the text with the key stream of the blocks of the counter, word[12], and the one after, and moves the counter
 * on by two. The blocks alternate round by round: one's independent steps fill the gaps of the other's. Returns -1 if
 * either pointer is NULL, else 0.
 *
 * int chacha20_block(struct chacha20 *c, struct chacha20_end *text)
 *
 * The same with one block: half as much work for an end, though more than half the time.
 *
 * Global functions, as are the cipher's other long ones: the verifier walks them once a program, not once a call
 * and state of the caller. They take pointers only to types of a size, and do not trust them to be there.
 */
#ifdef CHACHA20_ROUNDS /* another header, for the tests */
#include CHACHA20_ROUNDS
#else
#include "chacha20.gen.h"
#endif

/* "expand 32-byte k" | key | counter 0 | nonce (RFC 8439 §2.3); nonce = salt | iv as they lie on the wire. */
static __always_inline void chacha20_init(struct chacha20 *c, const __u32 key[8], __u32 salt, __u64 iv)
{
	__u32 *state = c->word;

	state[0] = 0x61707865;
	state[1] = 0x3320646e;
	state[2] = 0x79622d32;
	state[3] = 0x6b206574;
	for (int i = 0; i < 8; i++)
		state[4 + i] = key[i];
	state[12] = 0;
	state[13] = salt;
	state[14] = (__u32)iv;
	state[15] = (__u32)(iv >> 32);
	for (int i = 0; i < 16; i++)
		c->shared[i] = state[i];
	chacha20_share(c->shared);
}

#endif
