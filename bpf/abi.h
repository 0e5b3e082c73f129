/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The one header shared with userspace: map keys, map values, drop reasons.
 *
 * agent/abi/layout.gen.ts is generated from the BTF of this file; a test regenerates it and compares. Every
 * structure is laid out without implicit padding, so that keys compare by their bytes. Addresses are 16 bytes;
 * an IPv4 address is written IPv4-mapped (::ffff:a.b.c.d, RFC 4291 §2.5.5.2). VNIs are in host byte order.
 */
#ifndef VXSEAL_ABI_H
#define VXSEAL_ABI_H

#include <linux/bpf.h>
#include <linux/types.h>

#define ABI_VERSION 1

#define PEER_LOCAL 0u           /* this node */
#define PEER_NONE 0xffffffffu   /* protected, but nobody announced it: packets to it are dropped */

#define REPLAY_WINDOW 4096      /* packets (RFC 4303 §3.4.3) */
#define REPLAY_WORDS 128        /* ring of 64-bit words: a power of two above REPLAY_WINDOW / 64 (RFC 6479) */

#define SA_F_ESN 1u             /* 64-bit sequence numbers, the high half authenticated (RFC 4303 §2.2.1) */
#define SA_F_RAW 2u             /* ESP directly in IP (protocol 50) instead of in UDP (RFC 3948) */

#define OVERLAY_F_NODE 1u       /* a node's own address: inside the tunnel for pods, outside for hosts */
#define OVERLAY_F_CLEAR 2u      /* with PEER_NONE: not adopted yet, permissive pods speak with it in clear */

/* Why a packet was dropped. The name without DROP_, in lower case, is the metric's label: one word everywhere. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_NOT_CONFIGURED,     /* no configuration in the map: nothing may pass that could be ours */
	DROP_MALFORMED,          /* truncated, or lengths that contradict each other */
	DROP_FRAGMENT,           /* outer fragment: ESP over fragments is not taken apart */
	DROP_NO_PEER,            /* protected destination that no peer announced */
	DROP_NO_SA,              /* peer known, no key for it yet */
	DROP_SA_EXHAUSTED,       /* the SA stands at its packet limit */
	DROP_GSO,                /* a segment larger than one packet, or one without its checksum, reached seal */
	DROP_TOO_BIG,            /* sealed packet would exceed the underlay's MTU */
	DROP_FORGED_VXLAN,       /* VXLAN in clear on our port, or not made by steer */
	DROP_CLEAR_EGRESS,       /* overlay traffic that would leave in clear */
	DROP_SPOOFED_SOURCE,     /* a pod or host used a source address that is not its own */
	DROP_NAKED_INNER,        /* an overlay address arrived outside the tunnel */
	DROP_UNKNOWN_SPI,        /* ESP from a peer under an SPI we do not have */
	DROP_REPLAY,             /* sequence number seen before, or left of the window */
	DROP_BAD_ICV,            /* authentication failed */
	DROP_BAD_TRAILER,        /* ESP padding or next header (authentic, yet not ours) */
	DROP_NOT_VXLAN,          /* authentic, yet not VXLAN inside */
	DROP_WRONG_VNI,          /* VNI is not the SA's */
	DROP_INNER_PROTOCOL,     /* inner frame is neither IPv4, IPv6 nor a probe */
	DROP_INNER_SOURCE,       /* inner source does not belong to the peer whose key opened it */
	DROP_INNER_DESTINATION,  /* inner destination is not on this node */
	DROP_NO_COOKIE,          /* frame for the overlay device that open did not decrypt */
	DROP_POLICY,             /* refused by policy */
	DROP_MULTICAST,          /* the host's own multicast or broadcast: the overlay carries unicast only */
	DROP_NESTED_TAG,         /* VLAN tag behind a tag: the stack would look behind it where we do not */
	DROP_INTERNAL,           /* a kernel helper failed */
	DROP_ROUTER,             /* a pod played the router (RFC 4861 §4.2, §4.5), or the neighbour of one that it is not */
	DROP_TENANT,             /* between a tenant's pod and what is not its own VNI's */
	DROP_MAX
};

enum direction { DIR_EGRESS = 0, DIR_INGRESS = 1 };

