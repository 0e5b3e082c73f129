// How faults are staged on a lab's machines, and taken away again: another configuration, identity or clock, or a
// program of somebody else's where ours belongs. What the status says of them is faults.test.ts.
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { endAgent, START_TIMEOUT_MS, startAgent, waitAnswering } from './agents';
import { inNetns, run, tryRun, until } from './command';
import type { LabLayout, NodeLayout } from './layout';
import { isAlive } from './processes';

export async function stop(where: NodeLayout): Promise<void> {
  await endAgent(where, 'SIGTERM');
}

export async function restart(where: NodeLayout): Promise<void> {
  await stop(where);
  await waitAnswering(where, startAgent(where));
}

/** Starts an agent that is expected to refuse, and waits for its end. */
export async function startInVain(where: NodeLayout): Promise<void> {
  const id = startAgent(where);
  await until(`the agent of ${where.name} gives up`, START_TIMEOUT_MS, () =>
    isAlive(id) ? undefined : true,
  );
}

/** Runs `body` with other keys in the node's configuration, which it finds restored afterwards. */
export async function withConfig(
  where: NodeLayout,
  change: (config: Record<string, Record<string, unknown>>) => void,
  body: () => Promise<void>,
): Promise<void> {
  const before = readFileSync(where.configFile, 'utf8');
  const config = parse(before) as Record<string, Record<string, unknown>>;
  change(config);
  writeFileSync(where.configFile, stringify(config));
  try {
    await body();
  } finally {
    writeFileSync(where.configFile, before);
    await restart(where);
  }
}

/** Runs `body` with the files of another folder as the node's identity. */
export async function withIdentity(
  where: NodeLayout,
  folder: string,
  body: () => Promise<void>,
): Promise<void> {
  const kept = `${where.identityDir}-kept`;
  await stop(where);
  renameSync(where.identityDir, kept);
  cpSync(folder, where.identityDir, { recursive: true });
  try {
    await body();
  } finally {
    await stop(where);
    rmSync(where.identityDir, { recursive: true });
    renameSync(kept, where.identityDir);
    await restart(where);
  }
}

/** What is started meanwhile has a wall clock that is off. */
export async function withClock<T>(
  lab: LabLayout,
  shiftSeconds: number,
  body: () => T | Promise<T>,
): Promise<T> {
  const library = join(lab.dir, 'shifted-clock.so');
  if (!existsSync(library))
    run(['cc', '-shared', '-fPIC', '-O2', '-o', library, join(__dirname, 'shifted-clock.c')]);
  // Children of a test do not get its process.env: a wrapper takes the place of node.
  const wrapper = join(lab.dir, 'shifted-node');
  const node = process.execPath;
  writeFileSync(
    wrapper,
    `#!/bin/sh\nLD_PRELOAD=${library} SHIFT_SECONDS=${shiftSeconds} exec ${node} "$@"\n`,
    {
      mode: 0o755,
    },
  );
  process.execPath = wrapper;
  try {
    return await body();
  } finally {
    process.execPath = node;
  }
}

/** Our link is detached, and a program of somebody else's takes its place. The pins are on a bpffs of the agent's. */
export function occupyXdp(where: NodeLayout, pid: number): void {
  const { ifindex } = JSON.parse(
    run(inNetns(where.netns, ['ip', '-j', 'link', 'show', 'eth0'])).slice(1, -2),
  ) as {
    ifindex: number;
  };
  const inAgent = (...argv: string[]): void => {
    run(['nsenter', `--target=${pid}`, '--mount', '--net', '--', ...argv]);
  };
  inAgent('bpftool', 'link', 'detach', 'pinned', join(where.pinDir, 'links', `open-${ifindex}`));
  const foreign = foreignXdp(where, 'xdp');
  inAgent('ip', 'link', 'set', 'dev', 'eth0', 'xdp', 'obj', foreign, 'sec', 'xdp');
}

/** An object file with a program of somebody else's that passes everything. */
export function foreignXdp(where: NodeLayout, section: 'xdp' | 'xdp.frags'): string {
  const object = join(where.dir, 'foreign.bpf.o');
  writeFileSync(
    `${object}.c`,
    `#include <linux/bpf.h>
__attribute__((section("${section}"), used)) int pass(struct xdp_md *c) { return XDP_PASS; }
char l[] __attribute__((section("license"), used)) = "GPL";
`,
  );
  const compiler =
    ['clang-19', 'clang-18', 'clang-17', 'clang-16', 'clang'].find(
      (name) => tryRun(['which', name]).status === 0,
    ) ?? 'clang';
  const include = `-I/usr/include/${run(['uname', '-m']).trim()}-linux-gnu`;
  run([compiler, '-O2', '-g', '-target', 'bpf', include, '-c', '-o', object, `${object}.c`]);
  return object;
}
