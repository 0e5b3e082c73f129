// What the protected prefixes must hold, and what they should not.
import { hostPrefix, networkPrefix, prefixContains } from '../../../agent/core/bytes';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import { holdingOuterAddresses, protectionGap } from '../../../agent/core/protection';
import type { RosterNode } from '../../../agent/core/roster';
import { seeded } from './random';

const HOST = 1 as Vni;
const group = (vni: number, ...prefixes: string[]) => ({ vni: vni as Vni, prefixes: prefixes as Prefix[] });

function node(name: string, vtep: string, ...prefixes: ReturnType<typeof group>[]): RosterNode {
  const record = {
    kind: 'node' as const,
    node: name as NodeName,
    bootId: 'aa',
    generation: 1,
    sequence: 1,
    notBeforeMs: 0,
    notAfterMs: 1,
    vteps: [vtep as IpAddress],
    port: 4500,
    prefixes,
    suites: [],
    epoch: { number: 1, publicKey: new Uint8Array(32) },
    agentVersion: '0',
  };
  return {
    node: name as NodeName,
    state: 'live',
    why: '',
    certificateNotAfterMs: 0,
    duplicateIdentity: false,
    record,
  };
}

const STRAY = 'without its record that traffic would leave in clear';
const SHARED = 'without the overlay device its traffic follows other routes';

test.each<[number, string[], RosterNode[], string | undefined]>([
  [1, ['10.0.0.0/8'], [], undefined],
  [2, ['10.0.0.0/8'], [node('b', '192.0.2.2', group(1, '10.2.0.0/24'))], undefined],
  [
    3,
    ['10.0.0.0/16'],
    [node('b', '192.0.2.2', group(1, '10.2.0.0/24'))],
    `do not hold 10.2.0.0/24 of b: ${STRAY}`,
  ],
  [
    4,
    ['10.2.0.0/25'],
    [node('b', '192.0.2.2', group(1, '10.2.0.0/24'))],
    `do not hold 10.2.0.0/24 of b: ${STRAY}`,
  ],
  [
    5,
    ['10.0.0.0/8'],
    [node('b', '192.0.2.2', group(1, 'fd00::/64'))],
    `do not hold fd00::/64 of b: ${STRAY}`,
  ],
  [6, ['10.0.0.0/8'], [node('b', '192.0.2.2', group(9, '172.16.0.0/24'))], undefined], // a VNI we have nothing in
  [
    7,
    ['10.0.0.0/8'],
    [node('b', '192.0.2.2', group(5, '10.5.0.0/24'))],
    `do not hold 10.5.0.0/24 of b: ${STRAY}`,
  ],
  [8, ['10.0.0.0/8', '192.0.2.0/24'], [], `hold node addresses (192.0.2.0/24): ${SHARED}`], // our own
  [9, ['10.0.0.0/8'], [node('b', '10.255.0.2')], `hold node addresses (10.0.0.0/8): ${SHARED}`],
  [
    10,
    ['10.0.0.0/16'],
    Array.from({ length: 7 }, (_, i) => node(`n${i}`, '192.0.2.2', group(1, `10.${i + 1}.0.0/24`))),
    `do not hold 10.1.0.0/24 of n0, 10.2.0.0/24 of n1, 10.3.0.0/24 of n2, 10.4.0.0/24 of n3, 10.5.0.0/24 of n4 and 2 more: ${STRAY}`,
  ],
])('%i', (_number, ranges, roster, expected) => {
  const config = {
    hostVni: HOST,
    vteps: ['192.0.2.1' as IpAddress],
    prefixes: [group(5, '10.50.0.0/24')],
    protectedPrefixes: [group(1, ...ranges), group(5, '10.50.0.0/16')],
  };
  expect(protectionGap(config, roster)).toBe(expected);
});

test('the prefixes that hold an outer address, as the naive way finds them', () => {
  const random = seeded(7);
  const byte = (below: number) => Math.floor(random() * below);
  const address = (): IpAddress =>
    (random() < 0.5 ? `10.${byte(4)}.${byte(4)}.${byte(4)}` : `fd00:${byte(4)}::${byte(4)}`) as IpAddress;
  for (let round = 0; round < 200; round++) {
    const nodes = Array.from({ length: 5 }, (_, i) => node(`n${i}`, address()));
    const prefixes = Array.from({ length: 8 }, () => {
      const inside = address();
      return networkPrefix(inside, inside.includes(':') ? 16 + byte(113) : 8 + byte(25));
    });
    const config = { vteps: [address()] };
    const outer = [config.vteps, ...nodes.map(({ record }) => record?.vteps ?? [])].flat().map(hostPrefix);
    const naive = prefixes.filter((prefix) => outer.some((vtep) => prefixContains(prefix, vtep)));
    expect(holdingOuterAddresses(prefixes, config, nodes)).toEqual(new Set(naive));
  }
});
