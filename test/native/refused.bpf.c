/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reads the packet without looking at its length: the verifier must say no. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int reads_beyond(struct xdp_md *ctx)
{
	return *(volatile int *)(long)ctx->data;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
