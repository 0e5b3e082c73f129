// A data plane for one test: the real programs, loaded over maps of their own on a bpffs of their own, filled byte
// by byte from abi.h (apart from the agent's codec, so that the two check each other). Nothing is attached.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Fd, loadNative, type Native, type TestRunResult } from '../../agent/kernel/native';
import { packageRoot } from '../lab/layout';
import { ip } from './frames';

export const native: Native = loadNative();
const BUILD = join(packageRoot(), 'build');

export const PASS = 0xffffffff; // TC_ACT_UNSPEC
export const DROPPED = 2; // TC_ACT_SHOT
export const REDIRECTED = 7; // TC_ACT_REDIRECT
export const XDP_DROP = 1;
export const XDP_PASS = 2;

/** Order of enum drop_reason. */
const REASONS = [
  'none not_configured malformed fragment no_peer no_sa sa_exhausted gso too_big forged_vxlan clear_egress',
  'spoofed_source naked_inner unknown_spi replay bad_icv bad_trailer not_vxlan wrong_vni inner_protocol',
  'inner_source inner_destination no_cookie policy multicast nested_tag internal router tenant',
]
  .join(' ')
  .split(' ');

export const KEY = Buffer.from([...Array(32).keys()]);
export const SALT = Buffer.from('a0a1a2a3', 'hex');

/** 16 bytes, IPv4-mapped for IPv4. */
export function mapped(address: string): Buffer {
  const bytes = ip(address);
  return bytes.length === 16 ? bytes : Buffer.concat([Buffer.alloc(10), Buffer.from('ffff', 'hex'), bytes]);
}

const u32 = (...values: number[]): Buffer => {
  const b = Buffer.alloc(4 * values.length);
  values.forEach((v, i) => {
    b.writeUInt32LE(v >>> 0, 4 * i);
  });
  return b;
};

export interface Sa {
  readonly spi: number;
  readonly key?: Buffer;
  readonly salt?: Buffer;
  readonly flags?: number;
}

export const ESN = 1;
export const RAW = 2;
/** CONFIG_F_XFRM */
export const XFRM = 4;

export class World {
  readonly #dir = mkdtempSync(join(tmpdir(), 'vxseal-world-'));
  readonly #maps = new Map<string, Fd>();
  readonly #programs = new Map<string, Fd>();

