// The runtime's side of NRI for tests of the informer: its messages, written by the codec that the CRI tests use, in the
// frames that the multiplexer and ttrpc describe. Knows nothing of the code under test.
import { encode, Fields, type Message } from '../../../cni/protobuf';

export const PLUGIN = 'nri.pkg.api.v1alpha1.Plugin';

export interface TestPod {
  readonly id: string;
  readonly netnsPath?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

const entries = (map: Readonly<Record<string, string>> = {}): Message[] =>
  Object.entries(map).map(([key, value]) => ({ 1: key, 2: value }));

/** PodSandbox, with fields that an informer does not know as well. */
export const podMessage = (pod: TestPod): Message => ({
  1: pod.id,
  2: pod.name ?? 'web',
  3: pod.uid ?? 'uid-1',
  4: pod.namespace ?? 'shop',
  5: entries(pod.labels),
  6: entries(pod.annotations),
  7: 'runc',
  8: {
    3: '/kubepods',
    5: [
      { 1: 'ipc', 2: '/proc/1/ns/ipc' },
      ...(pod.netnsPath === undefined ? [] : [{ 1: 'network', 2: pod.netnsPath }]),
    ],
  },
  9: 4711,
  10: ['10.1.0.5'],
});

export const request = (method: string, payload: Message | Uint8Array, service = PLUGIN): Buffer =>
  encode({ 1: service, 2: method, 3: payload instanceof Uint8Array ? payload : encode(payload), 4: 2e9 });

export const synchronize = (pods: readonly TestPod[], more = false): Buffer =>
  request('Synchronize', { 1: pods.map(podMessage), 2: [{ 1: 'container' }], 3: more });

export const stateChange = (event: number, pod: TestPod): Buffer =>
  request('StateChange', { 1: event, 2: podMessage(pod) });

export function ttrpc(stream: number, type: number, body: Uint8Array, length = body.length): Buffer {
  const header = Buffer.alloc(10);
  header.writeUInt32BE(length, 0);
  header.writeUInt32BE(stream, 4);
  header.writeUInt8(type, 8);
  return Buffer.concat([header, body]);
}

export function mux(connection: number, body: Uint8Array, length = body.length): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(connection, 0);
  header.writeUInt32BE(length, 4);
  return Buffer.concat([header, body]);
}

/** A request on the plugin's connection. */
export const asked = (stream: number, body: Uint8Array): Buffer => mux(1, ttrpc(stream, 1, body));

/** The answer to the registration. */
export const registered = (status: Message = {}): Buffer => mux(2, ttrpc(1, 2, encode({ 1: status })));

export interface Said {
  readonly connection: number;
  readonly stream: number;
  readonly type: number;
  readonly fields: Fields;
}

/** Whole frames that the plugin sent. */
export function readSaid(bytes: Buffer): Said[] {
  const said: Said[] = [];
  for (let at = 0; at + 18 <= bytes.length; ) {
    const size = bytes.readUInt32BE(at + 4);
    said.push({
      connection: bytes.readUInt32BE(at),
      stream: bytes.readUInt32BE(at + 12),
      type: bytes.readUInt8(at + 16),
      fields: new Fields(bytes.subarray(at + 18, at + 8 + size)),
    });
    at += 8 + size;
  }
  return said;
}
