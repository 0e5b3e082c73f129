// scripts/machines and what it does on each machine, with namespaces in the place of the virtual machines: the same
// scripts, agents, broker and proofs; only the boot, the packages and `vagrant ssh` are left to who has Vagrant.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inNetns, ipBatch, type Outcome, run, start, tryRun } from './command';
import { NETNS_DIR, packageRoot } from './layout';
import { netnsInode, processesIn, signal } from './processes';

const NAME = `m${randomBytes(3).toString('hex')}`;
const NODES = [1, 2, 3];
const TIMEOUT_MS = 240_000;
const MADE = [`${NAME}-wire`, ...NODES.flatMap((n) => [`${NAME}-node${n}`, `${NAME}-pod${n}`])];
const root = packageRoot();
const machine = join(root, 'test/lab/machine.sh');
let dir: string;

/** A /sys of its own for each, as a machine has; the bpffs is in a folder that all see. */
const transport = (): string => `#!/bin/sh
node=$1; shift
exec nsenter --net=${NETNS_DIR}/${NAME}-$node -- \\
  unshare --mount --propagation=slave -- sh -c 'mount -t sysfs sysfs /sys && exec "$@"' sh \\
  env MACHINE_DIR=${dir}/$node-run MACHINE_IDENTITY=${dir}/$node MACHINE_PINS=${dir}/bpf/$node MACHINE_POD=${NAME}-pod\${node#node} "$@"
`;

const environment = (): string[] => [
  'env',
  `MACHINES_BY=${dir}/transport`,
  `MACHINES_DIR=${dir}`,
  `MACHINES_TREE=${root}`,
];
const machines = (...argv: string[]): Promise<Outcome> =>
  start([...environment(), join(root, 'scripts/machines'), ...argv], TIMEOUT_MS);
const on = (node: string, ...argv: string[]): string =>
  run([join(dir, 'transport'), node, ...argv], '', 120_000);

function makeNetwork(): void {
  for (const name of MADE) run(['ip', 'netns', 'add', name]);
  ipBatch(`${NAME}-wire`, ['link add wire type bridge', 'link set wire up']);
  for (const n of NODES) {
    const netns = `${NAME}-node${n}`;
    ipBatch(netns, [
      'link set lo up',
      `link add eth0 type veth peer name node${n} netns ${NAME}-wire`,
      `addr add 192.168.57.${10 + n}/24 dev eth0`,
      'link set eth0 up',
    ]);
    ipBatch(`${NAME}-wire`, [`link set node${n} master wire up`]);
    run(inNetns(netns, ['ethtool', '-K', 'eth0', 'tx', 'off', 'gro', 'on']));
    run(inNetns(netns, ['tc', 'qdisc', 'replace', 'dev', 'eth0', 'root', 'pfifo', 'limit', '1000']));
  }
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-machines-'));
  writeFileSync(join(dir, 'transport'), transport(), { mode: 0o700 });
  mkdirSync(join(dir, 'bpf'));
  run(['mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', join(dir, 'bpf')]);
  makeNetwork();
  const made = await machines('certificates');
  expect([made.status, made.stderr]).toEqual([0, '']);
  for (const n of NODES) on(`node${n}`, machine, 'join', `node${n}`, `192.168.57.${10 + n}`);
}, TIMEOUT_MS);

afterAll(() => {
  const inodes = new Set(MADE.map((name) => netnsInode(join(NETNS_DIR, name))).filter((inode) => inode > 0));
  for (const id of processesIn(inodes)) signal(id, 'SIGKILL');
  for (const name of MADE) tryRun(['ip', 'netns', 'del', name]);
  for (const n of NODES) rmSync(join(dir, 'bpf', `node${n}`), { recursive: true, force: true });
  tryRun(['umount', join(dir, 'bpf')]);
  rmSync(dir, { recursive: true, force: true });
}, TIMEOUT_MS);

test(
  'every proof holds',
  async () => {
    const { status, stdout, stderr } = await machines('prove');
    expect([status, stdout.match(/^ok {3}/gm)?.length, stdout.match(/^FAIL.*/gm), stderr]).toEqual([
      0,
      6,
      null,
      '',
    ]);
  },
  TIMEOUT_MS,
);

test(
  'the interface is that of scripts/lab',
  async () => {
    expect((await machines('addr', 'pod2-1')).stdout).toBe('10.244.2.2\n');
    expect((await machines('addr', 'node2')).stdout).toBe('192.168.57.12\n');
    expect((await machines('exec', 'pod3-1', '--', 'ip', '-br', 'addr', 'show', 'eth0')).stdout).toContain(
      '10.244.3.2',
    );
    expect((await machines('exec', 'node2', '--', 'ip', '-br', 'addr', 'show', 'eth0')).stdout).toContain(
      '192.168.57.12',
    );
    expect((await machines('vxseal', 'node3', 'status')).stdout).toContain('node node3: ready');
    expect((await machines('agent', 'node3', 'restart')).status).toBe(0);
    expect(
      (await machines('exec', 'pod1-1', '--', 'ping', '-c', '1', '-W', '2', '10.244.3.2')).stdout,
    ).toContain('1 received');
    expect((await machines('sideways')).status).toBe(2);
  },
  TIMEOUT_MS,
);
