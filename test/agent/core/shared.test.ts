// What the configuration may say of shared services, and the data plane's entries, held to the services themselves by
// looking entries up as bpf/shared.h does.
import { hostPrefix, prefixContains } from '../../../agent/core/bytes';
import type { IpAddress, Prefix, Vni } from '../../../agent/core/ids';
import {
  outOfReach,
  type SharedService,
  serviceBetween,
  sharedEntries,
  sharedIssues,
} from '../../../agent/core/shared';
import type { SharedEntry } from '../../../agent/core/state';
import { seeded } from './random';

const HOSTS = 1 as Vni;
const group = (vni: number, ...prefixes: string[]) => ({ vni: vni as Vni, prefixes: prefixes as Prefix[] });
const service = (
  name: string,
  vni: number,
  prefixes: readonly string[],
  ...clients: ReturnType<typeof group>[]
): SharedService => ({ name, ...group(vni, ...prefixes), clients });

const RANGES = [
  group(1, '10.1.0.0/16'),
  group(7, '10.7.0.0/16', 'fd07::/48'),
  group(8, '10.8.0.0/16', 'fd08::/48'),
  group(9, '10.9.0.0/16', '10.8.0.0/24'),
];
const dns = service('dns', 7, ['10.7.0.53/32'], group(8, '10.8.0.0/16'));

test.each<[string, readonly SharedService[], RegExp | undefined]>([
  ['1 none', [], undefined],
  ['2 one', [dns], undefined],
  [
    '3 both families',
    [service('dns', 7, ['10.7.0.53/32', 'fd07::53/128'], group(8, '10.8.1.0/24', 'fd08::/64'))],
    undefined,
  ],
  [
    '4 of the hosts',
    [service('dns', 1, ['10.1.0.53/32'], group(8, '10.8.0.0/16'))],
    /^dns: VNI 1 is the hosts'/,
  ],
  [
    '5 to the hosts',
    [service('dns', 7, ['10.7.0.53/32'], group(1, '10.1.0.0/16'))],
    /^dns: VNI 1 is the hosts'/,
  ],
  ['6 to itself', [service('dns', 7, ['10.7.0.53/32'], group(7, '10.7.1.0/24'))], /VNI 7 is its own client/],
  [
    '7 outside its ranges',
    [service('dns', 7, ['10.6.0.53/32'], group(8, '10.8.0.0/16'))],
    /10\.6\.0\.53\/32 is in no range of VNI 7/,
  ],
  [
    '8 clients outside theirs',
    [service('dns', 7, ['10.7.0.53/32'], group(8, '10.0.0.0/8'))],
    /10\.0\.0\.0\/8 is in no range of VNI 8/,
  ],
  [
    '9 a VNI without ranges',
    [service('dns', 7, ['10.7.0.53/32'], group(5, '10.5.0.0/16'))],
    /in no range of VNI 5/,
  ],
  [
    '10 clients that two have',
    [service('dns', 7, ['10.7.0.53/32'], group(8, '10.8.0.0/16'), group(9, '10.8.0.0/24'))],
    /10\.8\.0\.0\/16 of VNI 8 \(dns\) and 10\.8\.0\.0\/24 of VNI 9 \(dns\) overlap, so VNI 7/,
  ],
  [
    '11 the same in two services',
    [dns, service('log', 7, ['10.7.0.54/32'], group(9, '10.8.0.0/24'))],
    /overlap, so VNI 7/,
  ],
  [
    '12 others of theirs',
    [service('dns', 7, ['10.7.0.53/32'], group(8, '10.8.1.0/24'), group(9, '10.8.0.0/24'))],
    undefined,
  ],
  [
    '13 a service in the client’s range',
    [service('dns', 8, ['10.8.0.53/32'], group(9, '10.9.0.0/16'))],
    /10\.8\.0\.53\/32 of VNI 8 overlaps VNI 9's own 10\.8\.0\.0\/24/,
  ],
  [
    '14 clients in the service’s range',
    [service('dns', 9, ['10.9.0.53/32'], group(8, '10.8.0.0/16'))],
    /10\.8\.0\.0\/16 of VNI 8 overlaps VNI 9's own 10\.8\.0\.0\/24/,
  ],
  ['15 only beside it', [service('dns', 9, ['10.9.0.53/32'], group(8, '10.8.1.0/24'))], undefined],
  [
    '16 each the other’s',
    [dns, service('log', 8, ['10.8.0.1/32'], group(7, '10.7.1.0/24'))],
    /VNIs 7 and 8 are each the other's client/,
  ],
  ['17 one name twice', [dns, dns], /names dns twice/],
  [
    '18 too many',
    Array.from({ length: 65 }, (_, i) => ({ ...dns, name: `s${i}` })),
    /65 services, and there is room for 64/,
  ],
  ['19 as many as fit', Array.from({ length: 64 }, (_, i) => ({ ...dns, name: `s${i}` })), undefined],
  ['20 served by two', [dns, service('log', 9, ['10.9.0.1/32'], group(8, '10.8.1.0/24'))], undefined],
])('%s', (_, services, expected) => {
  const issues = sharedIssues(services, HOSTS, RANGES);
  if (expected === undefined) expect(issues).toEqual([]);
  else expect(issues.join('\n')).toMatch(expected);
});

