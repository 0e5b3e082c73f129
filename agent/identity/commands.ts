// `vxseal ca`: checks what a person typed, calls the CA or the leaf, and says what came of it. Owns no X.509.
import { join } from 'node:path';
import { parseAddress, parsePrefix } from '../core/bytes';
import type { NodeName, Vni } from '../core/ids';
import { parseNodeName } from '../core/names';
import { accept, type Result, refuse } from '../core/result';
import { VxsealError } from '../errors';
import { exists } from '../files';
import { initCa, openCa } from './ca';
import type { Certificate } from './certificate';
import type { Role } from './chain';
import { describeCertificate, describeText } from './describe';
import { issueLeaf, leafPaths, renewLeaf, roleIn } from './leaf';
import { readCertificates } from './local';

const CA_DAYS = 3650;
const INTERMEDIATE_DAYS = 365;
const NODE_DAYS = 30;

export type CaArguments =
  | {
      readonly action: 'init';
      readonly dir: string;
      readonly trustDomain: string;
      readonly prefixes: readonly string[];
      readonly vnis?: readonly string[];
      readonly days: number | undefined;
      /** Folder of the CA that signs this one; undefined: a root. */
      readonly parent: string | undefined;
    }
  | {
      readonly action: 'issue';
      readonly dir: string;
      /** Exactly one of the two. */
      readonly node?: string | undefined;
      readonly policyAuthor?: string | undefined;
      readonly vteps: readonly string[];
      readonly prefixes: readonly string[];
      readonly vnis?: readonly string[];
      readonly days: number | undefined;
      readonly out: string;
    }
  | {
      readonly action: 'renew';
      readonly dir: string;
      readonly out: string;
      readonly days: number | undefined;
      readonly onlyIfDue: boolean;
    }
  /** `path`: a CA's folder, a node's folder, or a PEM file. */
  | { readonly action: 'show'; readonly path: string };

export interface CaAnswer {
  readonly text: string;
  readonly json: object;
}

/** Throws VxsealError: 'request' for what was asked, 'identity' for the files that are there. */
export async function runCa(args: CaArguments, nowMs = Date.now()): Promise<CaAnswer> {
  switch (args.action) {
    case 'init':
      return await runInit(args, nowMs);
    case 'issue':
      return await runIssue(args, nowMs);
    case 'renew':
      return await runRenew(args, nowMs);
    case 'show':
      return await runShow(args.path);
  }
}

type Arguments<A extends CaArguments['action']> = Extract<CaArguments, { action: A }>;

async function runInit(args: Arguments<'init'>, nowMs: number): Promise<CaAnswer> {
  const days = args.days ?? (args.parent === undefined ? CA_DAYS : INTERMEDIATE_DAYS);
  const prefixes = parseAll('--prefix', args.prefixes, parsePrefix);
  const options = {
    trustDomain: args.trustDomain,
    days,
    prefixes,
    vnis: parseAll('--vni', args.vnis ?? [], parseVni),
    parent: args.parent,
  };
  const certificate = await initCa(args.dir, options, nowMs);
  return answer(`made a CA in ${args.dir}; keep ${join(args.dir, 'ca.key')} safe`, [certificate]);
}

async function runIssue(args: Arguments<'issue'>, nowMs: number): Promise<CaAnswer> {
  const subject = subjectOf(args);
  const vteps = parseAll('--vtep', args.vteps, parseAddress);
  const prefixes = parseAll('--prefix', args.prefixes, parsePrefix);
  if (subject.role === 'node' && vteps.length === 0)
    throw new VxsealError(
      'request',
      'no VTEP address given',
      '--vtep ADDRESS: where peers send to this node',
    );
  if (subject.role === 'policy' && vteps.length + prefixes.length > 0)
    throw new VxsealError(
      'request',
      'a policy author has no addresses',
      'leave --vtep and --prefix out; --vni says whose policy it may write',
    );
  const issuer = await openCa(args.dir, nowMs);
  const vnis = parseAll('--vni', args.vnis ?? [], parseVni);
  const request = { ...subject, vteps, prefixes, vnis, days: args.days ?? NODE_DAYS };
  const chain = await issueLeaf(args.out, issuer, request);
  return answer(`issued ${subject.node} into ${args.out}`, chain.slice(0, 1));
}

function subjectOf({ node, policyAuthor }: Arguments<'issue'>): {
  readonly role: Role;
  readonly node: NodeName;
} {
  const role: Role = policyAuthor === undefined ? 'node' : 'policy';
  const [flag, text] = role === 'node' ? ['--node', node] : ['--policy-author', policyAuthor];
  if (text === undefined || (node !== undefined && policyAuthor !== undefined))
    throw new VxsealError(
      'request',
      'for whom is not said, or said twice',
      'give either --node NAME or --policy-author NAME',
    );
  const [name] = parseAll(flag ?? '', [text], parseNodeName);
  return { role, node: name as NodeName };
}

async function runRenew(args: Arguments<'renew'>, nowMs: number): Promise<CaAnswer> {
  const issuer = await openCa(args.dir, nowMs);
  const days = args.days ?? NODE_DAYS;
  const { renewed, chain } = await renewLeaf(args.out, issuer, days, nowMs, args.onlyIfDue);
  return answer(renewed ? `renewed in ${args.out}` : 'not due yet', chain.slice(0, 1), { renewed });
}

async function runShow(path: string): Promise<CaAnswer> {
  const certificates = await readCertificates(await certificateFile(path), 'certificate');
  return answer(path, certificates);
}

/** A folder stands for the certificate in it. */
async function certificateFile(path: string): Promise<string> {
  for (const file of [join(path, 'ca.crt'), leafPaths(path, await roleIn(path)).chain]) {
    if (await exists(file)) return file;
  }
  return path;
}

function answer(headline: string, certificates: readonly Certificate[], more: object = {}): CaAnswer {
  const descriptions = certificates.map(describeCertificate);
  return {
    text: [headline, ...descriptions.map(describeText)].join('\n'),
    json: { ...more, certificates: descriptions },
  };
}

function parseVni(text: string): Result<Vni, 'invalid'> {
  const vni = /^\d{1,8}$/.test(text) ? Number(text) : 0;
  return vni >= 1 && vni <= 0xffffff
    ? accept(vni as Vni)
    : refuse('invalid', `${JSON.stringify(text)} is not a VNI: 1 to 16777215`);
}

function parseAll<T>(
  flag: string,
  texts: readonly string[],
  parse: (text: string) => Result<T, string>,
): T[] {
  return texts.map((text) => {
    const parsed = parse(text);
    if (parsed.ok) return parsed.value;
    throw new VxsealError('request', `${flag}: ${parsed.detail}`, 'vxseal ca --help');
  });
}
