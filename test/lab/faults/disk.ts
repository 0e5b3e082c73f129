// Proofs on a state directory that cannot be written: full, or read-only. What is in force goes on; nothing begins that
// would have to be remembered and is not; the reason and the remedy are said; once there is room all goes on by itself.
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { endAgent, startAgent, vxsealArgv, waitAllUp, waitAnswering } from '../agents';
import { status } from '../api';
import { run, tryRun, until } from '../command';
import type { Context, ProofOf } from '../context';
import type { NodeLayout } from '../layout';
import { waitGone } from '../processes';
import { underTraffic } from './undertraffic';

const TELL_MS = 20_000;
const GIVE_UP_MS = 30_000;
const RECOVERY_MS = 60_000;
const DISK = 'size=512k,mode=0700';
const FILLER = 'filler';
const REMEDY = 'check that the state directory exists, is writable and not full';

interface DiskFault {
  readonly name: string;
  readonly errno: string;
  readonly make: (node: NodeLayout) => void;
  readonly heal: (node: NodeLayout) => void;
}

/** Until nothing goes in any more. */
function fill(node: NodeLayout): void {
  const path = join(node.stateDir, FILLER);
  for (let chunk = 1 << 16; chunk >= 1; chunk >>= 1)
    try {
      for (;;) writeFileSync(path, Buffer.alloc(chunk), { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
}

const FAULTS: readonly DiskFault[] = [
  {
    name: 'the disk of the state directory is full',
    errno: 'ENOSPC',
    make: fill,
    heal: (node) => rmSync(join(node.stateDir, FILLER)),
  },
  {
    name: 'the file system of the state directory turns read-only',
    errno: 'EROFS',
    make: (node) => void run(['mount', '-o', 'remount,ro', node.stateDir]),
    heal: (node) => void run(['mount', '-o', 'remount,rw', node.stateDir]),
  },
];

async function restart(node: NodeLayout, meanwhile: () => void): Promise<void> {
  await endAgent(node, 'SIGTERM');
  meanwhile();
  await waitAnswering(node, startAgent(node));
}

/** A small disk of its own for the state directory; what is on it at the end goes back to where it was. */
async function withOwnDisk<T>(context: Context, node: NodeLayout, body: () => Promise<T>): Promise<T> {
  const aside = `${node.stateDir}-aside`;
  const copy = (from: string, to: string): void => cpSync(from, to, { recursive: true, force: true });
  await restart(node, () => {
    copy(node.stateDir, aside);
    run(['mount', '-t', 'tmpfs', '-o', DISK, 'tmpfs', node.stateDir]);
    copy(aside, node.stateDir);
  });
  await waitAllUp(context.lab, RECOVERY_MS);
  try {
    return await body();
  } finally {
    await restart(node, () => {
      rmSync(join(node.stateDir, FILLER), { force: true });
      copy(node.stateDir, aside);
      run(['umount', node.stateDir]);
      copy(aside, node.stateDir);
      rmSync(aside, { recursive: true });
    });
    await waitAllUp(context.lab, RECOVERY_MS);
  }
}

const numberIn = (node: NodeLayout, file: string, field: string): number =>
  Number((JSON.parse(readFileSync(join(node.stateDir, file), 'utf8')) as Record<string, unknown>)[field]);
/** What must never be given twice. */
const givenOut = (node: NodeLayout) => ({
  epoch: numberIn(node, 'epoch.json', 'number'),
  generation: numberIn(node, 'generation.json', 'generation'),
});

function expectSaid(what: string, text: string, errno: string): void {
  if (text.includes(errno) && text.includes(REMEDY)) return;
  throw new Error(`${what} does not say ${errno} and what to do: ${text.slice(-600)}`);
}

/** No new key while its number cannot be written down. */
async function refusesToRotate(node: NodeLayout, errno: string): Promise<void> {
  const before = (await status(node)).node.epoch.number;
  const refused = tryRun(vxsealArgv(node, ['rotate']));
  if (refused.status !== 1) throw new Error(`rotate ended with ${refused.status}: ${refused.stdout}`);
  expectSaid('rotate', refused.stderr, errno);
  const after = (await status(node)).node.epoch.number;
  if (after !== before) throw new Error(`epoch ${after} began, and was not written down`);
}

/** What peers publish meanwhile is taken, and it is told that a restart would not know of it. */
async function tellsUnkept(context: Context, node: NodeLayout, errno: string): Promise<void> {
  run(vxsealArgv(context.node(1), ['rotate']));
  const { reason, remedy } = await until('the orders are missed on disk', TELL_MS, async () =>
    (await status(node)).problems.find(({ object }) => object === 'orders of records on disk'),
  );
  expectSaid('status', `${reason}; ${remedy}`, errno);
}

/** An agent that would begin without its numbers ends instead, and says why. */
async function refusesToStart(node: NodeLayout, errno: string): Promise<void> {
  await endAgent(node, 'SIGKILL');
  const already = readFileSync(node.logFile).length;
  await waitGone(startAgent(node), GIVE_UP_MS);
  expectSaid('the log', readFileSync(node.logFile).subarray(already).toString(), errno);
}

const onDisk = (fault: DiskFault): ProofOf => ({
  name: fault.name,
  body: async (context) => {
    const node = context.node(2);
    return await withOwnDisk(context, node, async () => {
      const before = givenOut(node);
      const sent = await underTraffic(context, async () => {
        fault.make(node);
        try {
          await refusesToRotate(node, fault.errno);
          await tellsUnkept(context, node, fault.errno);
          await refusesToStart(node, fault.errno);
        } finally {
          fault.heal(node);
        }
        await waitAnswering(node, startAgent(node));
        await waitAllUp(context.lab, RECOVERY_MS);
        run(vxsealArgv(node, ['rotate']));
        await waitAllUp(context.lab, RECOVERY_MS);
      });
      const after = givenOut(node);
      if (after.epoch <= before.epoch || after.generation <= before.generation)
        throw new Error(`numbers went from ${JSON.stringify(before)} to ${JSON.stringify(after)}`);
      return `no rotation and no start without ${fault.errno} told; 0 of ${sent} packets lost; epoch ${before.epoch} to ${after.epoch}`;
    });
  },
});

export const DISK_FAULTS: readonly ProofOf[] = FAULTS.map(onDisk);
