// `vxseal policy explain` on a folder of manifests: which rule, what exit code, and where a pod's two addresses differ.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoctorParts } from '../../../agent/cli/doctor';
import type { ExitCode } from '../../../agent/cli/io';
import { runCli } from '../../../agent/cli/program';
import { keptIo } from '../../fakes/io';

const folder = mkdtempSync(join(tmpdir(), 'vxseal-policy-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => {
  writeFileSync(
    join(folder, 'all.yaml'),
    `kind: List
items:
- {kind: Namespace, metadata: {name: other, annotations: {vxseal/vni: "7"}}}
- {kind: Pod, metadata: {namespace: x, name: client, labels: {app: client}}, status: {podIPs: [{ip: 10.1.0.2}, {ip: "fd00::2"}]}}
- {kind: Pod, metadata: {namespace: x, name: server, labels: {app: server}}, status: {podIPs: [{ip: 10.1.0.3}, {ip: "fd00::3"}]}}
- {kind: Pod, metadata: {namespace: x, name: new}}
- {kind: Pod, metadata: {namespace: x, name: old}, status: {podIP: 10.1.0.4}}
- {kind: Pod, metadata: {namespace: other, name: far}, status: {podIP: 10.1.0.2}}
- {kind: Pod, metadata: {namespace: other, name: dns, labels: {app: dns}}, status: {podIP: 10.7.0.53}}
- {kind: Pod, metadata: {namespace: other, name: open}, status: {podIP: 10.7.0.54}}
- {kind: Namespace, metadata: {name: shop, annotations: {vxseal/vni: "8"}}}
- {kind: Pod, metadata: {namespace: shop, name: a}, status: {podIP: 10.8.0.2}}
- {kind: Pod, metadata: {namespace: shop, name: unnamed}, status: {podIP: 10.8.1.2}}
- kind: NetworkPolicy
  metadata: {namespace: other, name: dns}
  spec:
    podSelector: {matchLabels: {app: dns}}
    ingress:
    - {ports: [{port: 443}]}
    - {ports: [{port: 80}], from: [{namespaceSelector: {}}]}
    - {ports: [{port: 53}], from: [{ipBlock: {cidr: 10.8.0.0/24}}]}
- kind: NetworkPolicy
  metadata: {namespace: x, name: web}
  spec:
    podSelector: {matchLabels: {app: server}}
    ingress:
    - {ports: [{port: 53, protocol: UDP}]}
    - {ports: [{port: 443}], from: [{podSelector: {matchLabels: {app: client}}}]}
    - {ports: [{port: 80}], from: [{ipBlock: {cidr: "fd00::/64"}}]}
`,
  );
});

let environment: Record<string, string> = {};

async function explain(...args: string[]): Promise<{ code: ExitCode; out: string; err: string }> {
  const { io, out, err } = keptIo(folder);
  const none = async (): Promise<void> => {};
  const parts = {
    version: '1.2.3',
    agent: { run: none, cleanup: none },
    doctor: {} as DoctorParts,
    labKeys: { lines: async () => [] },
    register: [],
  };
  const code = await runCli(
    ['policy', 'explain', '--folder', folder, ...args],
    { ...io, environment },
    parts,
  );
  return { code, out: out.join('\n'), err: err.join('\n') };
}

test('allowed, by which rule', async () => {
  const { code, out } = await explain('x/client', 'x/server', '443');
  expect([code, out]).toEqual([
    0,
    `allowed: x/client to x/server, TCP 443
  out of the source        allowed: no policy selects it
  into the destination     allowed by x/web, rule 2`,
  ]);
});

test('refused, under which policies', async () => {
  const { code, out } = await explain('10.1.0.4', 'x/server', '443');
  expect([code, out.split('\n')[2]]).toEqual([
    1,
    '  into the destination     refused: no rule of x/web allows it',
  ]);
});

