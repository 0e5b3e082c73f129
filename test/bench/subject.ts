// The agent that is measured: the real one in a process of its own, of this build or another, on folders of its own.
// Starts it, asks its gauge, ends it and removes what it left.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { agentClient } from '../../agent/cli/client';
import { run, until } from '../lab/command';
import { ESP_PORT, TRUST_DOMAIN, VNI, VXLAN_PORT } from '../lab/layout';
import { OWN, prefixOf } from './cluster';
import type { Reading } from './gauge';

const ANSWER_MS = 120_000;
/** Of which prefixOf() gives. */
const CLUSTER_RANGE = '10.0.0.0/8';

export interface SubjectFolders {
  /** With `own`; what the subject makes goes below it. */
  readonly dir: string;
  /** Of the build that is measured. */
  readonly installation: string;
  readonly pinDir: string;
}

export class Subject {
  private readonly gauge: string;
  private readonly config: string;
  private readonly log: string;
  private child: ChildProcess | undefined;

  constructor(private readonly folders: SubjectFolders) {
    const { dir } = folders;
    this.gauge = join(dir, 'gauge.json');
    this.config = join(dir, 'config.yaml');
    this.log = join(dir, 'agent.log');
  }

  private get cli(): string {
    return join(this.folders.installation, 'build/agent/cli/vxseal.js');
  }

  private get socket(): string {
    return join(this.folders.dir, 'run/agent.sock');
  }

  configure(brokerPort: number, topicPrefix: string): void {
    const { dir, pinDir } = this.folders;
    for (const name of ['run', 'state']) rmSync(join(dir, name), { recursive: true, force: true });
    mkdirSync(pinDir, { recursive: true });
    const own = join(dir, 'own');
    const config = {
      nodeName: OWN,
      runDir: join(dir, 'run'),
      stateDir: join(dir, 'state'),
      pinDir,
      identity: {
        trustDomain: TRUST_DOMAIN,
        key: join(own, 'node.key'),
        chain: join(own, 'node.crt'),
        roots: join(own, 'roots.crt'),
      },
      bus: { type: 'kafka' },
      kafka: { brokers: [`127.0.0.1:${brokerPort}`], topicPrefix },
      underlay: { devices: ['eth0'], espPort: ESP_PORT, tune: 'off' },
      overlay: {
        vni: VNI,
        port: VXLAN_PORT,
        prefixes: [{ vni: VNI, prefixes: [prefixOf(0)] }],
        protectedPrefixes: [{ vni: VNI, prefixes: [CLUSTER_RANGE] }],
      },
    };
    writeFileSync(this.config, stringify(config), { mode: 0o600 });
  }

  start(): void {
    const argv = ['-r', join(__dirname, 'gauge.js'), this.cli, 'agent', '--config', this.config];
    const log = openSync(this.log, 'w', 0o600);
    const env = { ...process.env, BENCH_GAUGE: this.gauge };
    this.child = spawn(process.execPath, argv, { stdio: ['ignore', log, log], env });
    closeSync(log);
  }

  /** Throws with the end of its log when it has ended. */
  check(): void {
    if (this.child?.exitCode === null && this.child.signalCode === null) return;
    throw new Error(`the agent has ended:\n${readFileSync(this.log, 'utf8').slice(-3000)}`);
  }

  /** Has it read the bus to its end? */
  async inSync(): Promise<boolean> {
    try {
      const { blockers } = (await agentClient(this.socket).get('/readyz')) as {
        blockers: { name: string }[];
      };
      return !blockers.some(({ name }) => name === 'bus-sync');
    } catch {
      return false; // its socket is not there yet
    }
  }

  /** How many pods of other nodes it knows. */
  async remotePods(): Promise<number> {
    const { pods } = (await agentClient(this.socket).get('/v1/pods/remote')) as {
      pods: readonly unknown[];
    };
    return pods.length;
  }

  /** Since the last call. */
  async read(): Promise<Reading> {
    rmSync(this.gauge, { force: true });
    this.child?.kill('SIGUSR2');
    return until('the gauge answers', ANSWER_MS, () => {
      this.check();
      try {
        return JSON.parse(readFileSync(this.gauge, 'utf8')) as Reading;
      } catch {
        return undefined;
      }
    });
  }

  /** Most memory that was ever resident. */
  peakBytes(): number {
    const status = readFileSync(`/proc/${this.child?.pid}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  async end(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), 30_000);
      await ended;
      clearTimeout(late);
    }
    run([process.execPath, this.cli, 'agent', '--cleanup', '--config', this.config], '', 120_000);
  }
}
