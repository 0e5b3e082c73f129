/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Poly1305 (RFC 8439 §2.5) over whole 16-byte blocks. Owns the accumulator; padding and the order of what is
 * authenticated are aead.h's. No branch and no address depends on a key, an accumulator or a text.
 *
 * Numbers modulo 2^130 - 5 are four limbs of 32, 32, 32 and 34 bits: 16 multiplications a block, where the usual
 * five limbs of 26 bits need 25 and cost 60 % more here. It works because clamping (§2.5.1) leaves r1, r2 and r3
 * multiples of 4: 2^128 * r = 2^130 * (r / 4) = 5 * (r / 4) = r + r / 4, exact, "s" below.
 *
 * Bounds, in units of 2^32: a limb with a message word added is below 2 (limbs 1, 2), 6 (limb 3), and 3.25 (limb 0,
 * which also takes 5 times the carry of the block before, itself below 2^30). With r below 2^28 and s below
 * 1.25 * 2^28 the four sums are below 15.75, 15.25, 14.75 and 13.25 times 2^60: they fit 64 bits, with their carries.
 */
#ifndef VXSEAL_POLY1305_H
#define VXSEAL_POLY1305_H

#include "chacha20.h"

#define POLY1305_BLOCK 16
#define POLY1305_RUN 32 /* blocks poly1305_run() takes at once */

struct poly1305 {
	__u64 r0, r1, r2, r3;
	__u64 s1, s2, s3;    /* r * 5 / 4 */
	__u64 h0, h1, h2, h3; /* accumulator */
	__u64 carry;         /* out of h3, counts 5 each; added with the next block */
};

struct poly1305_text {
	__u8 byte[POLY1305_RUN * POLY1305_BLOCK];
};

/* key: 32 bytes, r | s (RFC 8439 §2.5.1). */
static __always_inline void poly1305_init(struct poly1305 *p, const word32 *key)
{
	p->r0 = key[0] & 0x0fffffff;
	p->r1 = key[1] & 0x0ffffffc;
	p->r2 = key[2] & 0x0ffffffc;
	p->r3 = key[3] & 0x0ffffffc;
	p->s1 = p->r1 + (p->r1 >> 2);
	p->s2 = p->r2 + (p->r2 >> 2);
	p->s3 = p->r3 + (p->r3 >> 2);
	p->h0 = p->h1 = p->h2 = p->h3 = p->carry = 0;
}

/*
 * Adds the first `blocks` of a run, at most POLY1305_RUN. The accumulator lives in registers meanwhile. Global:
 * see chacha20_pair().
 */
__noinline int poly1305_run(struct poly1305 *p, const struct poly1305_text *text, __u32 blocks)
{
	__u64 h0, h1, h2, h3, carry;
	const __u8 *data;

	if (!p || !text || blocks > POLY1305_RUN)
		return -1;
	h0 = p->h0;
	h1 = p->h1;
	h2 = p->h2;
	h3 = p->h3;
	carry = p->carry;
	data = text->byte;
	asm volatile("" : "+r"(blocks)); /* else clang, knowing the check above, drops the bound of the loop */
#pragma clang loop unroll(disable)
	/* The constant bound is for the verifier of Linux 6.1, which forgets that i is equal to `blocks`. */
	for (__u32 i = 0; i < POLY1305_RUN && i != blocks; i++, data += POLY1305_BLOCK) {
		const word32 *m = (const word32 *)data;
		__u64 d0, d1, d2, d3;

		h0 += m[0] + 5 * carry;
		h1 += m[1];
		h2 += m[2];
		h3 += m[3] + (1ull << 32); /* the bit above the block's 16 bytes */

		d0 = h0 * p->r0 + h1 * p->s3 + h2 * p->s2 + h3 * p->s1;
		d1 = h0 * p->r1 + h1 * p->r0 + h2 * p->s3 + h3 * p->s2;
		d2 = h0 * p->r2 + h1 * p->r1 + h2 * p->r0 + h3 * p->s3;
		d3 = h0 * p->r3 + h1 * p->r2 + h2 * p->r1 + h3 * p->r0;

		d1 += d0 >> 32;
		h0 = (__u32)d0;
		d2 += d1 >> 32;
		h1 = (__u32)d1;
		d3 += d2 >> 32;
		h2 = (__u32)d2;
		h3 = d3 & 0x3ffffffffull;
		carry = d3 >> 34;
	}
	p->h0 = h0;
	p->h1 = h1;
	p->h2 = h2;
	p->h3 = h3;
	p->carry = carry;
	return 0;
}

/* tag = (accumulator mod 2^130 - 5) + s, modulo 2^128 (RFC 8439 §2.5.1). `s`: the key's second half. */
static __always_inline void poly1305_finish(const struct poly1305 *p, const word32 *s, __u32 tag[4])
{
	__u64 h0 = p->h0 + 5 * p->carry, h1 = p->h1, h2 = p->h2, h3 = p->h3, carry;
	__u64 g0, g1, g2, g3, mask;

	for (int pass = 0; pass < 2; pass++) {
		h1 += h0 >> 32;
		h0 = (__u32)h0;
		h2 += h1 >> 32;
		h1 = (__u32)h1;
		h3 += h2 >> 32;
		h2 = (__u32)h2;
		carry = h3 >> 34;
		h3 &= 0x3ffffffffull;
		h0 += 5 * carry;
	}
	/*
	 * Both passes are needed: the 5 that a carry of the first adds may ripple. The second has none: there was a
	 * carry only if what was left is small.
	 */
	g0 = h0 + 5;
	g1 = h1 + (g0 >> 32);
	g2 = h2 + (g1 >> 32);
	g3 = h3 + (g2 >> 32);
	/* All ones when h + 5 reaches 2^130, that is when h is p or more; opaque, or clang makes it a branch. */
	mask = -(g3 >> 34);
	asm volatile("" : "+r"(mask));
	h0 = (h0 & ~mask) | ((__u32)g0 & mask);
	h1 = (h1 & ~mask) | ((__u32)g1 & mask);
	h2 = (h2 & ~mask) | ((__u32)g2 & mask);
	h3 = (h3 & ~mask) | (g3 & mask);

	h0 += s[0];
	h1 += s[1] + (h0 >> 32);
	h2 += s[2] + (h1 >> 32);
	h3 += s[3] + (h2 >> 32);
	tag[0] = h0;
	tag[1] = h1;
	tag[2] = h2;
	tag[3] = h3;
}

#endif
