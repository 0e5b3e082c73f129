// `down` from every state that a crash can leave: half built, with processes in the namespaces, with foreign files
// in the way; and beside another lab, which it must not touch.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inNetns, run, tryRun, until } from './command';
import { buildMachines, openLab } from './lab';
import { LABS_DIR, packageRoot } from './layout';
import { identify, isAlive, netnsInode, processesIn, waitGone } from './processes';
import { labNamespaces, teardown } from './teardown';

const made: string[] = [];
const children: ChildProcess[] = [];

function newName(): string {
  const name = `t${randomBytes(3).toString('hex')}`;
  made.push(name);
  return name;
}

function background(argv: readonly string[]): ChildProcess {
  const [file = '', ...args] = argv;
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  return child;
}

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const name of made.splice(0)) teardown(name);
});

function expectNothing(name: string): void {
  expect(labNamespaces(name)).toEqual([]);
  expect(existsSync(join(LABS_DIR, name))).toBe(false);
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(`${LABS_DIR}/${name}/`);
}

test('a whole lab without agents, with a process in a pod that ignores SIGTERM', async () => {
  const name = newName();
  const lab = buildMachines(name, 2, 2);
  const netns = lab.nodes[1]?.pods[1]?.netns ?? '';
  expect(netns).toBe(`${name}-pod2-2`);
  background(inNetns(netns, ['bash', '-c', 'trap "" TERM; while :; do read -t 1000; done <> <(:)']));
  const inodes = new Set([netnsInode(`/run/netns/${netns}`)]);
  const [found] = await until('the process is in the pod', 5000, () => {
    const processes = processesIn(inodes);
    return processes.length > 0 ? processes : undefined;
  });
  teardown(name);
  expectNothing(name);
  expect(found !== undefined && isAlive(found)).toBe(false);
});

test('another lab, and a process outside, are not touched', async () => {
  const [a, b] = [newName(), newName()];
  buildMachines(a, 1, 1);
  buildMachines(b, 1, 1);
  teardown(a);
  expectNothing(a);
  expect(labNamespaces(b).sort()).toEqual([`${b}-node1`, `${b}-pod1-1`, `${b}-wire`]);
  expect(run(inNetns(`${b}-pod1-1`, ['ping', '-c', '1', '-W', '2', '192.0.2.1']))).toContain('1 received');
});

test('two of one name: the second is refused and the first stands', () => {
  const name = newName();
  buildMachines(name, 1, 1);
  expect(() => buildMachines(name, 1, 1)).toThrow(`lab ${name} exists already`);
  expect(labNamespaces(name)).toHaveLength(3);
  expect(openLab(name).nodes).toHaveLength(1);
});

test.each([
  'only a folder',
  'only a namespace',
  'an empty namespace file',
  'only a pid file of another process',
])('half built: %s', (state) => {
  const name = newName();
  const dir = join(LABS_DIR, name, 'node1');
  if (state === 'only a namespace') run(['ip', 'netns', 'add', `${name}-node1`]);
  else if (state === 'an empty namespace file') {
    run(['ip', 'netns', 'add', `${name}-wire`]);
    writeFileSync(`/run/netns/${name}-node1`, '');
  } else mkdirSync(dir, { recursive: true });
  // The pid is ours, the start time is not: a number that was used again.
  if (state.includes('pid file')) writeFileSync(join(dir, 'agent.pid'), `${process.pid} 1\n`);
  expect(teardown(name)).toBe(true);
  expectNothing(name);
});

test('nothing there: says so', () => {
  expect(teardown(newName())).toBe(false);
});

test('`up` killed without warning in the middle leaves nothing after `down`', async () => {
  const name = newName();
  const program = join(packageRoot(), 'build/test/lab/main.js');
  const up = background([process.execPath, program, 'up', '--name', name, '--nodes', '6']);
  const id = identify(up.pid ?? 0);
  await until(
    'some namespaces are there',
    20_000,
    () => (labNamespaces(name).length >= 4 ? true : undefined),
    () => '',
    1,
  );
  up.kill('SIGKILL');
  if (id !== undefined) await waitGone(id, 5000);
  const down = tryRun([process.execPath, program, 'down', '--name', name]);
  expect({ status: down.status, stderr: down.stderr }).toEqual({ status: 0, stderr: '' });
  expectNothing(name);
}, 60_000);

test('names of labs that begin alike are kept apart', () => {
  const name = newName();
  made.push(`${name}-node1`);
  buildMachines(`${name}-node1`, 1, 1);
  expect(teardown(name)).toBe(false);
  expect(labNamespaces(`${name}-node1`)).toHaveLength(3);
});
