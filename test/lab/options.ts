// The command line of scripts/lab: text to a plan, or to a message that says what is wrong with it.
import { resolve } from 'node:path';
import { type LabShape, PLAIN_SHAPE } from './layout';

export type Verb =
  | {
      readonly verb: 'up';
      readonly nodes: number;
      readonly pods: number;
      readonly shape: LabShape;
      readonly once: boolean;
      /** The agents' keys may be shown. */
      readonly keys: boolean;
    }
  | { readonly verb: 'down' }
  | { readonly verb: 'keys' }
  | { readonly verb: 'exec'; readonly target: string; readonly argv: readonly string[] }
  | { readonly verb: 'vxseal'; readonly target: string; readonly argv: readonly string[] }
  | { readonly verb: 'addr'; readonly target: string }
  | { readonly verb: 'agent'; readonly target: string; readonly action: AgentAction };

export type AgentAction = 'stop' | 'start' | 'kill' | 'restart';
export type Command = Verb & { readonly name: string };

export const USAGE = `usage: scripts/lab [up] [--name L] [--nodes 3] [--pods 1] [--family 4|6|dual] [--underlay 4|6|dual|mixed]
                        [--bus directory|kafka] [--tenants 1] [--image DIR] [--keys] [--once]
       scripts/lab exec   [--name L] node2|pod2-1|pod2-1.t2|wire -- CMD…
       scripts/lab vxseal [--name L] node2 ARGS…
       scripts/lab addr   [--name L] pod2-1
       scripts/lab agent  [--name L] node2 stop|start|kill|restart
       scripts/lab keys   [--name L]
       scripts/lab down   [--name L]`;

export class UsageError extends Error {}

const VERBS = ['up', 'down', 'keys', 'exec', 'vxseal', 'addr', 'agent'] as const;
const ACTIONS: readonly string[] = ['stop', 'start', 'kill', 'restart'] satisfies readonly AgentAction[];

function wholeNumber(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > most)
    throw new UsageError(`${flag} ${text}: a number from 1 to ${most}`);
  return value;
}

const FAMILIES = { '4': [4], '6': [6], dual: [4, 6], mixed: [4, 6] } as const;
type FamilyChoice = keyof typeof FAMILIES;

function familyChoice(flag: string, value: string): FamilyChoice {
  const known = Object.keys(FAMILIES).filter((name) => flag === '--underlay' || name !== 'mixed');
  if (!known.includes(value)) throw new UsageError(`${flag} ${value}: one of ${known.join(', ')}`);
  return value as FamilyChoice;
}

/** The underlay follows the overlay unless it is named. */
function shapeOf({ family, underlay, tenants, bus, image }: Flags): LabShape {
  const outer = underlay ?? family ?? '4';
  return {
    ...PLAIN_SHAPE,
    overlay: FAMILIES[family ?? '4'],
    underlay: FAMILIES[outer],
    mixed: outer === 'mixed',
    tenants,
    bus,
    image,
  };
}

function busChoice(value: string): LabShape['bus'] {
  if (value === 'directory' || value === 'kafka') return value;
  throw new UsageError(`--bus ${value}: one of directory, kafka`);
}

/** Longest lab name: with "-pod200-200" a namespace stays short. */
const NAME = /^[a-z][a-z0-9-]{0,19}$/;

interface Flags {
  name: string;
  nodes: number;
  pods: number;
  once: boolean;
  keys: boolean;
  tenants: number;
  bus: LabShape['bus'];
  image: string;
  family?: FamilyChoice;
  underlay?: FamilyChoice;
}

/** Takes flags off the front of `rest` until something else stands there. */
function takeFlags(rest: string[], flags: Flags, withPlan: boolean): void {
  while (rest[0]?.startsWith('--') && rest[0] !== '--') {
    const word = rest.shift() ?? '';
    const [flag = '', inline] = word.split('=', 2);
    if ((flag === '--once' || flag === '--keys') && withPlan) {
      flags[flag === '--once' ? 'once' : 'keys'] = true;
      continue;
    }
    const value = inline ?? rest.shift();
    if (value === undefined) throw new UsageError(`${flag}: a value is missing`);
    if (flag === '--name') {
      if (!NAME.test(value))
        throw new UsageError(`--name ${value}: 1 to 20 of a-z, 0-9 and "-", beginning with a letter`);
      flags.name = value;
    } else if (!withPlan) throw new UsageError(`${flag}: only "up" takes it`);
    else if (flag === '--nodes') flags.nodes = wholeNumber(flag, value, 100);
    else if (flag === '--pods') flags.pods = wholeNumber(flag, value, 100);
    else if (flag === '--tenants') {
      flags.tenants = wholeNumber(flag, value, 8);
    } else if (flag === '--family') flags.family = familyChoice(flag, value);
    else if (flag === '--underlay') flags.underlay = familyChoice(flag, value);
    else if (flag === '--bus') flags.bus = busChoice(value);
    else if (flag === '--image') flags.image = resolve(value);
    else throw new UsageError(`unknown flag ${flag}`);
  }
}

function verbWithTarget(verb: 'exec' | 'vxseal' | 'addr' | 'agent', rest: string[]): Verb {
  const target = rest.shift();
  if (target === undefined) throw new UsageError(`${verb}: which node or pod?`);
  if (verb === 'addr' || verb === 'agent') {
    const action = verb === 'agent' ? rest.shift() : undefined;
    if (rest.length > 0) throw new UsageError(`${verb}: ${rest.join(' ')} is too much`);
    if (verb === 'addr') return { verb, target };
    if (action === undefined || !ACTIONS.includes(action))
      throw new UsageError(`agent: one of ${ACTIONS.join(', ')}`);
    return { verb, target, action: action as AgentAction };
  }
  if (verb === 'exec' && rest[0] === '--') rest.shift();
  if (verb === 'exec' && rest.length === 0) throw new UsageError('exec: which command?');
  return { verb, target, argv: rest };
}

/** Throws UsageError. */
export function parseCommand(argv: readonly string[]): Command {
  const rest = [...argv];
  const first = rest[0];
  const named = VERBS.find((candidate) => candidate === first);
  if (named !== undefined) rest.shift();
  else if (first !== undefined && !first.startsWith('--')) throw new UsageError(`unknown command ${first}`);
  const verb = named ?? 'up';
  const flags: Flags = {
    name: 'vxs',
    nodes: 3,
    pods: 1,
    once: false,
    keys: false,
    tenants: 1,
    bus: 'directory',
    image: '',
  };
  takeFlags(rest, flags, verb === 'up');
  const { name, nodes, pods, once, keys } = flags;
  if (verb === 'exec' || verb === 'vxseal' || verb === 'addr' || verb === 'agent') {
    return { ...verbWithTarget(verb, rest), name };
  }
  if (rest.length > 0) throw new UsageError(`${verb}: ${rest.join(' ')} is too much`);
  if (once && nodes < 2) throw new UsageError('--once: nothing can be proved with fewer than 2 nodes');
  return verb === 'up' ? { verb, name, nodes, pods, shape: shapeOf(flags), once, keys } : { verb, name };
}
