// The command behind `scripts/lab faults`: a lab of two nodes, faults of cables and machines made on it again and
// again, and the lab removed. Exit code 0 when all held, 1 when something did not, 2 for a wrong command line.
import { logTail } from '../agents';
import { Context, prove } from '../context';
import { bringUp } from '../lab';
import { labLayout } from '../layout';
import { labExists, teardown } from '../teardown';
import { MACHINE_FAULTS } from './machine';
import { WIRE_FAULTS } from './wire';

const USAGE = 'usage: scripts/lab faults [wire|machine] [--rounds 1] [--name L]';
const NODES = 2;
const GROUPS = { wire: WIRE_FAULTS, machine: MACHINE_FAULTS };

interface Options {
  readonly groups: readonly (keyof typeof GROUPS)[];
  readonly rounds: number;
  readonly name: string;
}

/** Undefined for a wrong command line. */
function parseOptions([, ...argv]: readonly string[]): Options | undefined {
  const groups: (keyof typeof GROUPS)[] = [];
  let [rounds, name] = [1, 'faults'];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? '';
    if (word === 'wire' || word === 'machine') groups.push(word);
    else if (word === '--rounds' && /^[1-9]\d{0,3}$/.test(argv[at + 1] ?? '')) rounds = Number(argv[++at]);
    else if (word === '--name' && /^[a-z][a-z0-9-]{0,19}$/.test(argv[at + 1] ?? '')) name = argv[++at] ?? '';
    else return undefined;
  }
  return { groups: groups.length > 0 ? groups : ['wire', 'machine'], rounds, name };
}

/** @returns how many did not hold. */
async function perform(context: Context, { groups, rounds }: Options): Promise<number> {
  const proofs = groups.flatMap((group) => GROUPS[group]);
  let failed = 0;
  for (let round = 1; round <= rounds; round++)
    for (const proof of proofs) {
      const { ok, name, detail } = await prove(context, proof);
      console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}\n     ${detail}`);
      if (!ok) failed++;
    }
  console.log(`${rounds * proofs.length - failed} of ${rounds * proofs.length} faults survived`);
  return failed;
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  if (options === undefined) {
    console.error(USAGE);
    return 2;
  }
  const { name } = options;
  if (labExists(name))
    throw new Error(`lab ${name} exists already. Remove it with: scripts/lab down --name ${name}`);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      teardown(name);
      process.exit(130);
    });
  try {
    const context = new Context(await bringUp(name, NODES, 1, (message) => console.log(message)));
    const failed = await perform(context, options).finally(() => context.close());
    if (failed > 0)
      for (const node of labLayout(name, NODES, 1).nodes)
        console.log(`--- ${node.name}\n${logTail(node, 40)}`);
    return failed === 0 ? 0 : 1;
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
