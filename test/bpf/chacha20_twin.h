/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The rounds of ChaCha20 as the compiler makes them of C, in place of chacha20.gen.h: what the generated assembly must
 * agree with, and what it must be faster than. They share no steps between blocks.
 *
 * 32 words in flight do not fit BPF's ten registers. They live on the stack as volatile arrays, so that a quarter
 * round is four loads, sixteen operations and four stores, in this order: left to itself clang mixes quarter rounds
 * until it spills twice as much (half as fast again) and needs 350 bytes of stack instead of 128, of the 512 a whole
 * call chain has.
 */
#ifndef VXSEAL_CHACHA20_TWIN_H
#define VXSEAL_CHACHA20_TWIN_H

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

static __always_inline void chacha20_share(__u32 word[16])
{
	(void)word;
}

/* `ahead`: how many blocks after the counter's this one is. */
static __always_inline void chacha20_load(volatile __u32 *x, const __u32 *state, __u32 ahead)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < 16; i++)
		x[i] = i == 12 ? state[i] + ahead : state[i];
}

/* RFC 8439 §2.3 and §2.4: the input is added, the text XORed, and the counter moves on. */
static __always_inline void chacha20_meet(word32 *out, const volatile __u32 *x, __u32 *state)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < 16; i++)
		out[i] ^= x[i] + state[i];
	state[12]++;
}

__noinline int chacha20_pair(struct chacha20 *c, struct chacha20_text *text)
{
	volatile __u32 x[16], y[16];
	__u64 twice = 0x100000001ull;

	if (!c || !text)
		return -1;
	asm volatile("" : "+r"(twice)); /* stays in a register */
	chacha20_load(x, c->word, 0);
	chacha20_load(y, c->word, 1);
#pragma clang loop unroll(disable)
	for (int round = 0; round < 20; round += 2) {
		chacha20_columns(x, twice);
		chacha20_columns(y, twice);
		chacha20_diagonals(x, twice);
		chacha20_diagonals(y, twice);
	}
	chacha20_meet((word32 *)text, x, c->word);
	chacha20_meet((word32 *)text + 16, y, c->word);
	return 0;
}

__noinline int chacha20_block(struct chacha20 *c, struct chacha20_end *text)
{
	volatile __u32 x[16];
	__u64 twice = 0x100000001ull;

	if (!c || !text)
		return -1;
	asm volatile("" : "+r"(twice));
	chacha20_load(x, c->word, 0);
#pragma clang loop unroll(disable)
	for (int round = 0; round < 20; round += 2) {
		chacha20_columns(x, twice);
		chacha20_diagonals(x, twice);
	}
	chacha20_meet((word32 *)text, x, c->word);
	return 0;
}

#endif