/* config: one entry, index 0. `cookie` and `stamp` are random per boot. */
struct config {
	__u64 cookie;            /* XDP metadata written by open, checked by deliver */
	__u32 abi;               /* ABI_VERSION; anything else: nothing passes */
	__u32 vxlan_ifindex;
	__u32 host_vni;          /* the VNI that the node's own network stack is part of */
	__u32 underlay_mtu;      /* bytes, outer IP packet */
	__u32 vxlan_mtu;         /* bytes, inner IP packet */
	__u16 vxlan_port;        /* host byte order, inside the ciphertext */
	__u16 esp_port;          /* host byte order, 4500 */
	__u16 stamp;             /* skb->tc_index of a frame that passed our checks; never 0 */
	__u8 mac[6];             /* of our VXLAN device */
	__u32 flags;
	__u32 reserved;
};
#define CONFIG_F_SHARED_PORT 1u /* port 4500 is shared with an IKE daemon: foreign SPIs pass to the stack */
#define CONFIG_F_FLOWS 2u       /* somebody watches: report a sample of what is forwarded */
#define CONFIG_F_XFRM 4u        /* the kernel's own IPsec does the cipher, not seal and open */

/*
 * Marks (skb->mark) between our programs and the kernel's IPsec (bpf/xfrm.h). Bits 14 and 15, by which kube-proxy
 * masquerades and drops, are always 0.
 */
#define XFRM_MARK_VNI 0xa4000000u    /* with the VNI: to be sealed, or opened */
#define XFRM_MARK_SEALED 0xa8000000u /* a state of ours has sealed it */
#define XFRM_MARK_MASK 0xffff3fffu   /* of the bits that policies look at */

/* overlay: longest prefix of (VNI, address) -> whose it is. prefixlen = 32 + 96 for IPv4 + the prefix's bits. */
struct overlay_key {
	__u32 prefixlen;
	__u32 vni;
	__u8 addr[16];
};
struct overlay_value {
	__u32 peer;              /* PEER_LOCAL, PEER_NONE or a key of `peers` */
	__u32 flags;             /* OVERLAY_F_* */
};

/*
 * shared: longest prefix of (VNI, address of another tenant) -> what it is to that VNI. The key is overlay_key. Two
 * addresses may speak if each finds the other here, one as the client, and they have a service in common.
 */
struct shared_value {
	__u32 vni;               /* that the address is of */
	__u32 way;               /* what the VNI of the key is to it */
	__u64 services;          /* a bit each */
};
#define WAY_CLIENT 2u           /* the address is a service's: connections may be begun to it */
#define WAY_SERVER 4u           /* the address is a client's: it is answered */

/* peers: peer number -> tunnel endpoints (VTEP). */
struct peer_value {
	__u8 vtep[16];           /* the peer's */
	__u8 local[16];          /* ours towards it, same family */
	__u8 mac[6];             /* the peer's VXLAN device */
	__u16 reserved;
	__u8 identity[16];       /* first half of SHA-256(node name): a restarted agent finds its numbering again */
};
/* vteps: known outer source addresses -> peer number (to tell a peer's unknown SPI from a stranger's). */
struct vtep_key {
	__u8 addr[16];
};

/* tx_sa: (VNI, peer) -> SA for sending. Never written twice with one key: the counter would start again. */
struct tx_key {
	__u32 vni;
	__u32 peer;
};
struct tx_sa {
	__u32 key[8];            /* ChaCha20-Poly1305 key (RFC 8439), words little-endian as in the RFC */
	__u32 salt;              /* first 4 bytes of the nonce (RFC 7634 §2) */
	__be32 spi;
	__u32 flags;             /* SA_F_* */
	__u32 reserved;
	__u64 seq;               /* last sequence number used; also the IV */
	__u64 limit;             /* last sequence number allowed */
};

/* rx_sa: (SPI, outer source) -> SA for receiving. */
struct rx_key {
	__be32 spi;
	__u8 src[16];
};
struct rx_sa {
	__u32 key[8];
	__u32 salt;
	__u32 flags;             /* SA_F_* */
	__u32 peer;
	__u32 vni;
	struct bpf_spin_lock lock; /* top, packets, last_opened_ns, window */
	__u32 reserved;
	__u64 top;               /* highest sequence number authenticated */
	__u64 packets;           /* authenticated and not replayed */
	__u64 last_opened_ns;    /* CLOCK_MONOTONIC */
	__u64 window[REPLAY_WORDS];
};