  /** @param given object files under build/, without ".bpf.o", e.g. "bpf/open"; or the sizes of maps by name. */
  constructor(...given: (string | Readonly<Record<string, number>>)[]) {
    native.mountBpffs(this.#dir);
    const maxEntries = Object.assign({}, ...given.filter((each) => typeof each !== 'string'));
    try {
      for (const object of given.filter((each) => typeof each === 'string')) {
        const loaded = native.loadObject(join(BUILD, `${object}.bpf.o`), { pinRoot: this.#dir, maxEntries });
        for (const [name, { fd }] of Object.entries(loaded.programs)) this.#programs.set(name, fd);
        for (const [name, fd] of Object.entries(loaded.maps)) this.#maps.set(name, fd);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    for (const fd of [...this.#maps.values(), ...this.#programs.values()]) fd.close();
    execFileSync('umount', [this.#dir]);
    rmdirSync(this.#dir);
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Where its maps are pinned by name: objects that another process loads there share them. */
  get pinRoot(): string {
    return this.#dir;
  }

  map(name: string): Fd {
    const fd = this.#maps.get(name);
    if (!fd) throw new Error(`no map ${name}`);
    return fd;
  }

  program(name: string): Fd {
    const fd = this.#programs.get(name);
    if (!fd) throw new Error(`no program ${name}`);
    return fd;
  }

  /** `flags`: CONFIG_F_*. The loopback device stands for the VXLAN device. */
  configure(
    given: { vxlanPort?: number; flags?: number; hostVni?: number; underlayMtu?: number; abi?: number } = {},
  ): void {
    const value = Buffer.alloc(48);
    value.writeBigUInt64LE(0x1122334455667788n, 0);
    value.writeUInt32LE(given.abi ?? 1, 8);
    value.writeUInt32LE(1, 12);
    value.writeUInt32LE(given.hostVni ?? 42, 16);
    value.writeUInt32LE(given.underlayMtu ?? 1500, 20);
    value.writeUInt32LE(1408, 24);
    value.writeUInt16LE(given.vxlanPort ?? 14789, 28);
    value.writeUInt16LE(4500, 30);
    value.writeUInt16LE(0x1234, 32);
    Buffer.from('02aabbccddee', 'hex').copy(value, 34);
    value.writeUInt32LE(given.flags ?? 0, 40);
    native.mapUpdate(this.map('config'), u32(0), value);
  }

  /** `prefix` like "10.1.0.0/24"; peer 0 is this node, 0xffffffff nobody. `clear`: OVERLAY_F_CLEAR. */
  own(vni: number, prefix: string, peer: number, node = false, clear = false): void {
    const [address = '', length = ''] = prefix.split('/');
    const bits = Number(length) + (address.includes(':') ? 0 : 96);
    const key = Buffer.concat([u32(32 + bits, vni), mapped(address)]);
    native.mapUpdate(this.map('overlay'), key, u32(peer, (node ? 1 : 0) | (clear ? 2 : 0)));
  }

  /** To `vni` the prefix is a service of `other` (way 2), or clients of it (4). `services`: a bit each. */
  share(vni: number, prefix: string, other: number, way: 2 | 4, services = 1): void {
    const [address = '', length = ''] = prefix.split('/');
    const bits = Number(length) + (address.includes(':') ? 0 : 96);
    const key = Buffer.concat([u32(32 + bits, vni), mapped(address)]);
    native.mapUpdate(this.map('shared'), key, u32(other, way, services, 0));
  }

  peer(number: number, vtep: string, local: string): void {
    const value = Buffer.alloc(56);
    mapped(vtep).copy(value, 0);
    mapped(local).copy(value, 16);
    Buffer.from('020000000063', 'hex').copy(value, 32);
    native.mapUpdate(this.map('peers'), u32(number), value);
    this.vtep(number, vtep);
  }

  vtep(number: number, address: string): void {
    native.mapUpdate(this.map('vteps'), mapped(address), u32(number));
  }

  txSa(vni: number, peer: number, sa: Sa, seq = 0n, limit = 1n << 40n): void {
    const value = Buffer.alloc(64);
    (sa.key ?? KEY).copy(value, 0);
    (sa.salt ?? SALT).copy(value, 32);
    value.writeUInt32BE(sa.spi, 36);
    value.writeUInt32LE(sa.flags ?? ESN, 40);
    value.writeBigUInt64LE(seq, 48);
    value.writeBigUInt64LE(limit, 56);
    native.mapUpdate(this.map('tx_sa'), u32(vni, peer), value);
  }

  /** Last sequence number of the SA towards a peer. */
  sequence(vni: number, peer: number): bigint {
    const value = native.mapLookup(this.map('tx_sa'), u32(vni, peer));
    if (!value) throw new Error('no such SA');
    return value.readBigUInt64LE(48);
  }

  rxSa(vni: number, peer: number, source: string, sa: Sa, top = 0n): void {
    const key = Buffer.concat([Buffer.alloc(4), mapped(source)]);
    key.writeUInt32BE(sa.spi, 0);
    const value = Buffer.alloc(1104);
    (sa.key ?? KEY).copy(value, 0);
    (sa.salt ?? SALT).copy(value, 32);
    value.writeUInt32LE(sa.flags ?? ESN, 36);
    value.writeUInt32LE(peer, 40);
    value.writeUInt32LE(vni, 44);
    value.writeBigUInt64LE(top, 56);
    native.mapUpdate(this.map('rx_sa'), key, value);
  }

  /** An SA that the kernel's own IPsec opens. */
  xfrmRx(vni: number, peer: number, source: string, local: string, spi: number): void {
    const key = Buffer.concat([Buffer.alloc(4), mapped(source)]);
    key.writeUInt32BE(spi, 0);
    native.mapUpdate(this.map('xfrm_rx'), key, Buffer.concat([u32(peer, vni), mapped(local)]));
  }

  /** Packets authenticated under an SA. */
  received(spi: number, source: string): bigint {
    const key = Buffer.concat([Buffer.alloc(4), mapped(source)]);
    key.writeUInt32BE(spi, 0);
    const value = native.mapLookup(this.map('rx_sa'), key);
    if (!value) throw new Error('no such SA');
    return value.readBigUInt64LE(64);
  }

  pod(ifindex: number, vni: number, ...addresses: string[]): void {
    native.mapUpdate(this.map('pods'), u32(ifindex), Buffer.concat([u32(vni, 0), Buffer.alloc(16)]));
    for (const address of addresses) {
      native.mapUpdate(this.map('endpoints'), Buffer.concat([u32(vni), mapped(address)]), u32(ifindex, 0));
    }
  }

  /** The pod may speak in clear (POD_F_PERMISSIVE), or may not any more. */
  permit(ifindex: number, vni: number, permissive: boolean): void {
    const value = Buffer.concat([u32(vni, permissive ? 1 : 0), Buffer.alloc(16)]);
    native.mapUpdate(this.map('pods'), u32(ifindex), value);
  }

  /** The pod is off (POD_F_OFF), or is hooked again. */
  leave(ifindex: number, vni: number, off: boolean): void {
    const value = Buffer.concat([u32(vni, off ? 2 : 0), Buffer.alloc(16)]);
    native.mapUpdate(this.map('pods'), u32(ifindex), value);
  }

  /** Packets counted in clear since the last call, [sent, received]; then cleared. */
  inClear(): number[] {
    return [0, 1].map((direction) => {
      const value = native.mapLookup(this.map('clear_stats'), u32(direction));
      if (!value) throw new Error('no counter of clear text');
      let packets = 0n;
      for (let at = 0; at < value.length; at += 16) packets += value.readBigUInt64LE(at);
      native.mapUpdate(this.map('clear_stats'), u32(direction), Buffer.alloc(value.length));
      return Number(packets);
    });
  }

  /** Runs a tc program on a frame that is at device 1 (loopback). */
  tc(
    program: string,
    frame: Buffer,
    given: { cb?: readonly number[]; gsoSize?: number; mark?: number } = {},
  ): TestRunResult {
    const ctx = Buffer.alloc(192); // struct __sk_buff
    ctx.writeUInt32LE(given.mark ?? 0, 8);
    ctx.writeUInt32LE(1, 40); // ifindex
    (given.cb ?? []).forEach((value, i) => {
      ctx.writeUInt32LE(value, 48 + 4 * i);
    });
    if (given.gsoSize !== undefined) ctx.writeUInt32LE(given.gsoSize, 176);
    return native.testRun(this.program(program), { data: frame, ctx });
  }

  xdp(program: string, frame: Buffer): TestRunResult {
    return native.testRun(this.program(program), { data: frame });
  }

  /** Drops since the last call, as "egress:no_sa" or with the peer "egress:no_sa@7", sorted; then cleared. */
  drops(): string[] {
    const found: string[] = [];
    for (const { key, value } of native.mapEntries(this.map('drops'))) {
      let packets = 0n;
      for (let at = 0; at < value.length; at += 16) packets += value.readBigUInt64LE(at);
      const peer = key.readUInt32LE(0);
      const name = `${key.readUInt16LE(6) === 0 ? 'egress' : 'ingress'}:${REASONS[key.readUInt16LE(4)]}`;
      for (let i = 0n; i < packets; i++) found.push(peer === 0 ? name : `${name}@${peer}`);
      native.mapDelete(this.map('drops'), key);
    }
    return found.sort();
  }
}
