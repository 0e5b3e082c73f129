// The lab's proofs, one test each, on a lab of three nodes with real agents. Throughput is measured, not asserted:
// machines that run tests do other things too.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProbeStatus } from '../../agent/control/status';
import { innerMtuBytes } from '../../agent/core/mtu';
import { logTail } from './agents';
import { inNetns, run, tryRun, until } from './command';
import { Context, prove } from './context';
import { bringUp } from './lab';
import { ESP_PORT, LABS_DIR, labLayout, PLAIN_SHAPE, packageRoot } from './layout';
import { proofsFor } from './proofs/all';
import { speed } from './proofs/speed';
import { labNamespaces, teardown } from './teardown';

const NAME = `j${randomBytes(3).toString('hex')}`;
const BRING_UP_TIMEOUT_MS = 180_000;
const PROOF_TIMEOUT_MS = 180_000;
let context: Context | undefined;

beforeAll(async () => {
  try {
    context = new Context(await bringUp(NAME, 3, 1, () => undefined));
  } catch (error) {
    const logs = labLayout(NAME, 3, 1).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
    throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause: error });
  }
}, BRING_UP_TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, BRING_UP_TIMEOUT_MS);

const proofs = proofsFor(PLAIN_SHAPE).filter((proof) => proof !== speed);
test.each(proofs.map((proof) => [proof.name, proof] as const))(
  '%s',
  async (_name, proof) => {
    if (context === undefined) throw new Error('there is no lab');
    const { ok, detail } = await prove(context, proof);
    expect({ ok, detail }).toEqual({ ok: true, detail });
  },
  PROOF_TIMEOUT_MS,
);

