// The command behind `scripts/lab soak`: a lab of three nodes, a soak on it, the report, and the lab removed.
// Exit code 0 when nothing was lost, 1 when something was, 2 for a wrong command line.
import { logTail } from '../agents';
import { bringUp } from '../lab';
import { labLayout } from '../layout';
import { labExists, teardown } from '../teardown';
import { describeEvent, describeWire, faultsOf, soak } from './soak';

const USAGE = 'usage: scripts/lab soak [--minutes 10] [--name L]';
const NODES = 3;

interface Options {
  readonly name: string;
  readonly minutes: number;
}

/** Undefined for a wrong command line. */
function parseSoak(argv: readonly string[]): Options | undefined {
  let [name, minutes] = ['soak', 10];
  for (let at = 0; at < argv.length; at += 2) {
    const value = argv[at + 1] ?? '';
    if (argv[at] === '--name' && /^[a-z][a-z0-9-]{0,19}$/.test(value)) name = value;
    else if (argv[at] === '--minutes' && /^\d{1,4}$/.test(value) && Number(value) > 0)
      minutes = Number(value);
    else return undefined;
  }
  return { name, minutes };
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseSoak(argv);
  if (options === undefined) {
    console.error(USAGE);
    return 2;
  }
  const { name, minutes } = options;
  if (labExists(name))
    throw new Error(`lab ${name} exists already. Remove it with: scripts/lab down --name ${name}`);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      teardown(name);
      process.exit(130);
    });
  try {
    const layout = await bringUp(name, NODES, 1, (message) => console.log(message));
    const rotateMs = Math.max(40_000, minutes * 6000);
    const report = await soak(layout, {
      minutes,
      rotateMs,
      tell: (outcome) => console.log(describeEvent(outcome)),
    });
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
    console.error(`soak: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
