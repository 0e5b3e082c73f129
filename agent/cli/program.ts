// The command line as a whole: which commands there are, and how it ends. Pure wiring; what needs the kernel or the
// daemon comes in from vxseal.ts.
import { Command, CommanderError } from 'commander';
import { type AgentParts, registerAgent } from './agent';
import { registerCni } from './cni';
import type { Cli } from './command';
import { registerCompletion } from './completion';
import { registerConfig } from './config';
import { type DoctorParts, registerDoctor } from './doctor';
import { registerDrops } from './drops';
import { type ExitCode, type Io, writeError } from './io';
import { type LabKeysParts, registerLabKeys } from './labkeys';
import { registerEvents, registerMonitor } from './monitor';
import { registerPeers } from './peers';
import { registerPods } from './pods';
import { registerPolicy } from './policy';
import { registerProbe } from './probe';
import { registerReport } from './report';
import { registerRotate } from './rotate';
import { registerSas } from './sas';
import { registerStatus } from './status';

export interface ProgramParts {
  readonly version: string;
  readonly agent: AgentParts;
  readonly doctor: DoctorParts;
  readonly labKeys: LabKeysParts;
  /** Further commands, e.g. `ca`. */
  readonly register: readonly ((program: Command, io: Io) => void)[];
}

/** @param args without the names of interpreter and script */
export async function runCli(args: readonly string[], io: Io, parts: ProgramParts): Promise<ExitCode> {
  let code: ExitCode = 0;
  const cli: Cli = {
    io,
    finish: (finished) => {
      code = finished > code ? finished : code;
    },
  };
  const program = buildProgram(cli, parts);
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    // Asked-for help and version end with 0; everything else commander refuses is wrong usage.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    writeError(io, error, args.includes('--json'));
    return 1;
  }
}

function buildProgram(cli: Cli, parts: ProgramParts): Command {
  const { io } = cli;
  // Settings first: commands made below take them over.
  const program = new Command('vxseal')
    .description('Encrypted VXLAN overlay for container hosts')
    .version(parts.version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.out(text.trimEnd()),
      writeErr: (text) => io.err(text.trimEnd()),
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
    })
    .showHelpAfterError('(vxseal --help lists the commands; add --help to one for its options)')
    .addHelpText('after', '\nExit code: 0 well, 1 not well, 2 wrong usage.');
  registerStatus(program, cli);
  registerPeers(program, cli);
  registerProbe(program, cli);
  registerPods(program, cli);
  registerSas(program, cli);
  registerDrops(program, cli);
  registerPolicy(program, cli);
  registerMonitor(program, cli);
  registerEvents(program, cli);
  registerRotate(program, cli);
  registerCni(program, cli);
  registerDoctor(program, cli, parts.doctor);
  registerReport(program, cli, parts.doctor, parts.version);
  registerConfig(program, cli);
  registerAgent(program, cli, parts.agent);
  registerLabKeys(program, cli, parts.labKeys);
  for (const register of parts.register) register(program, io);
  registerCompletion(program, cli);
  return program;
}
