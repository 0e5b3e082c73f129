import type { NodeAnnouncement } from '../../../agent/core/announcement';
import { prefixOverlaps } from '../../../agent/core/bytes';
import { ConflictFinder, findConflicts } from '../../../agent/core/conflicts';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import { whole } from '../../../agent/core/slices';
import { seeded } from './random';

const HOST = 1 as Vni;

/** Only what conflicts are made of. */
function claimant(node: string, claims: readonly (readonly [number, string])[], vtep: string) {
  const record: NodeAnnouncement = {
    kind: 'node',
    node: node as NodeName,
    bootId: 'aa',
    generation: 1,
    sequence: 1,
    notBeforeMs: 0,
    notAfterMs: 1,
    vteps: [vtep as IpAddress],
    port: 4500,
    prefixes: claims.map(([vni, prefix]) => ({ vni: vni as Vni, prefixes: [prefix as Prefix] })),
    suites: [],
    epoch: { number: 1, publicKey: new Uint8Array(32) },
    agentVersion: '0',
  };
  return { node: node as NodeName, state: 'live', record };
}

test('the sorted scan agrees with comparing everything to everything', () => {
  const random = seeded(31);
  const pick = (n: number): number => Math.floor(random() * n);
  let conflicts = 0;
  for (let round = 0; round < 400; round++) {
    const prefix = (): string =>
      random() < 0.5
        ? (['10.0.0.0/8', '10.4.0.0/14', '10.5.0.0/16', '10.5.8.0/21', '10.6.0.0/16', '0.0.0.0/0'][pick(6)] ??
          '')
        : (['fd00::/8', 'fd00:1::/32', 'fd00:1:2::/48', 'fd00:2::/32', '::a05:0/112', 'fd01::/16'][pick(6)] ??
          '');
    const vtep = (): string =>
      ['10.5.8.1', '192.0.2.1', '192.0.2.2', '192.0.2.3', 'fd00:1::1', 'fe80::1'][pick(6)] ?? '';
    const claims = (): [number, string][] => Array.from({ length: pick(3) }, () => [1 + pick(3), prefix()]);
    const nodes = ['a', 'b', 'c', 'd'].map((name) => claimant(name, claims(), vtep()));
    const me = claimant('me', claims(), vtep());
    const own = { ...me.record, node: 'me' as NodeName, hostVni: HOST };
    const flat = [...nodes, me].flatMap(({ node, record }) => [
      ...record.vteps.map((each) => ({
        node,
        vni: HOST,
        prefix: `${each}/${each.includes(':') ? 128 : 32}` as Prefix,
      })),
      ...record.prefixes.flatMap(({ vni, prefixes }) =>
        prefixes.map((each) => ({ node, vni, prefix: each })),
      ),
    ]);
    const naive = new Set<string>();
    for (const a of flat) {
      for (const b of flat) {
        if (a.node !== b.node && a.vni === b.vni && prefixOverlaps(a.prefix, b.prefix)) naive.add(a.node);
      }
    }
    naive.delete('me');
    conflicts += naive.size;
    const found = findConflicts(own, nodes);
    expect([...found.keys()].sort()).toEqual([...naive].sort());
    expect(findConflicts(own, [...nodes].reverse())).toEqual(found);
  }
  expect(conflicts).toBeGreaterThan(100);
});

test('the reason names both sides', () => {
  const own = { node: 'me' as NodeName, vteps: [], prefixes: [], hostVni: HOST };
  const nodes = [
    claimant('a', [[1, '10.0.0.0/8']], '192.0.2.1'),
    claimant('b', [[1, '10.5.0.0/16']], '192.0.2.2'),
    { ...claimant('c', [[1, '10.5.0.0/16']], '192.0.2.1'), state: 'expired' },
  ];
  expect(Object.fromEntries(findConflicts(own, nodes))).toEqual({
    a: 'prefix 10.0.0.0/8 of VNI 1 overlaps prefix 10.5.0.0/16 of VNI 1 of b',
    b: 'prefix 10.5.0.0/16 of VNI 1 overlaps prefix 10.0.0.0/8 of VNI 1 of a',
  });
});

test('a finder that is asked again and again finds what one that has never been asked does', () => {
  const random = seeded(32);
  const pick = (n: number): number => Math.floor(random() * n);
  const finder = new ConflictFinder();
  const nodes = new Map<string, ReturnType<typeof claimant>>();
  let own = { node: 'me' as NodeName, vteps: ['192.0.2.250' as IpAddress], prefixes: [], hostVni: HOST };
  let found = 0;
  for (let step = 0; step < 2000; step++) {
    const name = `n${pick(12)}`;
    const known = nodes.get(name);
    const kind = random();
    if (kind < 0.1) nodes.delete(name);
    else if (kind < 0.2 && known !== undefined)
      nodes.set(name, { ...known, state: known.state === 'live' ? 'expired' : 'live' });
    else if (kind < 0.22) own = { ...own, vteps: [`192.0.2.${pick(20)}` as IpAddress] };
    else if (kind < 0.7)
      nodes.set(
        name,
        claimant(
          name,
          [[1 + pick(2), `10.${pick(40)}.${pick(2) * 128}.0/${17 + pick(2)}`]],
          `192.0.2.${pick(60)}`,
        ),
      );
    const naive = findConflicts(own, [...nodes.values()]);
    expect(whole(finder.finding(own, [...nodes.values()]))).toEqual(naive);
    found += naive.size;
  }
  expect(found).toBeGreaterThan(1000);
});
