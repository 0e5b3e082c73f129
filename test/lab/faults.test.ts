// Ten faults, each staged on a lab of two nodes with real agents: `vxseal status` alone must name what is wrong, why,
// and what to do. After each the fault is taken away and the status must say that all is well again.
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  agentProcess,
  logTail,
  nextCa,
  renewNode,
  startAgent,
  vxsealArgv,
  waitAllUp,
  waitAnswering,
} from './agents';
import { inNetns, run, start, until } from './command';
import { bringUp } from './lab';
import { ESP_PORT, type LabLayout, labLayout, type NodeLayout, packageRoot, TRUST_DOMAIN } from './layout';
import { signal } from './processes';
import { occupyXdp, restart, startInVain, stop, withClock, withConfig, withIdentity } from './staging';
import { teardown } from './teardown';

const NAME = `f${randomBytes(3).toString('hex')}`;
const LIMIT_MS = 300_000;
/** A peer that does not follow a rotation is told after a minute. */
const SEEN_WITHIN_MS = 90_000;
const DAY_S = 86_400;

let lab: LabLayout;

beforeAll(async () => {
  try {
    lab = await bringUp(NAME, 2, 1, () => undefined);
  } catch (error) {
    const logs = labLayout(NAME, 2, 1).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
    throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause: error });
  }
}, LIMIT_MS);
afterAll(() => teardown(NAME), LIMIT_MS);

const node = (index: number): NodeLayout => {
  const found = lab.nodes[index - 1];
  if (found === undefined) throw new Error(`no node ${index}`);
  return found;
};

/** Waits until `vxseal status` on the node has every one of these in its text, and an exit code of 1. */
async function sees(where: NodeLayout, ...patterns: readonly RegExp[]): Promise<void> {
  let text = '';
  await until(
    `status of ${where.name} names the fault`,
    SEEN_WITHIN_MS,
    async () => {
      const { status, stdout, stderr } = await start(vxsealArgv(where, ['status']));
      text = `exit code ${status}\n${stdout}${stderr}`;
      return status === 1 && patterns.every((pattern) => pattern.test(text)) ? true : undefined;
    },
    () => `${patterns.map(String).join(' ')}\n${text}`,
    500,
  );
}

/** Also the control of each test: without the fault nothing is wrong. */
async function allWell(): Promise<void> {
  await waitAllUp(lab);
  for (const each of lab.nodes) {
    let text = '';
    await until(
      `${each.name} is well again`,
      SEEN_WITHIN_MS,
      async () => {
        const { status, stdout } = await start(vxsealArgv(each, ['status']));
        text = stdout;
        return status === 0 ? true : undefined;
      },
      () => text,
      500,
    );
  }
}

const onWire = (...argv: string[]): string => run(inNetns(lab.wireNetns, argv));

// A fault that was not taken away must not fail the next test too.
beforeEach(async () => {
  for (const each of lab.nodes)
    if (agentProcess(each) === undefined) await waitAnswering(each, startAgent(each));
  await allWell();
}, LIMIT_MS);

test(
  '1 wrong CA',
  async () => {
    const other = nextCa(lab);
    const strange = join(lab.dir, 'strange-identity');
    cpSync(node(2).identityDir, strange, { recursive: true });
    renewNode(other, { ...node(2), identityDir: strange });
    writeFileSync(join(strange, 'roots.crt'), readFileSync(join(other, 'ca.crt')));
    await withIdentity(node(2), strange, async () => {
      await restart(node(2));
      await sees(
        node(1),
        /record of node2: refused: bad-chain: .*no trusted root/,
        /-> compare identity\.roots .* ca issue/,
      );
      await sees(node(2), /record of node1: refused: bad-chain/, /-> compare identity\.roots/);
    });
  },
  LIMIT_MS,
);

test(
  '2 expired certificate',
  async () => {
    await stop(node(2));
    const past = { ca: join(lab.dir, 'past-ca'), out: join(lab.dir, 'past-identity') };
    await withClock(lab, -40 * DAY_S, () => {
      const ca = (...args: string[]): string =>
        run([process.execPath, join(packageRoot(), 'build/agent/cli/vxseal.js'), 'ca', ...args]);
      ca('init', '--dir', past.ca, '--trust-domain', TRUST_DOMAIN);
      const grant = ['--vtep', node(2).vtep, ...node(2).prefixes.flatMap((prefix) => ['--prefix', prefix])];
      ca('issue', '--dir', past.ca, '--node', 'node2', ...grant, '--days', '30', '--out', past.out);
    });
    await withIdentity(node(2), past.out, async () => {
      await startInVain(node(2));
      await sees(node(2), /its start failed .*node\.crt: expired/, /-> .*vxseal ca renew/);
    });
  },
  LIMIT_MS,
);

test(
  '3 wrong prefix',
  async () => {
    await withConfig(
      node(2),
      (config) => {
        config.overlay = {
          ...config.overlay,
          prefixes: [{ vni: config.overlay?.vni, prefixes: ['10.244.99.0/24'] }],
        };
      },
      async () => {
        await stop(node(2));
        await waitAnswering(node(2), startAgent(node(2)));
        await sees(node(2), /10\.244\.99\.0\/24/, /not grant|outside/, /-> .*ca issue/);
      },
    );
  },
  LIMIT_MS,
);

