// Sizes and offsets of bpf/abi.h, written by hand: what the tests know of the layout comes from here, not from the
// code under test.
import { FakeKernel, type MapShape } from '../../fakes/native';

export const SHAPES: Readonly<Record<string, MapShape>> = {
  config: { keySize: 4, valueSize: 48, maxEntries: 1 },
  overlay: { keySize: 24, valueSize: 8 },
  shared: { keySize: 24, valueSize: 16 },
  identities: { keySize: 28, valueSize: 4 },
  policy_pods: { keySize: 8, valueSize: 8 },
  rules: { keySize: 20, valueSize: 4 },
  policy_drops: { keySize: 8, valueSize: 16 },
  connections: { keySize: 44, valueSize: 16 },
  connection_stats: { keySize: 4, valueSize: 16, maxEntries: 1 },
  peers: { keySize: 4, valueSize: 56 },
  vteps: { keySize: 16, valueSize: 4 },
  tx_sa: { keySize: 8, valueSize: 64 },
  rx_sa: { keySize: 20, valueSize: 1104 },
  xfrm_rx: { keySize: 20, valueSize: 24 },
  pods: { keySize: 4, valueSize: 24 },
  endpoints: { keySize: 20, valueSize: 8 },
  drops: { keySize: 8, valueSize: 16 },
  peer_stats: { keySize: 4, valueSize: 32 },
  events: { keySize: 0, valueSize: 0 },
};

export const newKernel = (): FakeKernel => new FakeKernel(SHAPES);

/** As the kernel lays them out on this machine: little-endian. */
export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

export const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};

/** 192.0.2.1 -> ::ffff:192.0.2.1 */
export const mapped = (...octets: number[]): Buffer =>
  Buffer.from([...Array(10).fill(0), 0xff, 0xff, ...octets]);
