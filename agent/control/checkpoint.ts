// The list of attached pods on disk, in the run directory: it need not outlive a reboot, as the pods do not. A file
// that cannot be read costs the pods their re-attachment by us, not the agent its start.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { IpAddress, Vni } from '../core/ids';
import { writeWhole } from '../files';
import type { LocalPod, Log, PodRuntime } from '../ports';
import { reasonOf } from './problems';

export interface SavedPod extends LocalPod {
  /** Inside the pod. */
  readonly device: string;
}

export interface Checkpoint {
  load(): Promise<SavedPod[]>;
  /** On disk, these or newer ones, once it resolves. */
  save(pods: readonly SavedPod[]): Promise<void>;
}

export class FileCheckpoint implements Checkpoint {
  private readonly path: string;
  private written: string | undefined;
  private running: Promise<void> = Promise.resolve();
  private next: Promise<void> | undefined;
  private wanted: readonly SavedPod[] = [];

  constructor(
    runDir: string,
    private readonly log: Log,
    name = 'pods.json',
  ) {
    this.path = join(runDir, name);
  }

  async load(): Promise<SavedPod[]> {
    try {
      const parsed: unknown = JSON.parse(await readFile(this.path, 'utf8'));
      if (!isRecord(parsed) || parsed.v !== 1 || !Array.isArray(parsed.pods))
        throw new Error('unknown layout');
      return parsed.pods.flatMap((pod: unknown) => savedPod(pod) ?? []);
    } catch (error) {
      if (Object(error).code === 'ENOENT') return [];
      this.log.error(
        { file: this.path, reason: reasonOf(error) },
        'pod checkpoint cannot be read: attach the pods again',
      );
      return [];
    }
  }

  /** One write at a time, or an older one could be the last to be renamed; what comes meanwhile shares the next. */
  save(pods: readonly SavedPod[]): Promise<void> {
    this.wanted = pods;
    this.next ??= this.running.then(() => {
      this.next = undefined;
      this.running = this.write(this.wanted);
      return this.running;
    });
    return this.next;
  }

  private async write(pods: readonly SavedPod[]): Promise<void> {
    const text = `${JSON.stringify({ v: 1, pods }, undefined, 1)}\n`;
    if (text === this.written) return;
    try {
      await writeWhole(this.path, text);
      this.written = text;
    } catch (error) {
      this.log.error({ file: this.path, reason: reasonOf(error) }, 'pod checkpoint cannot be written');
    }
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

function savedPod(value: unknown): SavedPod | undefined {
  if (!isRecord(value)) return undefined;
  const { id, name, namespace, vni, netnsPath, hostDevice, addresses, device } = value;
  const texts = [id, name, namespace, netnsPath, hostDevice, device];
  if (
    !texts.every((text) => typeof text === 'string') ||
    typeof vni !== 'number' ||
    !Array.isArray(addresses)
  )
    return undefined;
  return {
    id: String(id),
    name: String(name),
    namespace: String(namespace),
    vni: vni as Vni,
    netnsPath: String(netnsPath),
    hostDevice: String(hostDevice),
    addresses: addresses.map((address) => String(address) as IpAddress),
    device: String(device),
    ...(value.mode === 'permissive' ? { mode: value.mode } : {}),
    ...savedRuntime(value.runtime),
    ...(isRecord(value.labels) ? { labels: savedTexts(value.labels) } : {}),
  };
}

function savedRuntime(value: unknown): { readonly runtime?: PodRuntime } {
  if (!isRecord(value) || !isRecord(value.attachment)) return {};
  const { network, containerId, ifname } = value.attachment;
  return {
    runtime: {
      attachment: {
        network: String(network),
        containerId: String(containerId),
        ifname: String(ifname),
      },
      uid: typeof value.uid === 'string' ? value.uid : '',
      annotations: savedTexts(value.annotations),
    },
  };
}

const savedTexts = (value: unknown): Record<string, string> =>
  Object.fromEntries(Object.entries(isRecord(value) ? value : {}).map(([key, text]) => [key, String(text)]));
