// The commands behind `scripts/lab soak` and `scripts/lab upgrade`: a lab of three nodes, what is done to it, the report,
// and the lab removed. Exit code 0 when nothing was lost, 1 when something was, 2 for a wrong command line.
import { logTail } from '../agents';
import { bringUp } from '../lab';
import { type LabLayout, type LabShape, labLayout, PLAIN_SHAPE } from '../layout';
import { labExists, teardown } from '../teardown';
import { describeEvent, describeWire, endure, faultsOf, type SoakReport, soak } from './soak';
import { upgradeEvents } from './upgrade';

const USAGE = `usage: scripts/lab soak    [--minutes 10] [--bus directory|kafka] [--name L]
       scripts/lab upgrade [--from HEAD~1] [--name L]`;
const NODES = 3;
const LEAST_ROTATE_MS = 40_000;

interface Options {
  readonly verb: 'soak' | 'upgrade';
  readonly name: string;
  readonly minutes: number;
  readonly bus: LabShape['bus'];
  /** Folder of another build. */
  readonly build: string;
}

/** Undefined for a wrong command line. */
function parseOptions([verb, ...argv]: readonly string[]): Options | undefined {
  if (verb !== 'soak' && verb !== 'upgrade') return undefined;
  let [name, minutes, build] = [verb as string, 10, ''];
  let bus: LabShape['bus'] = 'directory';
  for (let at = 0; at < argv.length; at += 2) {
    const value = argv[at + 1] ?? '';
    if (argv[at] === '--name' && /^[a-z][a-z0-9-]{0,19}$/.test(value)) name = value;
    else if (verb === 'soak' && argv[at] === '--minutes' && /^[1-9]\d{0,3}$/.test(value))
      minutes = Number(value);
    else if (verb === 'soak' && argv[at] === '--bus' && (value === 'directory' || value === 'kafka'))
      bus = value;
    else if (verb === 'upgrade' && argv[at] === '--build') build = value;
    else return undefined;
  }
  return verb === 'upgrade' && build === '' ? undefined : { verb, name, minutes, bus, build };
}

async function perform({ verb, minutes, build }: Options, layout: LabLayout): Promise<SoakReport> {
  const tell = (outcome: Parameters<typeof describeEvent>[0]): void => console.log(describeEvent(outcome));
  if (verb === 'upgrade')
    return await endure(layout, await upgradeEvents(layout, build), { minutes: 0, tell });
  const rotateMs = Math.max(LEAST_ROTATE_MS, minutes * 6000);
  const report = await soak(layout, { minutes, rotateMs, tell });
  console.log(`${report.byPackets} epochs began because a key came near its packet limit`);
  return report;
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (options === undefined) {
    console.error(USAGE);
    return 2;
  }
  const { name, bus } = options;
  if (labExists(name))
    throw new Error(`lab ${name} exists already. Remove it with: scripts/lab down --name ${name}`);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      teardown(name);
      process.exit(130);
    });
  try {
    const layout = await bringUp(name, NODES, 1, (message) => console.log(message), { ...PLAIN_SHAPE, bus });
    const report = await perform(options, layout);
    console.log(describeWire(report));
    const faults = faultsOf(report);
    for (const fault of faults) console.log(`FAIL ${fault}`);
    if (faults.length > 0)
      for (const node of labLayout(name, NODES, 1).nodes)
        console.log(`--- ${node.name}\n${logTail(node, 40)}`);
    console.log(faults.length === 0 ? 'nothing was lost' : `${faults.length} faults`);
    return faults.length === 0 ? 0 : 1;
  } finally {
    teardown(name);
  }
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(`lab: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
