// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * A bad cable: ESP over IPv4 that leaves a port of the lab's bridge is lost, altered, doubled or held back, each by
 * chance and counted. Behind it stands a queueing discipline with a slow class: what is held back is overtaken.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ESP_PORT 4500
#define SLOW_CLASS 0x10002u /* 1:2 */
#define COPY_MARK 0x766361u /* a copy of ours: it is not judged again */
#define IV_AT (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr) + 8)

/* Of 65,536 packets. */
struct chances {
	__u32 lose;
	__u32 alter;
	__u32 copy;
	__u32 hold;
};
struct tally {
	__u64 seen;
	__u64 lost;
	__u64 altered;
	__u64 copied;
	__u64 held;
	__u64 failed;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct chances);
} chances SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tally SEC(".maps");

static __always_inline int is_esp(struct __sk_buff *skb)
{
	__be16 type = 0, port = 0;
	__u8 protocol = 0;

	return !bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &type, sizeof(type)) &&
	       type == bpf_htons(ETH_P_IP) &&
	       !bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, protocol), &protocol, 1) &&
	       protocol == IPPROTO_UDP &&
	       !bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct iphdr) + offsetof(struct udphdr, dest), &port, 2) &&
	       port == bpf_htons(ESP_PORT);
}

static __always_inline int strikes(__u32 chance)
{
	return (bpf_get_prandom_u32() & 0xffff) < chance;
}

/* One bit of IV, ciphertext or ICV: headers stay whole, so that what happens has one name. */
static __always_inline int alter(struct __sk_buff *skb)
{
	__u32 at = IV_AT + bpf_get_prandom_u32() % (skb->len - IV_AT);
	__u8 byte = 0;

	if (bpf_skb_load_bytes(skb, at, &byte, 1))
		return -1;
	byte ^= 1 << (bpf_get_prandom_u32() & 7);
	return bpf_skb_store_bytes(skb, at, &byte, 1, 0);
}

SEC("tc") int cable(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct chances *chance = bpf_map_lookup_elem(&chances, &zero);
	struct tally *count = bpf_map_lookup_elem(&tally, &zero);

	if (!chance || !count || skb->mark == COPY_MARK || skb->len <= IV_AT || !is_esp(skb))
		return TC_ACT_OK;
	__sync_fetch_and_add(&count->seen, 1);
	if (strikes(chance->lose)) {
		__sync_fetch_and_add(&count->lost, 1);
		return TC_ACT_SHOT;
	}
	if (strikes(chance->alter)) {
		/* Not copied too: a copy of what was never authenticated is no replay. */
		__sync_fetch_and_add(alter(skb) ? &count->failed : &count->altered, 1);
		return TC_ACT_OK;
	}
	if (strikes(chance->hold)) {
		skb->priority = SLOW_CLASS;
		__sync_fetch_and_add(&count->held, 1);
	}
	if (strikes(chance->copy)) {
		skb->mark = COPY_MARK;
		__sync_fetch_and_add(bpf_clone_redirect(skb, skb->ifindex, 0) ? &count->failed : &count->copied, 1);
		skb->mark = 0;
	}
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
