// Both ends of the interoperability test as plain values: addresses, cases, and keys from the real key schedule over
// epochs that this process makes, as two nodes would derive them from their announcements (docs/keys.md §3).
import { randomBytes } from 'node:crypto';
import { box } from 'tweetnacl';
import type { IpAddress, NodeName, PeerNumber, Vni } from '../../../agent/core/ids';
import { type DerivedSa, derivePrk, deriveSas, type Endpoint } from '../../../agent/core/keyschedule';
import { type Encapsulation, innerMtuBytes } from '../../../agent/core/mtu';

export const TUNNEL_VNI = 100 as Vni;
export const FOREIGN_PEER = 1 as PeerNumber;
export const VXLAN_PORT = 14789;
export const ESP_PORT = 4500;
export const UNDERLAY_MTU_BYTES = 1500;

/** Of a ping, around its payload. */
export const IP_AND_ICMP_BYTES = { 4: 28, 6: 48 } as const;
/** What goes on while keys change. */
export const STREAM_PACKETS = 250;
export const STREAM_INTERVAL_S = 0.02;
export const TCP_BYTES = 300_000;
export const TCP_PORT = 5201;

export interface Side {
  readonly name: NodeName;
  readonly vtep: Readonly<Record<4 | 6, IpAddress>>;
  /** Inside the tunnel. */
  readonly inner: Readonly<Record<4 | 6, IpAddress>>;
  /** Of the pods, on the node. */
  readonly gateway: Readonly<Record<4 | 6, IpAddress>>;
  readonly prefix: Readonly<Record<4 | 6, string>>;
  readonly mac: string;
}

const side = (name: string, number: number): Side => ({
  name: name as NodeName,
  vtep: { 4: `192.0.2.${number}` as IpAddress, 6: `fd00:c0de::${number}` as IpAddress },
  inner: { 4: `10.244.${number}.2` as IpAddress, 6: `fd00:244:${number}::2` as IpAddress },
  gateway: { 4: `10.244.${number}.1` as IpAddress, 6: `fd00:244:${number}::1` as IpAddress },
  prefix: { 4: `10.244.${number}.0/24`, 6: `fd00:244:${number}::/64` },
  mac: `02:00:5e:00:53:0${number}`,
});
export const OURS = side('ours', 1);
export const FOREIGN = side('linux', 2);

export interface Case {
  readonly family: 4 | 6;
  readonly encapsulation: Encapsulation;
}
export const CASES: readonly Case[] = [
  { family: 4, encapsulation: 'udp' },
  { family: 4, encapsulation: 'raw' },
  { family: 6, encapsulation: 'udp' },
  { family: 6, encapsulation: 'raw' },
];

export const caseName = ({ family, encapsulation }: Case): string =>
  `IPv${family} ${encapsulation === 'udp' ? 'UDP' : 'raw ESP'}`;
export const caseMtuBytes = ({ family, encapsulation }: Case): number =>
  innerMtuBytes(UNDERLAY_MTU_BYTES, family, encapsulation);

/** Keys of both directions between two epochs. */
export interface Keys {
  readonly toForeign: DerivedSa;
  readonly toOurs: DerivedSa;
}

interface Epoch {
  readonly end: Endpoint;
  readonly secret: Uint8Array;
}

function epoch(node: NodeName, number: number): Epoch {
  const { publicKey, secretKey } = box.keyPair.fromSecretKey(randomBytes(32));
  return { end: { node, epoch: { number, publicKey } }, secret: secretKey };
}

/** New epochs at both ends on every call. Throws if the two ends derive different keys. */
export function newKeys(number: number): Keys {
  const [ours, foreign] = [epoch(OURS.name, number), epoch(FOREIGN.name, number)];
  const derive = (own: Epoch, other: Epoch): Keys => {
    const prk = derivePrk(own.secret, other.end.epoch.publicKey);
    if (!prk.ok) throw new Error(prk.detail);
    const [toForeign] = deriveSas(prk.value, ours.end, foreign.end, [TUNNEL_VNI]);
    const [toOurs] = deriveSas(prk.value, foreign.end, ours.end, [TUNNEL_VNI]);
    if (toForeign === undefined || toOurs === undefined) throw new Error('no SA was derived');
    return { toForeign, toOurs };
  };
  const [here, there] = [derive(ours, foreign), derive(foreign, ours)];
  if (here.toForeign.fingerprint !== there.toForeign.fingerprint) throw new Error('the ends differ');
  return here;
}
