/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * NetworkPolicy at a pod's own device: egress at steer, ingress at gate, so traffic within the node and decrypted
 * traffic pass it alike. Rules judge the first packet of a connection; the rest, and the answers, pass as long as the
 * rules in force would still allow it. What the tables mean is core/policytables.ts'.
 */
#ifndef VXSEAL_POLICY_H
#define VXSEAL_POLICY_H

#include <linux/tcp.h>
#include "layer4.h"
#include "shared.h"

#define CONNECTION_STEP_NS 1000000000ull
#define TCP_IDLE_NS (4ull * 3600 * 1000000000)
#define TCP_CLOSING_IDLE_NS (60ull * 1000000000)
#define OTHER_IDLE_NS (180ull * 1000000000)
#define FRAGMENT_LIFE_NS (30ull * 1000000000) /* RFC 791 §3.2: timers of 15 s and more */

#define ICMP4_ECHO_REPLY 0
#define ICMP4_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

/* RFC 792, RFC 4443 §2.1; linux/icmp.h would bring in the C library's headers. */
struct icmp_head {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id;               /* of an echo */
	__be16 sequence;
};

static __always_inline __u32 find_identity(const struct policy_packet *p, const __u8 addr[16])
{
	struct identity_key key = { .prefixlen = 64 + 128, .generation = p->generation, .vni = p->vni };
	__u32 *identity;

	__builtin_memcpy(key.addr, addr, 16);
	identity = bpf_map_lookup_elem(&identities, &key);
	return identity ? *identity : IDENTITY_WORLD;
}