/** bpf/shared.h find_way(). */
function findWay(entries: readonly SharedEntry[], vni: Vni, own: string, remote: string): string {
  const look = (at: Vni, address: string): SharedEntry | undefined =>
    entries
      .filter((entry) => entry.vni === at && prefixContains(entry.prefix, hostPrefix(address as IpAddress)))
      .sort((a, b) => Number(b.prefix.split('/')[1]) - Number(a.prefix.split('/')[1]))[0];
  const away = look(vni, remote);
  const home = away && look(away.other, own);
  if (away === undefined || home === undefined || home.other !== vni || home.way === away.way) return 'none';
  return (home.services & away.services) === 0n ? 'none' : `${away.way} ${away.other}`;
}

test('random services: two addresses find each other exactly where a service joins them', () => {
  const random = seeded(31);
  const number = (most: number) => Math.floor(random() * most);
  const some = (vni: number): string[] =>
    Array.from({ length: 1 + number(3) }, () => {
      const length = [16, 24, 32][number(3)] as number;
      return `10.${vni}.${length > 16 ? number(3) : 0}.${length > 24 ? number(3) : 0}/${length}`;
    });
  const ranges = [group(1, '10.1.0.0/16'), ...[7, 8, 9].map((vni) => group(vni, `10.${vni}.0.0/16`))];
  let joined = 0;
  let usable = 0;
  for (let round = 0; round < 400; round++) {
    const services = Array.from({ length: 1 + number(3) }, (_, i) => {
      const vni = 7 + number(3);
      const clients = [7, 8, 9]
        .filter((each) => each !== vni && random() < 0.6)
        .map((each) => group(each, ...some(each)));
      return service(`s${i}`, vni, some(vni), ...clients);
    });
    if (sharedIssues(services, HOSTS, ranges).length > 0) continue;
    usable++;
    const entries = sharedEntries(services);
    for (let query = 0; query < 40; query++) {
      const [from, to] = [7 + number(3), 7 + number(3)] as [Vni, Vni];
      const at = (vni: number): string => `10.${vni}.${number(3)}.${number(3)}`;
      const [client, server] = [at(from), at(to)];
      const expected =
        serviceBetween(
          services,
          { vni: from, prefix: hostPrefix(client as IpAddress) },
          { vni: to, prefix: hostPrefix(server as IpAddress) },
        ) !== undefined;
      if (expected) joined++;
      expect(findWay(entries, from, client, server) === `client ${to}`).toBe(expected);
      expect(findWay(entries, to, server, client) === `server ${from}`).toBe(expected);
    }
  }
  expect(usable).toBeGreaterThan(100);
  expect(joined).toBeGreaterThan(100);
});

test.each([
  ['has both', [group(7, '10.7.1.0/24'), group(8, '10.8.1.0/24')], undefined],
  ['serves only', [group(7, '10.7.1.0/24')], undefined],
  ['has neither', [group(9, '10.9.1.0/24')], undefined],
  ['has clients only', [group(8, '10.8.1.0/24')], 'pods of VNI 8 on this node cannot use it'],
  ['an empty group is none', [group(7), group(8, '10.8.1.0/24')], 'none of VNI 7'],
])('a node that %s', (_, own, expected) => {
  const why = outOfReach(dns, own);
  if (expected === undefined) expect(why).toBeUndefined();
  else expect(why).toContain(expected);
});
