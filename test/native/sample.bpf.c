/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A map of every type that the native module reads, and small programs to run, attach and tell apart. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TEST_ETHERTYPE 0x88b5

struct locked {
	struct bpf_spin_lock lock;
	__u32 value;
};

struct lpm_key {
	__u32 prefixlen;
	__u8 addr[4];
};

#define MAP(NAME, TYPE, ENTRIES, FLAGS, KEY, VALUE)                                                                  \
	struct {                                                                                                     \
		__uint(type, TYPE);                                                                                  \
		__uint(max_entries, ENTRIES);                                                                        \
		__uint(map_flags, FLAGS);                                                                            \
		__type(key, KEY);                                                                                    \
		__type(value, VALUE);                                                                                \
	} NAME SEC(".maps")

MAP(hash, BPF_MAP_TYPE_HASH, 4096, BPF_F_NO_PREALLOC, __u32, __u64);
MAP(lru, BPF_MAP_TYPE_LRU_HASH, 64, 0, __u32, __u64);
MAP(percpu, BPF_MAP_TYPE_PERCPU_HASH, 64, 0, __u32, __u8[12]);
MAP(array, BPF_MAP_TYPE_ARRAY, 4, 0, __u32, __u64);
MAP(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 2, 0, __u32, __u32);
MAP(trie, BPF_MAP_TYPE_LPM_TRIE, 64, BPF_F_NO_PREALLOC, struct lpm_key, __u32);
MAP(guarded, BPF_MAP_TYPE_HASH, 8, 0, __u32, struct locked);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} kept SEC(".maps");

static int count(struct __sk_buff *skb, __u32 slot)
{
	__u64 *seen = bpf_map_lookup_elem(&array, &slot);

	if (skb->protocol == bpf_htons(TEST_ETHERTYPE) && seen)
		__sync_fetch_and_add(seen, 1);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int count_first(struct __sk_buff *skb)
{
	return count(skb, 0);
}

SEC("tc")
int count_second(struct __sk_buff *skb)
{
	return count(skb, 1);
}

/* Returns the mark, then changes it; touches no data. */
SEC("tc")
int mark(struct __sk_buff *skb)
{
	int before = skb->mark;

	skb->mark = before + 1;
	return before;
}

SEC("tc")
int emit(struct __sk_buff *skb)
{
	static __u64 sequence;
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return TC_ACT_SHOT;
	*record = __sync_fetch_and_add(&sequence, 1);
	bpf_ringbuf_submit(record, 0);
	return (int)skb->len;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

SEC("xdp")
int pass_too(struct xdp_md *ctx)
{
	return ctx->ingress_ifindex == 0xffffffff ? XDP_DROP : XDP_PASS;
}

/* Takes 14 bytes off the front and puts 8 bytes of metadata there. */
SEC("xdp")
int strip(struct xdp_md *ctx)
{
	__u64 *meta;

	if (bpf_xdp_adjust_head(ctx, 14) || bpf_xdp_adjust_meta(ctx, -8))
		return XDP_ABORTED;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	*meta = 0x1122334455667788ull;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
