// The maps of policy. A set of tables is written whole under the next generation, then one number switches to it; the
// generation before stays until the one after it, so a packet that is on its way finds the tables it began with.
import { decodeCounter } from '../abi/codec';
import {
  decodePolicyDropKey,
  decodePolicyState,
  encodeIdentity,
  encodePolicyPod,
  encodePolicyState,
  encodeRule,
  generationOf,
  type PolicyEntryBytes,
  type PolicyMapName,
} from '../abi/policy';
import type { InstalledPolicies, PolicyDrop, PolicyTables } from '../core/policytables';
import { attempt } from './fault';
import type { Fd, Native } from './native';
import { perCpuBytes } from './tables';

const STATE_KEY = Buffer.alloc(4);
const MAPS: readonly PolicyMapName[] = ['identities', 'policy_pods', 'rules'];

type Written = readonly { readonly map: PolicyMapName; readonly key: Buffer }[];

export class PolicyMaps implements InstalledPolicies {
  /** Keys by generation, of those that this process wrote. */
  private readonly written = new Map<number, Written>();
  private swept = false;

  constructor(
    private readonly native: Native,
    private readonly map: (name: PolicyMapName | 'policy_state' | 'policy_drops') => Fd,
  ) {}

  generation(): number {
    const state = attempt('read policy state', () =>
      this.native.mapLookup(this.map('policy_state'), STATE_KEY),
    );
    return state === undefined ? 0 : decodePolicyState(state);
  }

  install(tables: PolicyTables): number {
    const before = this.generation();
    this.sweep(before);
    const next = before >= 0xffff_fffe ? 1 : before + 1;
    const written: { map: PolicyMapName; key: Buffer }[] = [];
    const put = (map: PolicyMapName, { key, value }: PolicyEntryBytes): void => {
      this.native.mapUpdate(this.map(map), key, value);
      written.push({ map, key });
    };
    try {
      attempt(`write policies of generation ${next}`, () => {
        for (const entry of tables.identities) put('identities', encodeIdentity(next, entry));
        for (const entry of tables.rules) put('rules', encodeRule(next, entry));
        for (const entry of tables.pods) put('policy_pods', encodePolicyPod(next, entry));
        this.native.mapUpdate(this.map('policy_state'), STATE_KEY, encodePolicyState(next));
      });
    } catch (cause) {
      this.remove(written); // the old generation stands
      throw cause;
    }
    this.written.set(next, written);
    for (const [generation, keys] of this.written) {
      if (generation === next || generation === before) continue;
      this.remove(keys);
      this.written.delete(generation);
    }
    return next;
  }

  clear(): void {
    if (this.generation() === 0) return;
    attempt('switch policies off', () =>
      this.native.mapUpdate(this.map('policy_state'), STATE_KEY, encodePolicyState(0)),
    );
  }

  drops(): PolicyDrop[] {
    const map = this.map('policy_drops');
    return attempt('list packets refused by policy', () => {
      const size = this.native.mapInfo(map).valueSize;
      return this.native.mapEntries(map).map(({ key, value }) => {
        let [packets, bytes] = [0n, 0n];
        for (let at = 0; at + size <= value.length; at += perCpuBytes(size)) {
          const counter = decodeCounter(value.subarray(at, at + size));
          packets += counter.packets;
          bytes += counter.bytes;
        }
        return { ...decodePolicyDropKey(key), packets, bytes };
      });
    });
  }

  /** What former processes left, but for the generation in force. */
  private sweep(inForce: number): void {
    if (this.swept) return;
    this.swept = true;
    for (const map of MAPS) {
      const keys = attempt(`list ${map}`, () => this.native.mapEntries(this.map(map))).map(({ key }) => ({
        map,
        key,
      }));
      const generations = keys.map((entry) => ({ ...entry, generation: generationOf(map, entry.key) }));
      this.remove(generations.filter(({ generation }) => generation !== inForce));
      const kept = generations.filter(({ generation }) => generation === inForce);
      this.written.set(inForce, [...(this.written.get(inForce) ?? []), ...kept]);
    }
  }

  private remove(keys: Written): void {
    attempt('remove old policies', () => {
      for (const { map, key } of keys) this.native.mapDelete(this.map(map), key);
    });
  }
}