/* xfrm_rx: rx_key -> an SA that the kernel's own IPsec opens. */
struct xfrm_rx {
	__u32 peer;
	__u32 vni;
	__u8 local[16];          /* outer destination, ours */
};

/* pods: ifindex of the host-side device -> the pod behind it. */
struct pod_value {
	__u32 vni;
	__u32 flags;             /* POD_F_* */
	__u8 mac[6];             /* the pod's own device */
	__u8 host_mac[6];        /* the host-side device */
	__u32 reserved;
};
#define POD_F_PERMISSIVE 1u     /* may speak in clear with what has OVERLAY_F_CLEAR; only in the host's VNI */
#define POD_F_OFF 2u            /* no part of the overlay, without steer and gate: guard sees that it speaks for itself only */

/* endpoints: (VNI, address) -> the local pod that owns it. */
struct endpoint_key {
	__u32 vni;
	__u8 addr[16];
};
struct endpoint_value {
	__u32 ifindex;
	__u32 reserved;
};

/* drops: per CPU, (peer, reason, direction) -> count. peer is PEER_LOCAL where no peer is known for certain. */
struct drop_key {
	__u32 peer;
	__u16 reason;
	__u16 direction;
};
struct counter {
	__u64 packets;
	__u64 bytes;
};

/* clear_stats: per CPU, enum direction -> what permissive pods sent and took in clear. */

/* peer_stats: per CPU, peer number -> traffic. Bytes are inner frames. */
struct peer_stats {
	struct counter sealed;
	struct counter opened;
};

/*
 * translated: a flow between a local pod and a remote one that the node translates. Ports and protocol 0: some flow
 * between the two.
 */
struct translated_key {
	__u8 pod[16];
	__u8 remote[16];
	__be16 pod_port;
	__be16 remote_port;
	__u32 protocol;
};

/* XDP metadata in front of a decrypted frame: open -> deliver. */
struct open_meta {
	__u64 cookie;
	__u32 vni;
	__u32 peer;
};

/*
 * Policy (bpf/policy.h). Every entry carries the generation it is of: a new set of tables is written beside the one
 * in force and switched to by one number, so a packet sees the old or the new, never a mixture.
 */
#define IDENTITY_ANY 0u         /* in a rule: whoever it is */
#define IDENTITY_HOST 1u        /* this node itself: never refused */
#define IDENTITY_WORLD 2u       /* an address that no policy names */

/* policy_state: one entry, index 0. */
struct policy_state {
	__u32 generation;        /* 0: no policies, nothing is looked at */
	__u32 reserved;
};

/* identities: longest prefix of (generation, VNI, address) -> whom policies see there. */
struct identity_key {
	__u32 prefixlen;         /* 64 + 96 for IPv4 + the prefix's bits */
	__u32 generation;
	__u32 vni;
	__u8 addr[16];
};

/* policy_pods: device of a local pod -> its rulesets. A pod without an entry is not isolated. */
struct policy_pod_key {
	__u32 generation;
	__u32 ifindex;
};
struct policy_pod {
	__u32 ruleset[2];        /* by enum direction of the pod's traffic; 0: not isolated */
};

/* rules: longest prefix of (generation, ruleset, identity, protocol, port). An entry allows. */
struct rule_key {
	__u32 prefixlen;         /* 96: all; 112: the protocol; 112 + n: also n bits of the port */
	__u32 generation;
	__u32 ruleset;
	__u32 identity;
	__u8 protocol;
	__u8 reserved;
	__be16 port;             /* destination of the connection's first packet */
};

/* connections: what a local pod began, or took in, and may be answered. */
struct connection_key {
	__u32 ifindex;           /* of the pod's device */
	__u8 protocol;
	__u8 direction;          /* of its first packet, as the pod sees it */
	__u16 reserved;
	__be16 local_port;       /* the pod's; ICMP echo: the identifier in both */
	__be16 remote_port;
	__u8 local[16];
	__u8 remote[16];
};
struct connection {
	__u64 last_ns;           /* CLOCK_MONOTONIC, in steps of CONNECTION_STEP_NS */
	__u32 generation;        /* under which it was last allowed */
	__u32 flags;             /* CONNECTION_F_* */
};
#define CONNECTION_F_CLOSING 1u /* a FIN or RST was seen */

