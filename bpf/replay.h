/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Anti-replay with 64-bit sequence numbers (RFC 4303 §3.4.3, Appendix A; ring of words as in RFC 6479). The
 * window is looked at before decryption, to refuse cheaply, and advanced after authentication under the SA's lock,
 * so that two CPUs with the same packet cannot both deliver it.
 */
#ifndef VXSEAL_REPLAY_H
#define VXSEAL_REPLAY_H

#include <bpf/bpf_helpers.h>
#include "abi.h"

/*
 * The 64-bit sequence number with the low half `seq` that is nearest to the highest one authenticated; 0, which no
 * sender uses, when it would lie before the beginning. RFC 4303 §A2.2 takes everything left of the window for the
 * next subspace instead: then a packet of long ago costs an authentication and is told as forged. The price is
 * that a gap of 2^31 lost packets would not be bridged.
 */
static __always_inline __u64 infer_sequence(__u64 top, __u32 seq)
{
	__s64 ahead = (__s32)(seq - (__u32)top);

	return ahead < 0 && (__u64)-ahead > top ? 0 : top + ahead;
}

/* True when `seq` was not seen and is not left of the window. Advisory: replay_accept() decides. */
static __always_inline int replay_may_accept(const struct rx_sa *sa, __u64 seq)
{
	__u64 top = *(volatile const __u64 *)&sa->top;

	if (!seq)
		return 0;
	if (seq > top)
		return 1;
	if (top - seq >= REPLAY_WINDOW)
		return 0;
	return !(sa->window[(seq >> 6) & (REPLAY_WORDS - 1)] >> (seq & 63) & 1);
}

/* Takes `seq` in: call only after authentication. True exactly once for each number. */
static __always_inline int replay_accept(struct rx_sa *sa, __u64 seq, __u64 now_ns)
{
	__u64 bit = 1ull << (seq & 63), top, ahead;
	__u32 word = (seq >> 6) & (REPLAY_WORDS - 1);
	int fresh = 0;

	bpf_spin_lock(&sa->lock);
	top = sa->top;
	if (seq > top) {
		ahead = (seq >> 6) - (top >> 6);
		/* Words that come into the window are stale: clear them, all of them after a leap. */
		for (__u32 i = 1; i <= REPLAY_WORDS; i++) {
			if (i > ahead)
				break;
			sa->window[((top >> 6) + i) & (REPLAY_WORDS - 1)] = 0;
		}
		sa->top = seq;
		fresh = 1;
	} else if (top - seq < REPLAY_WINDOW) {
		fresh = !(sa->window[word] & bit);
	}
	if (fresh) {
		sa->window[word] |= bit;
		sa->packets++;
		sa->last_opened_ns = now_ns;
	}
	bpf_spin_unlock(&sa->lock);
	return fresh;
}

#endif