test(
  '4 UDP blocked',
  async () => {
    const rule = `iifname "node2" udp dport ${ESP_PORT} drop`;
    const chain = `chain forward {\n type filter hook forward priority 0\n ${rule}\n }`;
    run(inNetns(lab.wireNetns, ['nft', '-f', '-']), `table bridge fault {\n ${chain}\n}\n`);
    try {
      await sees(
        node(1),
        /peer node2: stalled: no packet from it/,
        /-> let UDP port 4500 pass between 192\.0\.2\.1 and 192\.0\.2\.2/,
      );
      await sees(
        node(2),
        /peer node1: stalled: its packets arrive here, ours are not answered/,
        /-> let UDP port 4500/,
      );
    } finally {
      onWire('nft', 'delete', 'table', 'bridge', 'fault');
    }
  },
  LIMIT_MS,
);

test(
  '5 MTU black hole',
  async () => {
    onWire('ip', 'link', 'set', 'node2', 'mtu', '1300');
    try {
      await sees(
        node(1),
        /peer node2: mtu: small probes are answered, those of 1408 bytes are not/,
        /-> raise the MTU on the path/,
      );
    } finally {
      onWire('ip', 'link', 'set', 'node2', 'mtu', '1500');
    }
  },
  LIMIT_MS,
);

test(
  '6 bus gone',
  async () => {
    renameSync(lab.busDir, `${lab.busDir}-away`);
    try {
      await sees(
        node(1),
        /bus: .*/,
        /bus +directory: not connected/,
        /-> check that it can be reached; what stands goes on/,
      );
    } finally {
      renameSync(`${lab.busDir}-away`, lab.busDir);
    }
  },
  LIMIT_MS,
);

test(
  '7 clock off',
  async () => {
    await stop(node(2));
    await withClock(lab, 2 * DAY_S, async () => waitAnswering(node(2), startAgent(node(2))));
    try {
      await sees(
        node(1),
        /record of node2: refused: bad-lease: (begins|ends) \d+ ms from now/,
        /-> compare the clocks/,
      );
      await sees(node(2), /peer node1: expired: its lease ended/, /-> .*the right time/);
    } finally {
      await restart(node(2));
    }
  },
  LIMIT_MS,
);

test(
  '8 kernel refuses a program',
  async () => {
    // As on a kernel that lacks a helper: the verifier says no.
    const folder = join(lab.dir, 'refused');
    cpSync(join(packageRoot(), 'build/bpf'), folder, { recursive: true });
    cpSync(join(packageRoot(), 'build/test/native/refused.bpf.o'), join(folder, 'seal.bpf.o'));
    await withConfig(
      node(2),
      (config) => Object.assign(config, { bpfDir: folder }),
      async () => {
        await stop(node(2));
        await startInVain(node(2));
        await sees(
          node(2),
          /its start failed .*load program seal: EACCES/,
          /-> run `vxseal doctor`: it names/,
        );
      },
    );
  },
  LIMIT_MS,
);

test(
  '9 a program is detached and cannot be put back',
  async () => {
    await withConfig(
      node(2),
      (config) => {
        config.underlay = { ...config.underlay, xdp: 'native' };
      },
      async () => {
        await restart(node(2));
        await allWell();
        const pid = Number(readFileSync(node(2).pidFile, 'utf8').split(' ')[0]);
        const id = { pid, startTicks: readFileSync(node(2).pidFile, 'utf8').trim().split(' ')[1] ?? '' };
        signal(id, 'SIGSTOP');
        try {
          occupyXdp(node(2), pid);
        } finally {
          signal(id, 'SIGCONT');
        }
        try {
          await sees(
            node(2),
            /hooks: not attached: open on eth0/,
            /as native XDP: EBUSY/,
            /-> another XDP program holds the device/,
          );
        } finally {
          run(inNetns(node(2).netns, ['ip', 'link', 'set', 'dev', 'eth0', 'xdp', 'off']));
        }
      },
    );
  },
  LIMIT_MS,
);

test(
  '10 stale key',
  async () => {
    // Node 1 reads and writes another bus: node 2 never sees its new keys, and the old ones end.
    const other = `${lab.busDir}-other`;
    mkdirSync(other);
    cpSync(lab.busDir, other, { recursive: true });
    await withConfig(
      node(1),
      (config) => {
        config.bus = { ...config.bus, path: other };
        config.keys = { ...config.keys, hardLimitMs: '10s' };
      },
      async () => {
        await restart(node(1));
        await sees(
          node(2),
          /peer node1: stalled: it sends under keys that we do not have/,
          /-> see the bus in `vxseal status` here and on node1/,
        );
        await sees(
          node(1),
          /rotation: not moved to epoch \d+: node2/,
          /-> see whether their agents run and read the bus/,
        );
      },
    );
  },
  LIMIT_MS,
);