static __always_inline int same_address(const __u8 a[16], const __u8 b[16])
{
	const __u32 *x = (const __u32 *)a, *y = (const __u32 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* Between tenants the client begins, and the service answers. */
static __always_inline int may_begin(const struct policy_packet *p, int direction)
{
	return !p->way || p->way == (direction == DIR_EGRESS ? WAY_CLIENT : WAY_SERVER);
}

/*
 * Whether the rules of one direction let the connection of `key` begin. Into a shared service only rules that name the
 * client's address do: not to be isolated, or to allow everybody, is meant for the tenant's own.
 */
__noinline int rules_allow(struct policy_packet *p, int direction)
{
	struct rule_key rule = { .prefixlen = 128 };
	__u32 ruleset, identity;
	int named_only;

	if (!p || !may_begin(p, direction))
		return 0;
	named_only = p->way && direction == DIR_INGRESS;
	ruleset = p->ruleset[direction & 1];
	if (!ruleset)
		return !named_only;
	identity = find_identity(p, p->key.remote);
	if (identity == IDENTITY_HOST || same_address(p->key.local, p->key.remote))
		return 1;
	rule.generation = p->generation;
	rule.ruleset = ruleset;
	rule.identity = identity;
	rule.protocol = p->key.protocol;
	if (rule.protocol != IPPROTO_ICMP && rule.protocol != IPPROTO_ICMPV6)
		rule.port = direction == DIR_EGRESS ? p->key.remote_port : p->key.local_port;
	if (bpf_map_lookup_elem(&rules, &rule))
		return 1;
	if (named_only)
		return 0;
	rule.identity = IDENTITY_ANY;
	return bpf_map_lookup_elem(&rules, &rule) != 0;
}

static __always_inline int is_idle(const struct policy_packet *p, const struct connection *c)
{
	__u64 limit = OTHER_IDLE_NS;

	if (p->key.protocol == IPPROTO_TCP)
		limit = c->flags & CONNECTION_F_CLOSING ? TCP_CLOSING_IDLE_NS : TCP_IDLE_NS;
	return p->now_ns - c->last_ns > limit;
}

static __always_inline void count_connection(int ended)
{
	__u32 zero = 0;
	struct connection_stats *stats = bpf_map_lookup_elem(&connection_stats, &zero);

	if (!stats)
		return;
	if (ended)
		stats->ended++;
	else
		stats->begun++;
}

/*
 * Found again by each function that looks up a connection: Linux 6.1 takes no map key out of memory that is only an
 * argument, as it does out of a map's own.
 */
static __always_inline struct policy_packet *work_space(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&policy_work, &zero);
}

/* The key lies in the packet's work space, with the direction put in its place: a copy would not fit on the stack. */
static __always_inline struct connection *find_connection(struct policy_packet *p, int direction)
{
	__u8 own = p->key.direction;
	struct connection *c;

	p->key.direction = direction;
	c = bpf_map_lookup_elem(&connections, &p->key);
	p->key.direction = own;
	return c;
}

static __always_inline void end_connection(struct policy_packet *p, int direction)
{
	__u8 own = p->key.direction;

	p->key.direction = direction;
	if (!bpf_map_delete_elem(&connections, &p->key))
		count_connection(1);
	p->key.direction = own;
}

/* A connection that began in `direction` and that the rules in force still allow. */
__noinline int is_connected(int direction)
{
	struct policy_packet *p = work_space();
	struct connection *c;

	if (!p || !may_begin(p, direction))
		return 0;
	c = find_connection(p, direction);
	if (!c || is_idle(p, c))
		return 0;
	if (c->generation != p->generation) {
		if (!rules_allow(p, direction)) {
			end_connection(p, direction);
			return 0;
		}
		c->generation = p->generation;
	}
	if (p->closing)
		c->flags |= CONNECTION_F_CLOSING;
	else if (p->opening)
		c->flags &= ~CONNECTION_F_CLOSING;
	/* Not at each packet: the line would wander between the cores. */
	if (p->now_ns - c->last_ns > CONNECTION_STEP_NS)
		c->last_ns = p->now_ns;
	return 1;
}

/* Ports of the packet an ICMP error speaks of (RFC 792, RFC 4443 §3): it went the other way. */
static __always_inline int read_embedded(struct __sk_buff *skb, struct policy_packet *p, __u32 at, int v6)
{
	__u8 head[IP6_HEADER];
	__be16 ports[2] = {};
	__u32 header = IP6_HEADER;

	if (bpf_skb_load_bytes(skb, at, head, v6 ? IP6_HEADER : IP4_HEADER))
		return 0;
	if (!v6)
		header = (head[0] & 0xf) * 4;
	p->key.protocol = v6 ? head[6] : head[9];
	if (p->key.protocol != IPPROTO_TCP && p->key.protocol != IPPROTO_UDP && p->key.protocol != IPPROTO_SCTP)
		return 0;
	if (bpf_skb_load_bytes(skb, at + header, ports, sizeof(ports)))
		return 0;
	/* An error that comes in is of a packet the pod had sent: its source is the pod's end. */
	p->key.local_port = p->key.direction == DIR_INGRESS ? ports[0] : ports[1];
	p->key.remote_port = p->key.direction == DIR_INGRESS ? ports[1] : ports[0];
	if (v6)
		__builtin_memcpy(p->key.remote, head + (p->key.direction == DIR_INGRESS ? 24 : 8), 16);
	else
		map_v4(p->key.remote, *(__be32 *)(head + (p->key.direction == DIR_INGRESS ? 16 : 12)));
	return 1;
}

/* Not inlined: its stack must not add to that of judge(). */
static __noinline int read_icmp(struct __sk_buff *skb, struct policy_packet *p, const struct layer4 *l4)
{
	int v6 = p->key.protocol == IPPROTO_ICMPV6;
	struct icmp_head icmp;

	if (bpf_skb_load_bytes(skb, l4->offset, &icmp, sizeof(icmp)))
		return 0;
	p->opening = icmp.type == (v6 ? ICMP6_ECHO : ICMP4_ECHO);
	p->answer = icmp.type == (v6 ? ICMP6_ECHO_REPLY : ICMP4_ECHO_REPLY);
	if (p->opening || p->answer) {
		p->key.local_port = icmp.id;
		p->key.remote_port = icmp.id;
	} else if (v6 ? icmp.type < 128 : icmp.type == 3 || icmp.type == 11 || icmp.type == 12) {
		struct connection_key key = p->key;

		p->embedded = read_embedded(skb, p, l4->offset + sizeof(icmp), v6);
		/* Another tenant's pod may speak of its own connections only. */
		if (p->way && !same_address(p->key.remote, key.remote))
			p->embedded = 0;
		if (!p->embedded)
			p->key = key;
	}
	return 0;
}

/* Returns 0, or -DROP_MALFORMED where the transport header is cut off. */
static __always_inline int read_transport(struct __sk_buff *skb, struct policy_packet *p, const struct layer4 *l4)
{
	__be16 ports[2];
	__u8 flags = 0;

	if (p->key.protocol == IPPROTO_ICMP || p->key.protocol == IPPROTO_ICMPV6) {
		read_icmp(skb, p, l4);
		return 0;
	}
	if (p->key.protocol != IPPROTO_TCP && p->key.protocol != IPPROTO_UDP && p->key.protocol != IPPROTO_SCTP)
		return 0;
	if (bpf_skb_load_bytes(skb, l4->offset, ports, sizeof(ports)))
		return -DROP_MALFORMED;
	p->key.local_port = p->key.direction == DIR_EGRESS ? ports[0] : ports[1];
	p->key.remote_port = p->key.direction == DIR_EGRESS ? ports[1] : ports[0];
	if (p->key.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, l4->offset + 13, &flags, 1))
			return -DROP_MALFORMED;
		p->opening = (flags & 0x12) == 0x02; /* SYN without ACK */
		p->closing = (flags & 0x05) != 0;    /* FIN, RST */
	}
	return 0;
}

static __always_inline void note_fragment(struct policy_packet *p, __u32 id)
{
	p->fragment.ifindex = p->key.ifindex;
	p->fragment.id = id;
	p->fragment.protocol = p->key.protocol;
	p->fragment.direction = p->key.direction;
	p->fragment.reserved = 0;
	__builtin_memcpy(p->fragment.local, p->key.local, 16);
	__builtin_memcpy(p->fragment.remote, p->key.remote, 16);
}

