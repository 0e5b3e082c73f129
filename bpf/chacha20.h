/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * ChaCha20 (RFC 8439 §2.1-2.4), two blocks at a time. Owns the key stream and nothing else: it neither
 * authenticates nor checks lengths. No branch and no address depends on a key, a nonce or a text.
 *
 * 32 words in flight do not fit BPF's ten registers. They live on the stack as volatile arrays, so that a quarter
 * round is four loads, sixteen operations and four stores, in this order, whatever the compiler: left to itself
 * clang mixes quarter rounds until it spills twice as much (half as fast again) and needs 350 bytes of stack
 * instead of 128, of the 512 a whole call chain has.
 *
 * Rejected: one block at a time (the chain of dependent steps leaves the processor idle); unrolled rounds (six
 * times the code, no faster); 64-bit words holding a word of each block (keeping carries apart costs more than
 * it saves).
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

/*
 * Rotation to the left by n (RFC 8439 §2.1). BPF has no rotate, and its copy, shift, shift, or is four
 * instructions. x * (2^32 + 1) is x beside itself, so a multiplication and a shift do. In assembly, or clang turns
 * it back into the four. The result's upper half is garbage, cut off by the 32-bit operation that follows.
 */
#define CHACHA20_ROTATE(x, n)                                                                                     \
	do {                                                                                                      \
		__u64 wide = (x);                                                                                 \
		asm volatile("%0 *= %1\n%0 >>= %2" : "+r"(wide) : "r"(twice), "i"(32 - (n)));                     \
		(x) = (__u32)wide;                                                                                \
	} while (0)

/* RFC 8439 §2.1 on words a, b, c, d of `x`. `twice`: 2^32 + 1. */
static __always_inline void chacha20_quarter(volatile __u32 *x, int ai, int bi, int ci, int di, __u64 twice)
{
	__u32 a = x[ai], b = x[bi], c, d = x[di];

	a += b;
	d ^= a;
	CHACHA20_ROTATE(d, 16);
	c = x[ci];
	c += d;
	b ^= c;
	CHACHA20_ROTATE(b, 12);
	a += b;
	x[ai] = a;
	d ^= a;
	CHACHA20_ROTATE(d, 8);
	x[di] = d;
	c += d;
	x[ci] = c;
	b ^= c;
	CHACHA20_ROTATE(b, 7);
	x[bi] = b;
}

/* RFC 8439 §2.3 */
static __always_inline void chacha20_columns(volatile __u32 *x, __u64 twice)
{
	chacha20_quarter(x, 0, 4, 8, 12, twice);
	chacha20_quarter(x, 1, 5, 9, 13, twice);
	chacha20_quarter(x, 2, 6, 10, 14, twice);
	chacha20_quarter(x, 3, 7, 11, 15, twice);
}

static __always_inline void chacha20_diagonals(volatile __u32 *x, __u64 twice)
{
	chacha20_quarter(x, 0, 5, 10, 15, twice);
	chacha20_quarter(x, 1, 6, 11, 12, twice);
	chacha20_quarter(x, 2, 7, 8, 13, twice);
	chacha20_quarter(x, 3, 4, 9, 14, twice);
}

struct chacha20 {
	__u32 word[16]; /* input block, RFC 8439 §2.3 */
};

struct chacha20_text {
	__u8 byte[CHACHA20_PAIR];
};

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
}

/*
 * XORs the text with the key stream of the blocks of the counter, word[12], and the one after, and moves the counter
 * on by two. The blocks alternate round by round: one's independent steps fill the gaps of the other's.
 *
 * A global function, as are the cipher's other long ones: the verifier walks it once a program, not once a call
 * and state of the caller. It takes pointers only to types of a size, and does not trust them to be there.
 */
__noinline int chacha20_pair(struct chacha20 *c, struct chacha20_text *text)
{
	volatile __u32 x[16], y[16];
	__u64 twice = 0x100000001ull;
	__u32 *state;
	word32 *out;

	if (!c || !text)
		return -1;
	state = c->word;
	out = (word32 *)text;
	asm volatile("" : "+r"(twice)); /* stays in a register */
#pragma clang loop unroll(full)
	for (int i = 0; i < 16; i++) {
		__u32 word = state[i];

		x[i] = word;
		y[i] = i == 12 ? word + 1 : word;
	}
#pragma clang loop unroll(disable)
	for (int round = 0; round < 20; round += 2) {
		chacha20_columns(x, twice);
		chacha20_columns(y, twice);
		chacha20_diagonals(x, twice);
		chacha20_diagonals(y, twice);
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < 16; i++)
		out[i] ^= x[i] + state[i];
	state[12]++;
#pragma clang loop unroll(full)
	for (int i = 0; i < 16; i++)
		out[16 + i] ^= y[i] + state[i];
	state[12]++;
	return 0;
}

#endif