describe('the command', () => {
  const program = join(packageRoot(), 'build/test/lab/main.js');
  const lab = (...argv: string[]) => {
    const [verb = '', ...rest] = argv;
    return tryRun([process.execPath, program, verb, '--name', NAME, ...rest]);
  };

  test('exec runs in a pod, in a node and on the wire', () => {
    expect(lab('exec', 'pod1-1', '--', 'ping', '-c', '1', '-W', '2', '10.244.2.2').stdout).toContain(
      '1 received',
    );
    expect(lab('exec', 'node2', '--', 'ip', '-br', 'addr', 'show', 'eth0').stdout).toContain('192.0.2.2/24');
    expect(lab('exec', 'wire', '--', 'ip', '-br', 'link', 'show', 'master', 'wire').stdout).toContain(
      'node3',
    );
    expect(lab('exec', 'pod1-1', '--', 'sh', '-c', 'exit 7').status).toBe(7);
    expect(lab('exec', 'pod9-1', '--', 'true').stderr).toContain('no pod9-1 in lab');
  });

  test('addr prints one address a line', () => {
    expect(lab('addr', 'pod2-1').stdout).toBe('10.244.2.2\n');
    expect(lab('addr', 'node2').stdout).toBe('192.0.2.2\nfd00:c0de::2\n');
  });

  test('vxseal talks to that agent', () => {
    expect(lab('vxseal', 'node3', 'status').stdout).toContain('node node3: ready');
    const { peers } = JSON.parse(lab('vxseal', 'node3', 'peers', '--json').stdout) as {
      peers: { node: string }[];
    };
    expect(peers.map((peer) => peer.node).sort()).toEqual(['node1', 'node2']);
  });

  test('each node knows the pods of the others by their records', async () => {
    const remote = (): string[] => {
      const { pods } = JSON.parse(lab('vxseal', 'node3', 'pods', 'list', '--remote', '--json').stdout) as {
        pods: { node: string; name: string; address: string; state: string }[];
      };
      return pods.map(({ node, name, address, state }) => `${node} ${name} ${address} ${state}`);
    };
    const expected = ['node1 pod1-1 10.244.1.2 live', 'node2 pod2-1 10.244.2.2 live'];
    await until(
      'node3 knows both',
      30_000,
      async () => (remote().join() === expected.join() ? true : undefined),
      () => remote().join(),
    );
  }, 60_000);

  test('agent stops, starts and restarts it; pods reach each other throughout', () => {
    const reach = (): string =>
      lab('exec', 'pod1-1', '--', 'ping', '-c', '1', '-W', '2', '10.244.3.2').stdout;
    expect(lab('agent', 'node3', 'stop').stdout).toContain('agent is down');
    expect(lab('vxseal', 'node3', 'status').status).toBe(1);
    expect(reach()).toContain('1 received');
    expect(lab('agent', 'node3', 'start').stdout).toContain('agent is up');
    expect(lab('agent', 'node3', 'start').stderr).toContain('runs already');
    expect(lab('agent', 'node3', 'restart').stdout).toContain('agent is up');
    expect(reach()).toContain('1 received');
  });

  test('probe: every peer answers at full size, agents or not; without an agent of its own it says so', () => {
    const probe = (...args: string[]) => lab('vxseal', 'node1', 'probe', ...args);
    const { status, stdout } = probe('--json');
    const { peers } = JSON.parse(stdout) as { peers: ProbeStatus[] };
    expect([status, peers]).toEqual([
      0,
      ['node2', 'node3'].map((node) =>
        expect.objectContaining({ node, state: 'up', sent: 10, answered: 10, largestBytes: 1408, why: '' }),
      ),
    ]);
    for (const { rtt } of peers) {
      expect(rtt.leastMs).toBeGreaterThan(0);
      expect(rtt.mostMs).toBeGreaterThanOrEqual(rtt.meanMs);
    }
    lab('agent', 'node2', 'stop');
    try {
      expect(probe('node2')).toMatchObject({ status: 0, stdout: expect.stringContaining('0 of 10') });
    } finally {
      lab('agent', 'node2', 'start');
    }
    lab('agent', 'node1', 'stop');
    try {
      expect(probe()).toMatchObject({ status: 1, stderr: expect.stringContaining('is not running') });
    } finally {
      lab('agent', 'node1', 'start');
    }
  });

  test('probe finds the largest packet that a path carries, and pods confirm it', () => {
    const onWire = (mtuBytes: number) =>
      lab('exec', 'wire', '--', 'ip', 'link', 'set', 'node2', 'mtu', `${mtuBytes}`);
    const passes = (packetBytes: number): boolean => {
      const size = String(packetBytes - 28);
      const ping = ['ping', '-c', '2', '-i', '0.2', '-W', '1', '-M', 'do', '-s', size, '10.244.2.2'];
      return lab('exec', 'pod1-1', '--', ...ping).status === 0;
    };
    onWire(1300);
    try {
      const { status, stdout } = lab('vxseal', 'node1', 'probe', '--json');
      const { peers } = JSON.parse(stdout) as { peers: ProbeStatus[] };
      expect([status, peers]).toMatchObject([1, [{ state: 'mtu' }, { state: 'up', largestBytes: 1408 }]]);
      const largestBytes = peers[0]?.largestBytes ?? 0;
      expect(peers[0]?.why).toContain(`the largest that is has ${largestBytes}`);
      // A bridge lets the four bytes of a tag pass above the MTU of its port.
      expect([1300, 1304].map((mtuBytes) => innerMtuBytes(mtuBytes, 4))).toContain(largestBytes);
      expect([largestBytes, largestBytes + 1].map(passes)).toEqual([true, false]);
    } finally {
      onWire(1500);
    }
  }, 60_000);

  test('probe tells a blocked way from a silent peer, by name', () => {
    const filter = (rule: string) =>
      `table bridge probe {\n chain f {\n type filter hook forward priority 0\n ${rule}\n }\n}`;
    const layout = labLayout(NAME, 3, 1);
    const told = (node: string, ...args: string[]): string => {
      const { status, stdout } = lab('vxseal', node, 'probe', ...args);
      expect(status).toBe(1);
      return stdout;
    };
    run(inNetns(layout.wireNetns, ['nft', '-f', '-']), filter(`iifname "node2" udp dport ${ESP_PORT} drop`));
    try {
      // Its packets do not come here; ours come there.
      expect(told('node1', 'node2')).toMatch(
        /peer node2: stalled: no packet from it[\s\S]*-> let UDP port 4500 pass between 192\.0\.2\.1 and 192\.0\.2\.2/,
      );
      expect(told('node2', 'node1', '--timeout', '5s')).toMatch(
        /peer node1: stalled: its packets arrive here, ours are not answered/,
      );
      expect(lab('vxseal', 'node1', 'probe', 'node3').status).toBe(0);
    } finally {
      run(inNetns(layout.wireNetns, ['nft', 'delete', 'table', 'bridge', 'probe']));
    }
  }, 60_000);

  test('up refuses a name that is taken, and the lab stands', () => {
    const refused = lab('up');
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain(`lab ${NAME} exists already. Remove it with`);
    expect(lab('exec', 'pod1-1', '--', 'true').status).toBe(0);
  });
});

test('taking the lab down leaves nothing behind', async () => {
  await context?.close();
  expect(labNamespaces(NAME)).toHaveLength(7);
  expect(teardown(NAME)).toBe(true);
  expect(labNamespaces(NAME)).toEqual([]);
  expect(existsSync(join(LABS_DIR, NAME))).toBe(false);
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(`${LABS_DIR}/${NAME}/`);
  expect(teardown(NAME)).toBe(false);
});