static __always_inline int refuse_policy(const struct policy_packet *p, int direction, __u32 bytes)
{
	struct policy_drop_key key = { .generation = p->generation, .ruleset = p->ruleset[direction & 1] };
	struct counter one = { .packets = 1, .bytes = bytes };
	struct counter *c = bpf_map_lookup_elem(&policy_drops, &key);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	} else {
		bpf_map_update_elem(&policy_drops, &key, &one, BPF_ANY);
	}
	return -DROP_POLICY;
}

/* Whether the packet in the work space may pass. */
__noinline int judge(void)
{
	struct policy_packet *p = work_space();
	struct connection begun = {};
	int direction;

	if (!p)
		return 0;
	direction = p->key.direction;
	if (p->embedded)
		return is_connected(DIR_EGRESS) || is_connected(DIR_INGRESS);
	if (is_connected(direction))
		return 1;
	if (!p->opening && is_connected(!direction))
		return 1;
	if (!rules_allow(p, direction))
		return 0;
	if (p->answer)
		return 1; /* allowed by a rule, but nothing that begins anything */
	begun.last_ns = p->now_ns;
	begun.generation = p->generation;
	if (!bpf_map_update_elem(&connections, &p->key, &begun, BPF_NOEXIST))
		count_connection(0);
	else /* an idle one of the same ends */
		bpf_map_update_elem(&connections, &p->key, &begun, BPF_ANY);
	return 1;
}

/* A pod and its gateway find each other whatever the rules say (RFC 4861); steer has dropped what routers say. */
static __always_inline int is_link_traffic(const struct policy_packet *p, const struct ip_info *ip, __u8 type)
{
	int link = ip->dst[0] == 0xff || (ip->dst[0] == 0xfe && (ip->dst[1] & 0xc0) == 0x80) ||
		   (ip->src[0] == 0xfe && (ip->src[1] & 0xc0) == 0x80);

	return p->key.protocol == IPPROTO_ICMPV6 && type >= 130 && (link || find_identity(p, p->key.remote) == IDENTITY_HOST);
}

/*
 * The policy of the pod at this device on one of its packets. `how`: direction as the pod sees it, and WAY_* where the
 * other end is another tenant's; that needs policy, so without any it is refused. Returns PASS, -DROP_POLICY or
 * -DROP_MALFORMED.
 */
static __noinline int check_policy(struct __sk_buff *skb, const struct ip_info *ip, const struct layer4 *l4, __u32 vni,
				   int how)
{
	int direction = how & 1, way = how & WAY_MASK;
	struct policy_packet *p;
	struct policy_pod_key pod_key;
	struct policy_state *state;
	struct policy_pod *pod;
	__u32 zero = 0;
	__u64 *seen_ns;
	__u8 type = 0;
	int err;

	state = bpf_map_lookup_elem(&policy_state, &zero);
	if (!state || !state->generation)
		return way ? -DROP_POLICY : PASS;
	p = work_space();
	if (!p)
		return -DROP_INTERNAL;
	__builtin_memset(p, 0, sizeof(*p));
	p->generation = state->generation;
	p->now_ns = bpf_ktime_get_ns();
	p->vni = vni;
	p->way = way;
	p->key.ifindex = skb->ifindex;
	p->key.protocol = l4->protocol;
	p->key.direction = direction;
	__builtin_memcpy(p->key.local, direction == DIR_EGRESS ? ip->src : ip->dst, 16);
	__builtin_memcpy(p->key.remote, direction == DIR_EGRESS ? ip->dst : ip->src, 16);
	pod_key.generation = p->generation;
	pod_key.ifindex = skb->ifindex;
	pod = bpf_map_lookup_elem(&policy_pods, &pod_key);
	if (pod) {
		p->ruleset[0] = pod->ruleset[0];
		p->ruleset[1] = pod->ruleset[1];
	}
	if (p->key.protocol == IPPROTO_ICMPV6 && !l4->later && !way) {
		bpf_skb_load_bytes(skb, l4->offset, &type, 1);
		if (is_link_traffic(p, ip, type))
			return PASS;
	}
	if (l4->later) {
		note_fragment(p, l4->id);
		seen_ns = bpf_map_lookup_elem(&fragments, &p->fragment);
		if (seen_ns && p->now_ns - *seen_ns < FRAGMENT_LIFE_NS)
			return PASS;
		return rules_allow(p, direction) ? PASS : refuse_policy(p, direction, skb->len);
	}
	err = read_transport(skb, p, l4);
	if (err)
		return err;
	if (!judge())
		return refuse_policy(p, direction, skb->len);
	if (ip->fragment && !p->embedded) {
		note_fragment(p, l4->id);
		bpf_map_update_elem(&fragments, &p->fragment, &p->now_ns, BPF_ANY);
	}
	return PASS;
}

#endif