test('what is allowed over IPv6 only is told by address, and is not well', async () => {
  const { code, out } = await explain('x/client', 'x/server', '80');
  expect(code).toBe(1);
  expect(out.split('\n').filter((line) => !line.startsWith(' '))).toEqual([
    'refused: x/client to x/server, TCP 80 (10.1.0.2 to 10.1.0.3)',
    'allowed: x/client to x/server, TCP 80 (fd00::2 to fd00::3)',
  ]);
  expect((await explain('fd00::2', 'x/server', '80')).code).toBe(0);
  expect((await explain('10.1.0.2', 'x/server', '80')).code).toBe(1);
});

test('protocols and ports; none at all', async () => {
  expect((await explain('x/old', 'x/server', '53', '--protocol', 'udp')).code).toBe(0);
  expect((await explain('x/old', 'x/server', '53')).code).toBe(1);
  expect((await explain('x/client', 'x/server')).code).toBe(1); // as for ICMP: every rule names ports
  expect((await explain('x/server', 'x/server', '1')).out).toContain(
    'allowed: it is the same pod (under x/web)',
  );
});

test('a pod whose manifest tells no address is judged by its labels', async () => {
  expect((await explain('x/new', 'x/server', '53', '--protocol', 'UDP')).code).toBe(0);
  expect((await explain('x/new', 'x/server', '80')).code).toBe(1);
});

test('as JSON', async () => {
  const { code, out } = await explain('x/client', 'x/server', '80', '--json');
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject({
    allowed: false,
    ways: [
      { from: '10.1.0.2', to: '10.1.0.3', allowed: false, ingress: { isolating: ['x/web'] } },
      { from: 'fd00::2', to: 'fd00::3', allowed: true, ingress: { by: { policy: 'x/web', rule: 3 } } },
    ],
    issues: [],
  });
});

test.each([
  ['nobody', ['x/nobody', 'x/server', '80'], 'known pods: x/client'],
  ['another tenant', ['other/far', 'x/server', '80'], 'there is no way between tenants'],
  ['no common family', ['x/old', 'fd00::3'], 'no addresses of the same family'],
  ['a port that is none', ['x/old', 'x/server', '70000'], '70000 is not a port'],
  ['a protocol that is none', ['x/old', 'x/server', '1', '--protocol', 'GRE'], 'one of TCP, UDP, SCTP'],
])('not well asked: %s', async (_name, args, message) => {
  const { code, out, err } = await explain(...args);
  expect([code === 0, out]).toEqual([false, '']);
  expect(err).toContain(message);
});

describe('a shared service', () => {
  beforeAll(() => {
    environment = { VXSEAL_OVERLAY_SHARED: 'dns 7 10.7.0.53/32 10.7.0.54/32 from 8=10.8.0.0/24' };
  });
  afterAll(() => {
    environment = {};
  });

  test.each([
    ['shop/a', 'other/dns', '53', 0, 'allowed by other/dns, rule 3'],
    ['10.8.0.9', 'other/dns', '53', 0, 'allowed by other/dns, rule 3'],
    ['shop/a', '10.7.0.53', '53', 0, 'allowed by other/dns, rule 3'],
    ['shop/a', 'other/dns', '443', 1, 'refused: no rule of other/dns allows it'],
    ['shop/a', 'other/dns', '80', 1, 'refused: no rule of other/dns allows it'],
    ['shop/a', 'other/open', '53', 1, "refused: no policy allows the client's address"],
  ])('%s to %s, port %s: exit code %i', async (from, to, port, code, text) => {
    const told = await explain(from, to, port);
    expect([told.code, told.err]).toEqual([code, '']);
    expect(told.out).toContain(text);
    expect(told.out).toContain('between tenants          by the shared service dns');
  });

  test.each([
    ['its client in the other direction', 'other/dns', 'shop/a'],
    ['one whose address is not named', 'shop/unnamed', 'other/dns'],
    ['a pod that is not shared', 'shop/a', 'other/far'],
  ])('is no way for %s', async (_, from, to) => {
    const { code, err } = await explain(from, to, '53');
    expect(code).not.toBe(0);
    expect(err).toContain('there is no way between tenants');
  });
});
