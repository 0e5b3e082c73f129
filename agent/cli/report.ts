// `vxseal report`: everything that helps somebody else to see what is wrong, in one JSON file without secrets. Says
// on the way what it does; what cannot be had is told in the file and stops nothing.
import { writeFileSync } from 'node:fs';
import { arch, release, type as systemType } from 'node:os';
import type { Command } from 'commander';
import { KEY_PATHS } from '../config/keys';
import { readConfig } from '../config/load';
import { plainConfig } from '../config/reference';
import { VxsealError } from '../errors';
import { action, type Cli } from './command';
import { type DoctorParts, examine } from './doctor';
import { writeJson } from './io';
import { clientOf, configSources, jsonAsked, textOption, withHiddenConfig, withJson } from './options';

/** Paths of the API that go into it. Keys appear there as fingerprints only. */
const PARTS = ['/readyz', '/v1/status'] as const;

export function registerReport(program: Command, cli: Cli, parts: DoctorParts, version: string): void {
  const command = program
    .command('report')
    .description(
      'collect status, doctor, configuration and metrics in one file for support; holds no secrets',
    )
    .option('--out <file>', 'file to write ("-": standard output)', 'vxseal-report.json')
    .option('--socket <path>', 'socket of the agent (default: agent.sock in runDir)');
  withHiddenConfig(withJson(command));
  action(cli, command, async (values) => {
    const { io } = cli;
    const out = textOption(values, 'out') ?? '-';
    const sources = configSources(values, io);
    const say = (text: string): void => io.err(`${text}…`);
    say('asking the agent');
    const answers: Record<string, unknown> = {};
    for (const path of PARTS) answers[path] = await attempt(() => clientOf(values, io).get(path));
    const metrics = await attempt(() => clientOf(values, io).text('/metrics'));
    say('examining the machine');
    const socket = textOption(values, 'socket');
    const doctor = await attempt(() => examine(sources, parts, io.nowMs(), socket));
    const { config, issues } = readConfig(sources);
    const report = {
      version,
      madeAt: new Date(io.nowMs()).toISOString(),
      system: { type: systemType(), release: release(), architecture: arch(), node: process.version },
      // Values are names, sizes and paths: secrets stand in files of their own.
      configuration: config === undefined ? { issues } : plainConfig(config),
      keys: KEY_PATHS.length,
      doctor,
      agent: answers,
      metrics,
    };
    const text = `${JSON.stringify(report, null, 2)}\n`;
    if (out === '-') io.out(text.trimEnd());
    else {
      writeReport(out, text);
      if (jsonAsked(values)) writeJson(io, { file: out, bytes: Buffer.byteLength(text) });
      else io.out(`${out}: ${Math.ceil(text.length / 1024)} KiB; look through it before you give it away`);
    }
    return 0;
  });
}

async function attempt(get: () => Promise<unknown>): Promise<unknown> {
  try {
    return await get();
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function writeReport(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VxsealError('request', `report: ${reason}`, 'Choose another file: --out FILE.', { cause });
  }
}
