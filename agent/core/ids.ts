// The nouns every room shares: names, numbers, addresses. Pure types and the few parsers that make them.

/** A node's name: 1 to 63 characters of a-z, 0-9, '-' and '.', starting and ending with a letter or digit. */
export type NodeName = string & { readonly __brand: 'NodeName' };
/** VXLAN network identifier, 1 to 16777215 (RFC 7348 §5). */
export type Vni = number & { readonly __brand: 'Vni' };
/** Canonical text form of an IPv4 or IPv6 address (RFC 5952 for IPv6). */
export type IpAddress = string & { readonly __brand: 'IpAddress' };
/** Canonical text form of a prefix, host bits zero: "10.1.0.0/24", "fd00:1::/64". */
export type Prefix = string & { readonly __brand: 'Prefix' };
/** Of one VNI, as records and the configuration name them. */
export interface PrefixesOfVni {
  readonly vni: Vni;
  readonly prefixes: readonly Prefix[];
}

/** Number of a peer in the data plane's maps, 1 to 0xfffffffe; see abi.h for the two special values. */
export type PeerNumber = number & { readonly __brand: 'PeerNumber' };
/** ESP security parameters index, 256 to 0xffffffff (RFC 4303 §2.1). */
export type Spi = number & { readonly __brand: 'Spi' };

export const PEER_LOCAL = 0 as PeerNumber;
export const PEER_NONE = 0xffffffff as PeerNumber;
