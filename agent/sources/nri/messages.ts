// The words of NRI that an informer needs (nri pkg/api/api.proto, ttrpc request.proto): fields by number, read and
// written with protobuf's wire format. Whatever is wrong with a message is a refusal, never a throw.
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { PodFacts } from '../../core/podfacts';
import { accept, type Result, refuse } from '../../core/result';

export const PLUGIN_SERVICE = 'nri.pkg.api.v1alpha1.Plugin';
const RUNTIME_SERVICE = 'nri.pkg.api.v1alpha1.Runtime';
/** Event RUN_POD_SANDBOX, and its bit. Of a pod's end we hear by CNI. */
export const RUN_POD_SANDBOX = 1;
const SUBSCRIBED = 1 << (RUN_POD_SANDBOX - 1);
/** google.rpc.Code */
const UNIMPLEMENTED = 12;

const NAME = 'vxseal';
/** Two digits; the order among plugins, which is nothing to one that changes nothing. */
const INDEX = '90';

/** Kubernetes bounds a pod's annotations by 256 KiB; the rest is generous. */
const MAX_ENTRIES = 1000;
const MAX_KEY_LENGTH = 512;
const MAX_LABEL_LENGTH = 1024;
/** containerd adds labels of its own to a pod's. */
const RUNTIMES_OWN = 'io.cri-containerd.';
const MAX_ANNOTATIONS_LENGTH = 256 * 1024;

export interface Request {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
}

export interface RuntimePod {
  readonly id: string;
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  /** '' where it has none of its own. */
  readonly netnsPath: string;
}

export const EMPTY = new Uint8Array();

type Decoded<T> = Result<T, 'protobuf'>;

/** Values of a field that are kept: what is longer is no message for us. */
const MAX_VALUES = 16_384;
const TEXT = new TextDecoder();

/** The wanted fields of a message; others, and wanted ones of another type, are passed over. */
class Fields {
  private readonly values = new Map<number, (Uint8Array | number)[]>();

  /** @param numbers of varints. @param lengths of texts, bytes and messages. Throws on what is no message. */
  constructor(bytes: Uint8Array, lengths: readonly number[], numbers: readonly number[] = []) {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, wire] = reader.tag();
      if (wire === WireType.LengthDelimited && lengths.includes(field)) this.keep(field, reader.bytes());
      else if (wire === WireType.Varint && numbers.includes(field)) this.keep(field, reader.uint32());
      // proto3 has no groups, and they nest.
      else if (wire === WireType.StartGroup || wire === WireType.EndGroup) throw new RangeError('a group');
      else reader.skip(wire, field);
    }
  }

  bytes(field: number): Uint8Array | undefined {
    const value = this.values.get(field)?.at(-1);
    return value instanceof Uint8Array ? value : undefined;
  }

  text(field: number): string {
    return TEXT.decode(this.bytes(field));
  }

  number(field: number): number {
    const value = this.values.get(field)?.at(-1);
    return typeof value === 'number' ? value : 0;
  }

  all(field: number): Uint8Array[] {
    return (this.values.get(field) ?? []).filter((value) => value instanceof Uint8Array);
  }

  private keep(field: number, value: Uint8Array | number): void {
    const values = this.values.get(field) ?? [];
    if (values.length === MAX_VALUES)
      throw new RangeError(`more than ${MAX_VALUES} values of field ${field}`);
    values.push(value);
    this.values.set(field, values);
  }
}

function decode<T>(what: string, read: () => T): Decoded<T> {
  try {
    return accept(read());
  } catch (error) {
    return refuse('protobuf', `${what}: ${error instanceof Error ? error.message : 'no message'}`);
  }
}

export const decodeRequest = (bytes: Uint8Array): Decoded<Request> =>
  decode('request', () => {
    const fields = new Fields(bytes, [1, 2, 3]);
    return { service: fields.text(1), method: fields.text(2), payload: fields.bytes(3) ?? EMPTY };
  });

/** @returns 0 and '' for success. */
export const decodeResponse = (
  bytes: Uint8Array,
): Decoded<{ readonly code: number; readonly message: string }> =>
  decode('response', () => {
    const status = new Fields(new Fields(bytes, [1]).bytes(1) ?? EMPTY, [2], [1]);
    return { code: status.number(1), message: status.text(2) };
  });

export const decodeSynchronize = (
  bytes: Uint8Array,
): Decoded<{ readonly pods: readonly RuntimePod[]; readonly more: boolean }> =>
  decode('Synchronize', () => {
    const fields = new Fields(bytes, [1], [3]);
    return { pods: fields.all(1).map(readPod), more: fields.number(3) !== 0 };
  });

/** Of StateChange. */
export const decodeStateChange = (
  bytes: Uint8Array,
): Decoded<{ readonly event: number; readonly pod: RuntimePod | undefined }> =>
  decode('StateChange', () => {
    const fields = new Fields(bytes, [2], [1]);
    return { event: fields.number(1), pod: fields.all(2).map(readPod).at(-1) };
  });

