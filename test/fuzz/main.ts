// The command behind scripts/fuzz: fires at every target for its share of the time and prints what became of the
// inputs. Exit code 0 when nothing broke, 1 at the first input that did, 2 for a wrong command line.
import { fireAt, type Limit, type Tally } from './target';
import { ALL_TARGETS } from './targets';

const USAGE = `usage: scripts/fuzz [--seconds N] [--inputs N] [--seed N] [${Object.keys(ALL_TARGETS).join('|')}]...`;
const DEFAULT_SECONDS = 60;

interface Options {
  readonly names: readonly string[];
  readonly seed: number;
  readonly limit: Limit;
}

function parseArguments(argv: readonly string[]): Options | undefined {
  const numbers = new Map<string, number>();
  const names: string[] = [];
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (['--seconds', '--inputs', '--seed'].includes(word)) {
      const value = Number(rest.shift());
      if (!Number.isInteger(value) || value < 0) return undefined;
      numbers.set(word, value);
    } else if (word in ALL_TARGETS) names.push(word);
    else return undefined;
  }
  const chosen = names.length > 0 ? names : Object.keys(ALL_TARGETS);
  const inputs = numbers.get('--inputs');
  const ms = ((numbers.get('--seconds') ?? DEFAULT_SECONDS) * 1000) / chosen.length;
  const limit = inputs === undefined ? { ms } : { inputs };
  return { names: chosen, seed: numbers.get('--seed') ?? Date.now() % 2 ** 31, limit };
}

function show({ target, inputs, verdicts }: Tally): void {
  console.log(`${target.padEnd(15)} ${String(inputs).padStart(9)} inputs`);
  const ordered = [...verdicts].sort((a, b) => b[1] - a[1]);
  console.log(`                ${ordered.map(([verdict, count]) => `${verdict}: ${count}`).join(', ')}`);
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseArguments(argv);
  if (options === undefined) {
    console.error(USAGE);
    return 2;
  }
  console.log(`seed ${options.seed}`);
  let total = 0;
  for (const name of options.names) {
    const target = await ALL_TARGETS[name]?.();
    if (target === undefined) continue;
    try {
      const tally = await fireAt(target, options.seed, options.limit);
      show(tally);
      total += tally.inputs;
    } finally {
      await target.close?.();
    }
  }
  console.log(`${total} inputs, nothing broke`);
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(`fuzz: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
