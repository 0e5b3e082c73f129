// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Somebody else's program that accepts everything: what is behind it at a hook does not run. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc") int accept(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
