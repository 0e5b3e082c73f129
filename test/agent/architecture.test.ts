// The dependency rule of the house, and what keeps files readable: which room may import which, who may touch the
// kernel, no barrels, no default exports, no cycles, nothing too long. Each rule is shown a violation of its own.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';

/** Text by path within agent/. */
type Sources = ReadonlyMap<string, string>;

interface Rule {
  /** Rooms, or single files, that may be imported beside the own room. */
  readonly imports: readonly string[];
  /** Packages and node: modules; undefined: any that no other room owns. */
  readonly packages?: readonly string[];
}

const BASIS = ['core', 'ports.ts', 'errors.ts', 'config.ts', 'files.ts'];

const RULES: Readonly<Record<string, Rule>> = {
  core: { imports: [], packages: ['tweetnacl'] },
  abi: { imports: ['core'], packages: [] },
  kernel: { imports: [...BASIS, 'abi'] },
  identity: { imports: BASIS },
  sources: { imports: BASIS },
  control: { imports: BASIS },
  http: { imports: [...BASIS, 'control/status.ts'] },
  cli: { imports: [...BASIS, 'control/status.ts', 'config', 'log.ts', 'installation.ts'] },
  config: { imports: ['core', 'errors.ts', 'config.ts', 'installation.ts'] },
  'ports.ts': { imports: ['core'], packages: [] },
  'errors.ts': { imports: [], packages: [] },
  'config.ts': { imports: ['core'], packages: [] },
  'log.ts': { imports: ['ports.ts'] },
  'clock.ts': { imports: ['ports.ts'] },
  'files.ts': { imports: [] },
  'installation.ts': { imports: [] },
  'main.ts': {
    imports: [
      ...BASIS,
      'kernel',
      'identity',
      'sources',
      'control',
      'http',
      'config',
      'clock.ts',
      'log.ts',
      'installation.ts',
    ],
  },
};

/** Single files that may do more, and why. */
const EXCEPTIONS: Readonly<Record<string, Rule>> = {
  // The one core file with node:crypto's pure functions.
  'core/crypto.ts': { imports: [], packages: ['node:crypto', 'tweetnacl'] },
  // Certificates are made by the command itself, without an agent.
  'cli/ca.ts': { imports: [...(RULES.cli?.imports ?? []), 'identity/commands.ts'] },
  // The runtime's configuration is changed by the command itself, without an agent.
  'cli/policy.ts': { imports: [...(RULES.cli?.imports ?? []), 'sources/policyfolder.ts'] },
  // Policy is signed by the command itself, by whoever holds an author's certificate.
  'cli/policysign.ts': {
    imports: [
      ...(RULES.cli?.imports ?? []),
      'clock.ts',
      'identity/author.ts',
      'sources/bus.ts',
      'sources/manifests.ts',
      'sources/policypublisher.ts',
    ],
  },
  'cli/cni.ts': { imports: [...(RULES.cli?.imports ?? []), 'sources/conflist.ts'] },
  // Composition root of the command line.
  'cli/vxseal.ts': { imports: [...(RULES.cli?.imports ?? []), 'main.ts', 'kernel', 'identity'] },
};

/** Packages that one room owns. */
const OWNERS: Readonly<Record<string, readonly string[]>> = {
  netlink: ['kernel'],
  fastify: ['http'],
  '@fastify/swagger': ['http'],
  'prom-client': ['http'],
  commander: ['cli'],
  yaml: ['config', 'sources'],
  '@bufbuild/protobuf/wire': ['sources'],
  pino: ['log.ts'],
  jose: ['identity'],
  '@peculiar/x509': ['identity'],
  tweetnacl: ['core', 'control'],
};

const MAX_FILE_LINES = 400;
const MAX_FUNCTION_LINES = 80;

function readSources(folder: string): Sources {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  );
  return new Map(paths.sort().map((path) => [path, readFileSync(join(folder, path), 'utf8')]));
}

/** One line a violation; empty when the house is in order. */
function violations(sources: Sources): string[] {
  return [...[...sources].flatMap(([path, text]) => fileViolations(path, text, sources)), ...cycles(sources)];
}