/** Of RunPodSandbox, which newer runtimes call in place of StateChange. */
export const decodeRunPodSandbox = (bytes: Uint8Array): Decoded<RuntimePod | undefined> =>
  decode('RunPodSandbox', () => new Fields(bytes, [1]).all(1).map(readPod).at(-1));

function readPod(bytes: Uint8Array): RuntimePod {
  const fields = new Fields(bytes, [1, 2, 3, 4, 5, 6, 8]);
  const linux = new Fields(fields.bytes(8) ?? EMPTY, [5]);
  const network = linux
    .all(5)
    .map((each) => new Fields(each, [1, 2]))
    .find((each) => each.text(1) === 'network');
  return {
    id: fields.text(1),
    name: fields.text(2),
    uid: fields.text(3),
    namespace: fields.text(4),
    labels: readMap(fields.all(5)),
    annotations: readMap(fields.all(6)),
    netnsPath: network?.text(2) ?? '',
  };
}

function readMap(entries: readonly Uint8Array[]): Map<string, string> {
  return new Map(
    entries.map((entry) => {
      const fields = new Fields(entry, [1, 2]);
      return [fields.text(1), fields.text(2)];
    }),
  );
}

/** Undefined for a pod without a network namespace of its own, which is none of ours. */
export function factsOf(pod: RuntimePod): Result<PodFacts | undefined, 'pod'> {
  const { id, netnsPath, labels, annotations } = pod;
  if (netnsPath === '') return accept(undefined);
  if (!netnsPath.startsWith('/') || netnsPath.length > 4096 || netnsPath.includes('\0'))
    return refuse('pod', 'the path of its network namespace is none');
  if (!isName(id)) return refuse('pod', 'its id is none');
  if (!fits(labels, MAX_LABEL_LENGTH)) return refuse('pod', `${id}: too many labels, or too long ones`);
  if (!fits(annotations, MAX_ANNOTATIONS_LENGTH) || lengthOf(annotations) > MAX_ANNOTATIONS_LENGTH)
    return refuse('pod', `${id}: too many annotations, or too long ones`);
  const named = (value: string): string => (isName(value) ? value : '');
  return accept({
    sandboxId: id,
    netnsPath,
    name: named(pod.name),
    namespace: named(pod.namespace),
    uid: named(pod.uid),
    labels: sortedObject(new Map([...labels].filter(([key]) => !key.startsWith(RUNTIMES_OWN)))),
    annotations: sortedObject(annotations),
  });
}

/** As core/cni.ts takes them from CNI_ARGS. */
const isName = (value: string): boolean => /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/.test(value);

const fits = (entries: ReadonlyMap<string, string>, maxLength: number): boolean =>
  entries.size <= MAX_ENTRIES &&
  [...entries].every(([key, value]) => key.length <= MAX_KEY_LENGTH && value.length <= maxLength);

const lengthOf = (entries: ReadonlyMap<string, string>): number =>
  [...entries].reduce((sum, [key, value]) => sum + key.length + value.length, 0);

const sortedObject = (entries: ReadonlyMap<string, string>): Record<string, string> =>
  Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));

const LENGTH_DELIMITED = WireType.LengthDelimited;

export const encodeRegistration = (): Buffer =>
  encodeRequest({
    service: RUNTIME_SERVICE,
    method: 'RegisterPlugin',
    payload: new BinaryWriter()
      .tag(1, LENGTH_DELIMITED)
      .string(NAME)
      .tag(2, LENGTH_DELIMITED)
      .string(INDEX)
      .finish(),
  });

const encodeRequest = ({ service, method, payload }: Request): Buffer =>
  Buffer.from(
    new BinaryWriter()
      .tag(1, LENGTH_DELIMITED)
      .string(service)
      .tag(2, LENGTH_DELIMITED)
      .string(method)
      .tag(3, LENGTH_DELIMITED)
      .bytes(payload)
      .finish(),
  );

/** Success. */
export const encodeAnswer = (payload: Uint8Array): Buffer =>
  Buffer.from(
    payload.length === 0 ? [] : new BinaryWriter().tag(2, LENGTH_DELIMITED).bytes(payload).finish(),
  );

export const encodeUnimplemented = (method: string): Buffer => {
  const status = new BinaryWriter()
    .tag(1, WireType.Varint)
    .uint32(UNIMPLEMENTED)
    .tag(2, LENGTH_DELIMITED)
    .string(`${method.slice(0, 80)} is not implemented`)
    .finish();
  return Buffer.from(new BinaryWriter().tag(1, LENGTH_DELIMITED).bytes(status).finish());
};

export const encodeConfigured = (): Uint8Array =>
  new BinaryWriter().tag(2, WireType.Varint).uint32(SUBSCRIBED).finish();

/** @param more as it was asked: we take a long list in parts. */
export const encodeSynchronized = (more: boolean): Uint8Array =>
  more ? new BinaryWriter().tag(2, WireType.Varint).bool(true).finish() : EMPTY;
