/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The map `kept` of sample.bpf.c as another version would have it. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u8[24]);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} kept SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
