// A container runtime's side of CNI, small: runs the plugins of a network configuration list in order, as libcni does,
// in the namespace of a node. Result and configuration are plain JSON; no cache: the caller keeps what ADD returned.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../lab/layout';

export type Json = { readonly [key: string]: unknown };

export interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly (Json & { readonly type: string })[];
}

export interface Container {
  readonly id: string;
  readonly netnsPath: string;
  readonly ifname?: string;
  /** CNI_ARGS */
  readonly args?: string;
  /** By capability, for the plugins that declare it. */
  readonly runtimeConfig?: Json;
}

/** A plugin's refusal, as it printed it. */
export class CniError extends Error {
  constructor(
    readonly plugin: string,
    readonly command: string,
    readonly code: number,
    readonly msg: string,
  ) {
    super(`${plugin} ${command}: code ${code}: ${msg}`);
  }
}

/** Debian's package containernetworking-plugins, and ours. */
export const PLUGIN_FOLDERS: readonly string[] = ['/usr/lib/cni', join(packageRoot(), 'build/cni')];

/** @param netns of the node, a path; undefined: here. */
export function runPlugin(
  netns: string | undefined,
  plugin: string,
  environment: Readonly<Record<string, string>>,
  stdin: string | Buffer,
): Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }> {
  const argv = netns === undefined ? [plugin] : ['nsenter', `--net=${netns}`, '--', plugin];
  const [file = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: { PATH: process.env.PATH ?? '', ...environment },
      timeout: 60_000,
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.stdin.on('error', () => undefined);
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({
        status: code ?? 255,
        stdout: Buffer.concat(out).toString(),
        stderr: Buffer.concat(err).toString(),
      }),
    );
    child.stdin.end(stdin);
  });
}

export class Chain {
  constructor(
    readonly conflist: Conflist,
    /** Of the node, a path. */
    private readonly netns: string,
    private readonly folders: readonly string[] = PLUGIN_FOLDERS,
  ) {}

  /** @returns the last plugin's result. Throws CniError; what the plugins before did stays, as with libcni. */
  async add(container: Container): Promise<Json> {
    let result: Json | undefined;
    for (const plugin of this.conflist.plugins) result = await this.call('ADD', plugin, container, result);
    if (result === undefined) throw new Error('a list without plugins');
    return result;
  }

  /** Last plugin first. @param result of ADD; runtimes that lost it leave it out. */
  async del(container: Container, result?: Json): Promise<void> {
    for (const plugin of [...this.conflist.plugins].reverse())
      await this.call('DEL', plugin, container, result);
  }

  /** CHECK came with 0.4.0: libcni does not call it in older lists. */
  async check(container: Container, result: Json): Promise<void> {
    if (this.conflist.cniVersion.startsWith('0.3.')) return;
    for (const plugin of this.conflist.plugins) await this.call('CHECK', plugin, container, result);
  }

  /** One call of one plugin. @returns what it printed, if anything. */
  async call(
    command: string,
    plugin: Json & { readonly type: string },
    container: Container | undefined,
    prevResult?: Json,
    extra: Json = {},
  ): Promise<Json | undefined> {
    const { cniVersion, name } = this.conflist;
    const capabilities = (plugin.capabilities ?? {}) as Json;
    const runtimeConfig = Object.fromEntries(
      Object.entries(container?.runtimeConfig ?? {}).filter(([key]) => capabilities[key] === true),
    );
    const config = {
      ...plugin,
      cniVersion,
      name,
      ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
      ...(prevResult === undefined ? {} : { prevResult }),
      ...extra,
    };
    const file = this.folders.map((folder) => join(folder, plugin.type)).find((path) => existsSync(path));
    if (file === undefined) throw new Error(`no plugin ${plugin.type} in ${this.folders.join(', ')}`);
    const environment = { CNI_COMMAND: command, CNI_PATH: this.folders.join(':'), ...variables(container) };
    const done = await runPlugin(this.netns, file, environment, JSON.stringify(config));
    const answer = done.stdout.trim() === '' ? undefined : (JSON.parse(done.stdout) as Json);
    if (done.status === 0) return answer;
    throw new CniError(plugin.type, command, Number(answer?.code), String(answer?.msg ?? done.stderr));
  }
}

function variables(container: Container | undefined): Record<string, string> {
  if (container === undefined) return {};
  const { id, netnsPath, ifname = 'eth0', args } = container;
  return {
    CNI_CONTAINERID: id,
    CNI_NETNS: netnsPath,
    CNI_IFNAME: ifname,
    ...(args === undefined ? {} : { CNI_ARGS: args }),
  };
}