function fileViolations(path: string, text: string, sources: Sources): string[] {
  const code = withoutComments(text);
  const found = importsOf(code).flatMap((imported) => importViolation(path, imported, sources));
  const say = (broken: boolean, message: string): void => {
    if (broken) found.push(`${path}: ${message}`);
  };
  const lines = text.split('\n');
  const first = lines.find((line) => !line.startsWith('#!')) ?? '';
  say(!/^(\/\/|\/\*)/.test(first), 'opens without a comment');
  say(
    lines.length - 1 > MAX_FILE_LINES && !path.endsWith('.gen.ts'),
    `has more than ${MAX_FILE_LINES} lines`,
  );
  say(/^export default\b/m.test(code), 'has a default export');
  say(basename(path) === 'index.ts' || /^export (type )?(\*|\{[^}]*\}) from/m.test(code), 'is a barrel');
  say(/\brequire\(/.test(code) && path !== 'kernel/native.ts', 'calls require');
  for (const name of longFunctions(lines)) say(true, `function over ${MAX_FUNCTION_LINES} lines: ${name}`);
  return found;
}

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\/.*$/gm, '').replace(/\/\*[\s\S]*?\*\//g, '');
}

function importsOf(code: string): string[] {
  const patterns = [
    /^(?:import|export)\s[^;']*?\sfrom\s+'([^']+)'/gm,
    /^import\s+'([^']+)'/gm,
    /\bimport\(\s*'([^']+)'/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ''));
}

function importViolation(path: string, imported: string, sources: Sources): string[] {
  const room = roomOf(path);
  const rule = EXCEPTIONS[path] ?? RULES[room];
  if (rule === undefined) return [`${path}: there is no rule for ${room}`];
  const bad = [`${path}: may not import ${imported}`];
  if (!imported.startsWith('.')) {
    const allowed = rule.packages?.includes(imported) ?? OWNERS[imported]?.includes(room) ?? true;
    return allowed ? [] : bad;
  }
  const target = resolveImport(path, imported);
  if (!sources.has(target)) return [`${path}: imports ${imported}, which is not in agent/`];
  const targetRoom = roomOf(target);
  return targetRoom === room || rule.imports.includes(targetRoom) || rule.imports.includes(target) ? [] : bad;
}

function roomOf(path: string): string {
  return path.split('/')[0] ?? '';
}

function resolveImport(path: string, imported: string): string {
  return `${posix.join(dirname(path), imported).replace(/\.js$/, '')}.ts`;
}

/** Every file that can reach itself, once a cycle. */
function cycles(sources: Sources): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    const start = way.indexOf(path);
    if (start >= 0) found.push(`cycle: ${[...way.slice(start), path].join(' -> ')}`);
    if (start >= 0 || done.has(path)) return;
    const targets = importsOf(withoutComments(sources.get(path) ?? ''))
      .filter((imported) => imported.startsWith('.'))
      .map((imported) => resolveImport(path, imported));
    for (const target of targets) visit(target, [...way, path]);
    done.add(path);
  };
  for (const path of sources.keys()) visit(path, []);
  return found;
}

