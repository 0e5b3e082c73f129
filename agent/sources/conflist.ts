// The container runtime's configuration folder: finds the network's list, puts our plugin behind the others and keeps
// it there, and takes it out again. Every write is whole (a half-written list stops the runtime's reload), and only
// our own entry and our own files are touched.
import { type FSWatcher, watch } from 'node:fs';
import { mkdir, readdir, readFile, realpath, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { JsonObject } from '../core/cni';
import {
  type Conflist,
  dropIn,
  isDropIn,
  ownEntry,
  type PluginSettings,
  parseConflist,
  pluginEntry,
  withoutPlugin,
  withPlugin,
} from '../core/conflist';
import { VxsealError } from '../errors';
import { errnoOf, writeWhole } from '../files';
import type { Clock, Log } from '../ports';

/** What libcni reads; the first in order of name is the network that pods get. */
const EXTENSIONS = ['.conf', '.conflist', '.json'];
const DROP_IN_NAME = '90-vxseal.conf';
const STIR_NAME = '.vxseal-changed';
const PLUGIN_NAME = 'vxseal';
/** Readable for everyone, as the runtimes' own. */
const LIST_MODE = 0o644;

export interface ConflistTarget extends PluginSettings {
  /** E.g. /etc/cni/net.d */
  readonly dir: string;
  /** Name of the network; undefined: the one that the runtime takes. */
  readonly network: string | undefined;
  /** A file of our own beside the list instead of an entry in it. */
  readonly dropIn: boolean;
}

export interface Installed {
  readonly file: string;
  readonly network: string;
  /** False: it stood there already. */
  readonly changed: boolean;
  readonly entry: JsonObject;
}

interface ListFile {
  readonly file: string;
  readonly conflist: Conflist;
}

/**
 * @param standing what our entry was before; an entry that is in the list counts for more, and is kept as it is.
 *   Without it our entry becomes what `target` says.
 * Errors: VxsealError 'not-ready' when there is no list yet, 'config' when it cannot be used or written.
 */
export async function installConflist(target: ConflistTarget, standing?: JsonObject): Promise<Installed> {
  const { file, conflist } = await findList(target.dir, target.network);
  const entry = (standing === undefined ? undefined : ownEntry(conflist)) ?? standing ?? pluginEntry(target);
  if (target.dropIn)
    return { entry, ...(await installDropIn(target.dir, conflist, dropIn(conflist, entry))) };
  const text = withPlugin(conflist, entry);
  if (!text.ok) throw unusable(file, text.detail);
  if (text.value !== undefined) await replace(file, text.value);
  return { file, network: conflist.name, changed: text.value !== undefined, entry };
}

async function installDropIn(
  dir: string,
  { name }: Conflist,
  text: string,
): Promise<Omit<Installed, 'entry'>> {
  if (name.includes('/') || name.startsWith('.'))
    throw unusable(dir, `the network's name ${JSON.stringify(name)} cannot be a folder`);
  const folder = join(dir, name);
  const file = join(folder, DROP_IN_NAME);
  const stands = (await readOrNothing(file)) === text;
  if (!stands) {
    await attempt(folder, () => mkdir(folder, { recursive: true, mode: 0o755 }));
    await attempt(file, () => writeWhole(file, text, LIST_MODE));
    await stir(dir);
  }
  return { file, network: name, changed: !stands };
}

/**
 * containerd watches the folder itself, not the folders in it, and reads the lists again when something in it is
 * written or removed. A file that is no list: rewriting the list could undo what another installer has just written.
 */
async function stir(dir: string): Promise<void> {
  const file = join(dir, STIR_NAME);
  await attempt(file, () => writeFile(file, 'read the lists again\n'));
  await attempt(file, () => rm(file));
}

/** @returns the files that were changed or removed. */
export async function removeConflist(dir: string, network: string | undefined): Promise<string[]> {
  const changed: string[] = [];
  for (const file of await listFiles(dir)) {
    const parsed = parseConflist((await readOrNothing(file)) ?? '');
    if (!parsed.ok || (network !== undefined && parsed.value.name !== network)) continue;
    const text = withoutPlugin(parsed.value);
    if (text === undefined) continue;
    await replace(file, text);
    changed.push(file);
  }
  for (const folder of await dropInFolders(dir, network)) {
    const file = join(folder, DROP_IN_NAME);
    if (!isDropIn((await readOrNothing(file)) ?? '')) continue;
    await attempt(file, () => rm(file));
    await rmdir(folder).catch(() => undefined); // others may have files there
    await stir(dir);
    changed.push(file);
  }
  return changed;
}

/** Copies the plugin. @returns its path; undefined when it stood there already. */
export async function installPlugin(from: string, binDir: string): Promise<string | undefined> {
  const file = join(binDir, PLUGIN_NAME);
  const built = await readFile(from).catch((cause: unknown) => {
    throw new VxsealError('config', `${from}: ${errnoOf(cause)}`, 'build it: scripts/build native', {
      cause,
    });
  });
  const found = await readFile(file).catch(() => undefined);
  if (found?.equals(built) === true) return undefined;
  await attempt(binDir, () => mkdir(binDir, { recursive: true, mode: 0o755 }));
  await attempt(file, () => writeWhole(file, built, 0o755));
  return file;
}

async function findList(dir: string, network: string | undefined): Promise<ListFile> {
  let refused: VxsealError | undefined;
  for (const file of await listFiles(dir)) {
    const text = await readOrNothing(file);
    if (text === undefined) continue;
    const parsed = parseConflist(text);
    if (parsed.ok && (network === undefined || parsed.value.name === network))
      return { file, conflist: parsed.value };
    if (!parsed.ok) refused ??= unusable(file, parsed.detail);
    // Without a name the runtime takes the first file: to change another would change nothing.
    if (!parsed.ok && network === undefined) break;
  }
  const wanted = network === undefined ? 'network configuration' : `network ${network}`;
  throw (
    refused ??
    new VxsealError('not-ready', `${dir}: no ${wanted}`, "install the cluster's network plugin first")
  );
}

async function listFiles(dir: string): Promise<string[]> {
  try {
    const names = await readdir(dir);
    return names
      .filter((name) => EXTENSIONS.includes(extname(name)))
      .sort()
      .map((name) => join(dir, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw unusable(dir, errnoOf(error), error);
  }
}

async function dropInFolders(dir: string, network: string | undefined): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory() && (network === undefined || entry.name === network))
    .map((entry) => join(dir, entry.name));
}

const readOrNothing = (file: string): Promise<string | undefined> =>
  readFile(file, 'utf8').catch(() => undefined);

/** A link stays a link; the mode stays what it was. */
async function replace(file: string, text: string): Promise<void> {
  await attempt(file, async () => {
    const target = await realpath(file);
    await writeWhole(target, text, (await stat(target)).mode & 0o777);
  });
}

async function attempt(file: string, step: () => Promise<unknown>): Promise<void> {
  try {
    await step();
  } catch (error) {
    throw unusable(file, errnoOf(error) || String(error), error);
  }
}

const unusable = (file: string, reason: string, cause?: unknown): VxsealError =>
  new VxsealError('config', `${file}: ${reason}`, 'correct it, or name another with --dir and --name', {
    cause,
  });

/** Puts our plugin back whenever somebody else has written the list anew. */
export class ConflistKeeper {
  private watcher: FSWatcher | undefined;
  private cancel: () => void = () => {};
  private work: Promise<void> = Promise.resolve();
  private told = '';
  /** As an operator may have changed it: it is put back as it was. */
  private entry: JsonObject;
  private stopped = false;

  constructor(
    private readonly target: ConflistTarget,
    private readonly clock: Clock,
    private readonly log: Log,
    private readonly intervalMs = 10_000,
  ) {
    this.entry = pluginEntry(target);
  }

  /** The first look is over when it resolves. */
  async start(): Promise<void> {
    this.look();
    await this.settled();
  }

  /** No look is under way. */
  settled(): Promise<void> {
    return this.work;
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancel();
    this.watcher?.close();
    await this.work;
  }

  /** Looks at once, one look at a time, and again after the interval: a watch may miss what it was not there for. */
  private look(): void {
    this.work = this.work.then(async () => {
      if (this.stopped) return;
      this.cancel();
      this.watchFolder();
      await this.restore();
      this.cancel = this.clock.after(this.intervalMs, () => this.look());
    });
  }

  private watchFolder(): void {
    if (this.watcher !== undefined) return;
    try {
      this.watcher = watch(this.target.dir, { persistent: false }, () => this.look());
      this.watcher.on('error', () => this.unwatch());
    } catch {
      this.unwatch(); // the folder is not there yet: the interval finds it
    }
  }

  private unwatch(): void {
    this.watcher?.close();
    this.watcher = undefined;
  }

  private async restore(): Promise<void> {
    try {
      const { file, network, changed, entry } = await installConflist(this.target, this.entry);
      this.entry = entry;
      if (changed) this.log.info({ file, network }, 'plugin put into the network configuration');
      else if (this.told !== '') this.log.info({ file, network }, 'network configuration is as it must be');
      this.told = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.told)
        this.log.warn({ dir: this.target.dir, reason }, 'plugin cannot be put in place');
      this.told = reason;
    }
  }
}
