// Probes, and what comes through the ring buffer: replies to them, and packets that the data plane reports. Bytes only;
// offsets come from layout.gen.ts.
import { formatAddress } from '../core/bytes';
import type { IpAddress, PeerNumber } from '../core/ids';
import { Image } from './image';
import { CONSTANTS, DROP_REASONS, ENUMS, LAYOUT } from './layout.gen';

const PROBE_VERSION = 1;

/**
 * A request, padded with zeros. The MACs stay zero: the data plane writes them.
 * @param frameBytes length of the inner frame, at least that of struct probe.
 */
export function encodeProbe(
  probe: { readonly peer: PeerNumber; readonly id: bigint; readonly sentNs: bigint },
  frameBytes: number,
): Buffer {
  const { size } = LAYOUT.probe;
  if (!Number.isInteger(frameBytes) || frameBytes < size) {
    throw new RangeError(`a probe has ${size} bytes or more, not ${frameBytes}`);
  }
  const ethertype = Buffer.alloc(2);
  ethertype.writeUInt16BE(CONSTANTS.PROBE_ETHERTYPE);
  const frame = Buffer.alloc(frameBytes);
  new Image('probe', frame.subarray(0, size))
    .setRaw('ethertype', ethertype)
    .setNumber('version', PROBE_VERSION)
    .setNumber('peer', probe.peer)
    .setBig('id', probe.id)
    .setBig('sent_ns', probe.sentNs);
  return frame;
}

/** Undefined when the record is not an event that this version knows. */
export function decodeEvent(record: Buffer):
  | {
      readonly peer: PeerNumber;
      readonly id: bigint;
      readonly sentNs: bigint;
      readonly receivedNs: bigint;
      readonly bytes: number;
    }
  | undefined {
  if (record.length !== LAYOUT.event.size) return undefined;
  const image = new Image('event', record);
  if (image.number('type') !== ENUMS.event_type.EVENT_PROBE_REPLY) return undefined;
  return {
    peer: image.number('peer') as PeerNumber,
    id: image.big('probe_id'),
    sentNs: image.big('probe_sent_ns'),
    receivedNs: image.big('now_ns'),
    bytes: image.number('probe_bytes'),
  };
}

/** A drop or a sampled packet. Undefined when the record is neither, or of another version. */
export function decodeFlow(record: Buffer):
  | {
      readonly peer: PeerNumber;
      readonly atNs: bigint;
      readonly reason: string | undefined;
      readonly direction: 'egress' | 'ingress';
      readonly vni: number;
      readonly ifindex: number;
      readonly outer: boolean;
      readonly source: IpAddress | undefined;
      readonly destination: IpAddress | undefined;
      readonly protocol: number;
      readonly sourcePort: number;
      readonly destinationPort: number;
      readonly bytes: number;
      readonly unreported: number;
    }
  | undefined {
  if (record.length !== LAYOUT.flow_event.size) return undefined;
  const image = new Image('flow_event', record);
  const type = image.number('type');
  const { EVENT_DROP, EVENT_FLOW } = ENUMS.event_type;
  if (type !== EVENT_DROP && type !== EVENT_FLOW) return undefined;
  const flags = image.number('flags');
  const has = (flag: number): boolean => (flags & flag) !== 0;
  const address = (field: 'src' | 'dst'): IpAddress | undefined =>
    has(CONSTANTS.FLOW_F_IP) ? formatAddress(image.raw(field)) : undefined;
  return {
    peer: image.number('peer') as PeerNumber,
    atNs: image.big('now_ns'),
    reason: type === EVENT_DROP ? (DROP_REASONS[image.number('reason')] ?? 'unknown') : undefined,
    direction: image.number('direction') === ENUMS.direction.DIR_EGRESS ? 'egress' : 'ingress',
    vni: image.number('vni'),
    ifindex: image.number('ifindex'),
    outer: has(CONSTANTS.FLOW_F_OUTER),
    source: address('src'),
    destination: address('dst'),
    protocol: image.number('protocol'),
    sourcePort: image.raw('sport').readUInt16BE(),
    destinationPort: image.raw('dport').readUInt16BE(),
    bytes: image.number('bytes'),
    unreported: image.number('unreported'),
  };
}