/** The formatter sets where a function begins and ends: its closing brace stands under its first word. */
function longFunctions(lines: readonly string[]): string[] {
  const opening =
    /^( {0,2})(?:export |async |private |protected |public |static |override |get |set )*(?:function\s+)?([A-Za-z_]\w*)(?:<[^(]*>)?\(/;
  return lines.flatMap((line, start) => {
    const match = opening.exec(line);
    if (
      match === null ||
      /^ *(if|for|while|switch|return|expect|describe|test)\b/.test(line) ||
      line.endsWith(';')
    ) {
      return [];
    }
    const indent = match[1] ?? '';
    const isEnd = (later: string): boolean =>
      later.startsWith(`${indent}}`) || (later.startsWith(`${indent})`) && later.endsWith(';'));
    const end = lines.findIndex((later, index) => index > start && isEnd(later));
    return end - start + 1 > MAX_FUNCTION_LINES ? [match[2] ?? ''] : [];
  });
}

test('the house is in order', () => {
  const sources = readSources(join(__dirname, '../../agent'));
  expect(sources.size).toBeGreaterThan(50);
  expect(violations(sources)).toEqual([]);
});

test('exceptions are for files that exist', () => {
  const sources = readSources(join(__dirname, '../../agent'));
  expect(Object.keys(EXCEPTIONS).filter((path) => !sources.has(path))).toEqual([]);
});

describe('each rule sees its violation', () => {
  const house: readonly (readonly [string, string])[] = [
    ['core/a.ts', '// a\nexport const a = 1;\n'],
    ['core/crypto.ts', "// c\nimport { createHash } from 'node:crypto';\n"],
    ['errors.ts', '// e\n'],
    ['kernel/k.ts', "// k\nimport { rt } from 'netlink';\nimport { a } from '../core/a';\n"],
    ['control/status.ts', '// s\n'],
    ['control/pods.ts', "// p\nimport {\n  a,\n} from '../core/a';\n"],
    ['http/h.ts', "// h\nimport fastify from 'fastify';\nimport type { S } from '../control/status';\n"],
    ['cli/vxseal.ts', "#!/usr/bin/env node\n// v\nconst k = () => import('../kernel/k.js');\n"],
  ];
  const withFile = (path: string, text: string): string[] => violations(new Map([...house, [path, text]]));

  test('and a good house none', () => {
    expect(violations(new Map(house))).toEqual([]);
  });

  test.each([
    ['core/b.ts', "import { readFileSync } from 'node:fs';", 'may not import node:fs'],
    ['core/b.ts', "import { createHash } from 'node:crypto';", 'may not import node:crypto'],
    ['core/b.ts', "import '../errors';", 'may not import ../errors'],
    ['abi/b.ts', "import type { E } from '../errors';", 'may not import ../errors'],
    ['kernel/b.ts', "import { p } from '../control/pods';", 'may not import ../control/pods'],
    ['http/b.ts', "import { p } from '../control/pods';", 'may not import ../control/pods'],
    ['http/b.ts', "import {\n  k,\n} from '../kernel/k';", 'may not import ../kernel/k'],
    ['cli/b.ts', "const k = await import('../kernel/k.js');", 'may not import ../kernel/k.js'],
    ['control/b.ts', "import { k } from '../kernel/k';", 'may not import ../kernel/k'],
    ['control/b.ts', "import { rt } from 'netlink';", 'may not import netlink'],
    ['control/b.ts', "const native = require('../native.node');", 'calls require'],
    ['control/b.ts', "import fastify from 'fastify';", 'may not import fastify'],
    ['sources/b.ts', "import { x } from './none';", 'imports ./none, which is not in agent/'],
    ['sources/b.ts', 'export default 1;', 'has a default export'],
    ['sources/index.ts', '', 'is a barrel'],
    ['sources/b.ts', "export * from '../core/a';", 'is a barrel'],
    ['sources/b.ts', "export { a } from '../core/a';", 'is a barrel'],
    ['attic/b.ts', "import { a } from '../core/a';", 'there is no rule for attic'],
    ['core/b.ts', '\n'.repeat(MAX_FILE_LINES), `has more than ${MAX_FILE_LINES} lines`],
    ['core/b.ts', `export function f(): void {${'\n  a;'.repeat(79)}\n}`, 'function over 80 lines: f'],
    [
      'core/b.ts',
      `class C {\n  private async g(): void {${'\n    a;'.repeat(79)}\n  }\n}`,
      'function over 80 lines: g',
    ],
  ])('%s %#', (path, text, message) => {
    expect(withFile(path, `// b\n${text}\n`)).toEqual([`${path}: ${message}`]);
  });

  test('no opening comment', () => {
    expect(withFile('core/b.ts', 'export const b = 1;\n')).toEqual(['core/b.ts: opens without a comment']);
  });

  test('what is within the limits', () => {
    const fits = `// b\nexport function f(): void {${'\n  a;'.repeat(78)}\n}\n`;
    expect(withFile('core/b.ts', fits)).toEqual([]);
    expect(withFile('core/b.ts', `// b${'\n'.repeat(MAX_FILE_LINES)}`)).toEqual([]);
    const signature = `// b\nexport interface I {\n  f(\n    a: string,\n  ): void;${'\n  a: string;'.repeat(90)}\n}\n`;
    expect(withFile('core/b.ts', signature)).toEqual([]);
    expect(withFile('core/b.ts', "// import { x } from 'node:fs';\n/* require('x') */\n")).toEqual([]);
  });

  test('a cycle', () => {
    const cyclic = new Map([
      ...house,
      ['core/x.ts', "// x\nimport type { Y } from './y';\n"] as const,
      ['core/y.ts', "// y\nimport { x } from './x';\n"] as const,
    ]);
    expect(violations(cyclic)).toEqual(['cycle: core/x.ts -> core/y.ts -> core/x.ts']);
  });
});