/* connection_stats: per CPU. Begun, less ended, less those in `connections`: those that had to make room. */
struct connection_stats {
	__u64 begun;
	__u64 ended;             /* by a change of policy; the others are overwritten or make room */
};

/* fragments: first fragments that were allowed; the later ones name no port. */
struct fragment_key {
	__u32 ifindex;
	__u32 id;
	__u8 protocol;
	__u8 direction;
	__u16 reserved;
	__u8 local[16];
	__u8 remote[16];
};

/* policy_work: a packet as its pod sees it, while policy.h judges it. */
struct policy_packet {
	struct connection_key key; /* direction: of this packet */
	struct fragment_key fragment;
	__u32 vni;
	__u32 generation;
	__u32 ruleset[2];
	__u64 now_ns;
	__u8 opening;            /* may begin a connection but is no answer: SYN, echo request */
	__u8 answer;             /* cannot begin one: echo reply */
	__u8 closing;            /* FIN or RST */
	__u8 embedded;           /* ICMP error: `key` is of the packet it speaks of */
	__u32 way;               /* WAY_*, where the other end is another tenant's */
};

/* policy_drops: per CPU, (generation, ruleset) -> packets refused. */
struct policy_drop_key {
	__u32 generation;
	__u32 ruleset;
};

/*
 * Liveness probe: an inner Ethernet frame of this type. It is answered by the data plane of the peer (deliver
 * sends it back with `reply` set) and reported to the agent through the ring buffer, so it judges what traffic
 * really meets. Pods cannot send it: steer takes only IP from them. docs/wire-format.md §6.
 */
#define PROBE_ETHERTYPE 0x88b5  /* IEEE 802 local experimental 1 */
struct probe {
	__u8 dst_mac[6];
	__u8 src_mac[6];
	__be16 ethertype;
	__u8 version;            /* 1 */
	__u8 reply;              /* 0 request, 1 reply */
	__u32 peer;              /* sender's number of the peer; meaningless to the receiver */
	__u64 id;                /* sender's */
	__u64 sent_ns;           /* sender's CLOCK_MONOTONIC */
} __attribute__((packed));

/* events: ring buffer to the agent. */
enum event_type { EVENT_PROBE_REPLY = 1, EVENT_DROP = 2, EVENT_FLOW = 3 };
struct event {
	__u32 type;              /* enum event_type */
	__u32 peer;
	__u64 now_ns;            /* CLOCK_MONOTONIC */
	__u64 probe_id;
	__u64 probe_sent_ns;
	__u32 probe_bytes;       /* length of the inner frame */
	__u32 reserved;
};

/* EVENT_DROP and EVENT_FLOW: one packet. */
#define FLOW_F_IP 1u            /* addresses and protocol are set */
#define FLOW_F_OUTER 2u         /* the addresses are those of the tunnel */
struct flow_event {
	__u32 type;              /* enum event_type */
	__u32 peer;              /* PEER_LOCAL where none is known for certain */
	__u64 now_ns;            /* CLOCK_MONOTONIC */
	__u8 src[16];
	__u8 dst[16];
	__be16 sport;            /* 0 where the protocol has none */
	__be16 dport;
	__u32 vni;               /* 0 where it is not known yet */
	__u32 ifindex;           /* of the device at which it was seen */
	__u32 bytes;             /* of the frame */
	__u32 unreported;        /* of its kind on this CPU, since the report before */
	__u8 protocol;
	__u8 reason;             /* enum drop_reason */
	__u8 direction;          /* enum direction */
	__u8 flags;              /* FLOW_F_* */
};

/* meters: per CPU, drop reason (0: flows) -> how much of it was reported lately. */
struct meter {
	__u64 window;            /* number of the window that `used` is of */
	__u32 used;
	__u32 unreported;
};
#define FLOW_SLOTS 1024         /* a power of two */

#endif
