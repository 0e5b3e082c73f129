// libcni itself, as cnitool v1.3.0 has it, with the reference plugins v1.9.0 before ours: that it accepts what we answer
// in every version of the specification, in a list and as a drop-in. `scripts/tools cni` builds both from source.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CNI_VERSIONS } from '../../agent/core/cni';
import { installConflist, removeConflist } from '../../agent/sources/conflist';
import { tryRun, until } from '../lab/command';
import { packageRoot } from '../lab/layout';
import type { Json } from './chain';
import { conflist, hostLocal, Stage, type StageNode, vxseal } from './stage';

const LIMIT_MS = 120_000;
const TOOLS = join(packageRoot(), 'build/tools');

let stage: Stage;
let dir = '';
beforeAll(async () => {
  dir = mkdtempSync('/tmp/vxl-');
  stage = await Stage.open(1);
}, 180_000);
afterAll(async () => {
  await stage?.close();
  if (dir !== '') rmSync(dir, { recursive: true });
}, LIMIT_MS);

const primary = (node: StageNode) => ({ type: 'ptp', ipMasq: false, mtu: 9000, ipam: hostLocal(node) });

/** @returns what it printed; throws what it complained of */
function cnitool(confDir: string, ...args: string[]): Json | undefined {
  const folders = [TOOLS, join(packageRoot(), 'build/cni')].join(':');
  const environment = ['env', `CNI_PATH=${folders}`, `NETCONFPATH=${confDir}`];
  const argv = [
    'nsenter',
    `--net=${stage.node(1).netns}`,
    '--',
    ...environment,
    join(TOOLS, 'cnitool'),
    ...args,
  ];
  const { status, stdout, stderr } = tryRun(argv);
  if (status !== 0) throw new Error(`cnitool ${args.join(' ')}: ${stderr}${stdout}`);
  return stdout.trim() === '' ? undefined : (JSON.parse(stdout) as Json);
}

const podCount = async (): Promise<number> => (await stage.node(1).status()).pods.length;

test.each(CNI_VERSIONS.map((version) => [version]))(
  'version %s: add, check, del',
  async (version) => {
    const node = stage.node(1);
    const confDir = join(dir, version);
    mkdirSync(confDir);
    const list = conflist('net', [primary(node), vxseal(node)], version);
    writeFileSync(join(confDir, '10-net.conflist'), JSON.stringify(list));
    const container = stage.container(node);
    const result = cnitool(confDir, 'add', 'net', container.netnsPath);
    expect(result).toMatchObject({
      cniVersion: version,
      ips: [{ address: expect.stringMatching(/^10\.244\.1\.\d+\/24$/) }],
    });
    expect((await node.status()).pods).toMatchObject([{ ready: true, mtuBytes: 1408 }]);
    if (!version.startsWith('0.3.')) cnitool(confDir, 'check', 'net', container.netnsPath);
    if (version === '1.1.0') {
      cnitool(confDir, 'status', 'net', container.netnsPath);
      // Without a list libcni ends by DEL what it has noted, then calls GC without one: nothing is left to judge.
      cnitool(confDir, 'gc', 'net', container.netnsPath);
      expect(await podCount()).toBe(0);
    }
    cnitool(confDir, 'del', 'net', container.netnsPath);
    expect(await podCount()).toBe(0);
    cnitool(confDir, 'del', 'net', container.netnsPath);
    await stage.remove(container);
  },
  LIMIT_MS,
);

test(
  'a drop-in stands behind a list that does not name us',
  async () => {
    const node = stage.node(1);
    const confDir = join(dir, 'drop-in');
    mkdirSync(confDir);
    const list = conflist('net', [primary(node)], '1.1.0');
    writeFileSync(join(confDir, '10-net.conflist'), JSON.stringify(list));
    const target = { dir: confDir, network: 'net', socket: node.socket, vni: undefined, dropIn: true };
    await installConflist(target);
    const container = stage.container(node);
    cnitool(confDir, 'add', 'net', container.netnsPath);
    expect(await podCount()).toBe(1);
    cnitool(confDir, 'del', 'net', container.netnsPath);
    expect(await podCount()).toBe(0);
    await removeConflist(confDir, undefined);
    cnitool(confDir, 'add', 'net', container.netnsPath);
    expect(await podCount()).toBe(0);
    cnitool(confDir, 'del', 'net', container.netnsPath);
    await stage.remove(container);
  },
  LIMIT_MS,
);

test(
  "a refusal of ours arrives as one of libcni's",
  async () => {
    const node = stage.node(1);
    const confDir = join(dir, 'refused');
    mkdirSync(confDir);
    const list = conflist('net', [primary(node), { ...vxseal(node), vni: 77 }], '1.0.0');
    writeFileSync(join(confDir, '10-net.conflist'), JSON.stringify(list));
    const container = stage.container(node);
    expect(() => cnitool(confDir, 'add', 'net', container.netnsPath)).toThrow(
      /this node has no prefix in VNI 77/,
    );
    cnitool(confDir, 'del', 'net', container.netnsPath);
    await until('nothing is left', 20_000, async () => ((await podCount()) === 0 ? true : undefined));
    await stage.remove(container);
  },
  LIMIT_MS,
);
