// `vxseal doctor`: whether this machine can do the work, and what to change if not. Changes nothing itself.
import type { Command } from 'commander';
import type { Config } from '../config';
import { ConfigError } from '../config/issue';
import { type ConfigSources, readConfig, readKey, socketPathIn } from '../config/load';
import type { Readiness, Status } from '../control/status';
import type { KernelProbe } from '../ports';
import * as checks from './checks';
import { agentClient } from './client';
import { action, type Cli } from './command';
import { writeJson } from './io';
import { configSources, jsonAsked, textOption, withHiddenConfig, withJson } from './options';
import { cell, left, paint, type Tone, table } from './table';

/** What doctor needs of other rooms and of the machine. */
export interface DoctorParts {
  probeKernel(options: {
    readonly bpfDir: string;
    readonly pinDir: string;
    readonly engine: Config['overlay']['engine'];
  }): Promise<KernelProbe>;
  /** Errors: VxsealError 'identity' with the file and the remedy. */
  readIdentity(config: Config): Promise<checks.IdentityFacts>;
  readDevices(): Promise<checks.DeviceFacts>;
  /** Undefined when there is no such file, or it may not be read. */
  readText(path: string): string | undefined;
  /** Errors: VxsealError 'bus'. The newest record's time, 0 for none. */
  readBus(path: string): { readonly records: number; readonly newestMs: number };
}

const TONES: Readonly<Record<checks.Level, Tone>> = { ok: 'good', warn: 'warn', fail: 'bad' };

export function registerDoctor(program: Command, cli: Cli, parts: DoctorParts): void {
  const command = program
    .command('doctor')
    .description('whether this machine can do the work; exit code 1 if something fails');
  command.option('--socket <path>', 'socket of the agent (default: agent.sock in runDir)');
  withHiddenConfig(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      const found = await examine(configSources(values, io), parts, io.nowMs(), textOption(values, 'socket'));
      const failed = found.filter(({ level }) => level === 'fail').length;
      if (jsonAsked(values)) writeJson(io, { ok: failed === 0, checks: found });
      else io.out(render(found, io.colour).join('\n'));
      return failed === 0 ? 0 : 1;
    },
    'examining kernel and machine',
  );
}

/** Every check, in the order of what stands on what. None throws. */
export async function examine(
  sources: ConfigSources,
  parts: DoctorParts,
  nowMs: number,
  socketPath?: string,
): Promise<checks.Check[]> {
  const { config, issues } = readConfig(sources);
  const configuration = issues.map(({ field, source, reason, remedy }) =>
    checks.fail(`configuration ${field || source}`, `${reason} (${source})`, remedy),
  );
  const kernel = await attempt('kernel', async () => {
    const folders = { bpfDir: readKey(sources, 'bpfDir'), pinDir: readKey(sources, 'pinDir') };
    const probe = await parts.probeKernel({ ...folders, engine: readKey(sources, 'overlay.engine') });
    return [checks.ok('kernel', probe.release), ...checks.kernelChecks(probe)];
  });
  const namespaces = checks.namespaceCheck(parts.readText('/proc/self/status') ?? '');
  if (config === undefined) return [...configuration, ...kernel, namespaces];
  return [
    checks.ok('configuration', 'good'),
    ...kernel,
    namespaces,
    ...(await identityAndUnderlay(config, parts, nowMs)),
    ...busAndClock(config, parts, nowMs),
    ...(await agentChecks(socketPath ?? socketPathIn(config.runDir))),
  ];
}

async function attempt(name: string, run: () => Promise<checks.Check[]>): Promise<checks.Check[]> {
  try {
    return await run();
  } catch (cause) {
    return cause instanceof ConfigError ? [] : [checks.broken(name, cause)];
  }
}

async function identityAndUnderlay(
  config: Config,
  parts: DoctorParts,
  nowMs: number,
): Promise<checks.Check[]> {
  let facts: checks.IdentityFacts | undefined;
  const identity = await attempt('certificate', async () => {
    facts = await parts.readIdentity(config);
    return [checks.identityCheck(config, facts, nowMs)];
  });
  const underlay = await attempt('underlay', async () => {
    const devices = await parts.readDevices();
    const granted = facts?.grant.vteps ?? [];
    // Without a certificate only configured addresses can be looked for.
    if (facts === undefined && config.underlay.vteps.length === 0) return [];
    const names = checks.underlayLinks(config, checks.vtepsOf(config, granted, devices), devices);
    const present = names.flatMap((link) => ('missing' in link ? [] : [link.name]));
    return [
      ...checks.underlayChecks(config, granted, devices),
      ...checks.sysctlChecks(config, present, parts.readText),
      ...checks.tuningChecks(config, present, parts.readText),
    ];
  });
  return [...identity, ...underlay];
}

function busAndClock(config: Config, parts: DoctorParts, nowMs: number): checks.Check[] {
  const name = `bus ${config.bus.path}`;
  try {
    const { records, newestMs } = parts.readBus(config.bus.path);
    return [
      checks.ok(name, `can be read and written, ${records} records`),
      checks.clockCheck(nowMs, newestMs),
    ];
  } catch (cause) {
    return [checks.broken(name, cause), checks.clockCheck(nowMs, 0)];
  }
}

async function agentChecks(socketPath: string): Promise<checks.Check[]> {
  const client = agentClient(socketPath);
  try {
    const readiness = (await client.get('/readyz')) as Readiness;
    const { informer } = (await client.get('/v1/status')) as Status;
    const labels = informer.socket === '' ? [] : [checks.informerCheck(informer)];
    if (readiness.ready) return [checks.ok('agent', 'runs and is ready'), ...labels];
    const blockers = readiness.blockers.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
    return [checks.warn('agent', `runs, not ready: ${blockers}`, 'See vxseal status.'), ...labels];
  } catch (cause) {
    // The doctor is also asked before the first start.
    const { detail, remedy } = checks.broken('agent', cause);
    return [checks.warn('agent', detail, remedy)];
  }
}

function render(found: readonly checks.Check[], colour: boolean): string[] {
  const rows = found.map(({ level, name, detail }) => [cell(level, TONES[level]), cell(name), cell(detail)]);
  const columns = [left('STATE'), left('CHECK'), left('FOUND')];
  // What was found is the point: it is not cut.
  const [titles = '', ...lines] = table(columns, rows, colour, Number.POSITIVE_INFINITY);
  const body = found.flatMap(({ level, remedy }, index) => {
    const line = lines[index] ?? '';
    return level === 'ok' || remedy === ''
      ? [line]
      : [line, `      -> ${paint(remedy, TONES[level], colour)}`];
  });
  const total = (level: checks.Level): number => found.filter((check) => check.level === level).length;
  return [titles, ...body, '', `${total('ok')} ok, ${total('warn')} to mind, ${total('fail')} failed`];
}
