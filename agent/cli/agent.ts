// `vxseal agent`: runs the daemon until it is told to stop, or removes what it left in the kernel.
import type { Command } from 'commander';
import type { Config } from '../config';
import { loadConfig } from '../config/load';
import { createLog } from '../log';
import type { Log } from '../ports';
import { action, type Cli } from './command';
import { forgetFailure, keepFailure } from './lastfailure';
import { configSources, withConfig } from './options';

/** The daemon as the composition root gives it. */
export interface AgentParts {
  /** Resolves once the agent was stopped by a signal. */
  run(config: Config, log: Log): Promise<void>;
  /** Removes exactly our objects from the kernel. */
  cleanup(config: Config, log: Log): Promise<void>;
}

export function registerAgent(program: Command, cli: Cli, parts: AgentParts): void {
  const command = program
    .command('agent')
    .description('run the node agent; traffic goes on when it stops')
    .option('--cleanup', 'remove programs, maps, device and routes of vxseal, then end');
  withConfig(command);
  action(cli, command, async (values) => {
    const config = loadConfig(configSources(values, cli.io));
    const log = createLog({ level: config.log.level, stream: 'stdout' });
    if (values.cleanup === true) {
      await parts.cleanup(config, log);
      return 0;
    }
    forgetFailure(config.runDir);
    try {
      await parts.run(config, log);
    } catch (error) {
      keepFailure(config.runDir, error, cli.io.nowMs());
      throw error;
    }
    return 0;
  });
}
