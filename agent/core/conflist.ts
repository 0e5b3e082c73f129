// Network configuration lists of the container runtime (CNI spec §"Network configuration format"), as text: our plugin
// put behind the others, or taken out. Pure. Everything in a list that is not ours stays as it is.
import type { PodMode } from './adoption';
import { CNI_VERSIONS, isObject, type JsonObject } from './cni';
import { accept, type Result, refuse } from './result';

export const PLUGIN_TYPE = 'vxseal';
const ANNOTATIONS_CAPABILITY = 'io.kubernetes.cri.pod-annotations';
const DEFAULT_SOCKET = '/run/vxseal/agent.sock';

export interface PluginSettings {
  /** Of the agent; the plugin's default is left out. */
  readonly socket: string;
  /** Of the network's pods; undefined: the host's. */
  readonly vni: number | undefined;
  /** Of the network's pods; undefined: nothing is written, and they are strict. */
  readonly mode?: PodMode | undefined;
}

export interface Conflist {
  readonly name: string;
  readonly plugins: readonly JsonObject[];
  readonly root: JsonObject;
}

/** The entry of our plugin in a list. */
export const pluginEntry = ({ socket, vni, mode }: PluginSettings): JsonObject => ({
  type: PLUGIN_TYPE,
  ...(socket === DEFAULT_SOCKET ? {} : { socket }),
  ...(vni === undefined ? {} : { vni }),
  ...(mode === undefined ? {} : { mode }),
  capabilities: { [ANNOTATIONS_CAPABILITY]: true },
});

/** Refuses what is no list that a runtime would take: a single plugin's file, another version, no plugin at all. */
export function parseConflist(text: string): Result<Conflist, 'no-list'> {
  const root = parse(text);
  if (root === undefined) return refuse('no-list', 'is no JSON object');
  const { name, cniVersion, plugins } = root;
  if (!Array.isArray(plugins))
    return refuse('no-list', 'holds a single plugin: make it a list ("plugins": […], ending in .conflist)');
  if (typeof name !== 'string' || name === '') return refuse('no-list', 'has no name');
  if (typeof cniVersion !== 'string' || !CNI_VERSIONS.includes(cniVersion))
    return refuse(
      'no-list',
      `cniVersion ${JSON.stringify(cniVersion)} is none of ${CNI_VERSIONS.join(', ')}`,
    );
  if (!plugins.every(isObject)) return refuse('no-list', 'has a plugin that is no object');
  return accept({ name, plugins, root });
}

function parse(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const isOurs = (plugin: JsonObject): boolean => plugin.type === PLUGIN_TYPE;

/** Our plugin's entry as it stands in the list. */
export const ownEntry = (conflist: Conflist): JsonObject | undefined => conflist.plugins.find(isOurs);

/** @returns the new text; undefined when our plugin is the last one already, and as wanted. */
export function withPlugin(conflist: Conflist, entry: JsonObject): Result<string | undefined, 'no-list'> {
  const others = conflist.plugins.filter((plugin) => !isOurs(plugin));
  if (others.length === 0) return refuse('no-list', 'has no plugin that makes the pod its network');
  const last = conflist.plugins.at(-1);
  const stands =
    conflist.plugins.length === others.length + 1 && JSON.stringify(last) === JSON.stringify(entry);
  return accept(stands ? undefined : write({ ...conflist.root, plugins: [...others, entry] }));
}

/** @returns the new text; undefined when our plugin is not in it. */
export function withoutPlugin(conflist: Conflist): string | undefined {
  const others = conflist.plugins.filter((plugin) => !isOurs(plugin));
  if (others.length === conflist.plugins.length) return undefined;
  return write({ ...conflist.root, plugins: others });
}

/** The file of our plugin alone, for runtimes that add a network's own folder to its list (libcni 1.3). */
export const dropIn = (conflist: Conflist, entry: JsonObject): string =>
  write({ cniVersion: conflist.root.cniVersion, name: conflist.name, ...entry });

/** True for a drop-in of ours. */
export const isDropIn = (text: string): boolean => {
  const root = parse(text);
  return root !== undefined && isOurs(root);
};

const write = (root: JsonObject): string => `${JSON.stringify(root, undefined, 2)}\n`;
