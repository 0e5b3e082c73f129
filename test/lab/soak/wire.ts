// Everything that goes over the underlay during a soak, looked at as it passes and not kept: is it ESP, does it hold
// the marker, and was its (SPI, IV) ever seen before. A capture of minutes would not fit a disk.
import { spawn } from 'node:child_process';
import { inNetns, until } from '../command';
import { CLUSTER_PREFIXES, type LabLayout } from '../layout';
import { frameKind, ipEnds } from '../pcap';
import { isBusTraffic } from '../proofs/reach';

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** Enough for all headers and a marker that begins the payload; the rest is not read. */
const SNAP_BYTES = 256;
const READY_TIMEOUT_MS = 15_000;
/** ICMP "port unreachable" (RFC 792): a node that has just booted answers ESP so; it quotes what the wire has seen. */
const ICMP_UNREACHABLE = 3;
const KINDS_ALLOWED = new Set(['esp', 'arp', 'nd']);
const NAMED_LEAKS = 5;

export interface WireReport {
  readonly frames: number;
  readonly sealed: number;
  /** Distinct SPIs: every one of them was a key of its own. */
  readonly spis: readonly number[];
  /** (SPI, IV) pairs that were seen more than once. */
  readonly repeated: number;
  /** The first few frames that were not as they must be. */
  readonly leaks: readonly string[];
  readonly leakCount: number;
  /** Frames that the capture itself has missed: of them nothing is known. */
  readonly missed: number;
}

export interface Wire {
  stop(): Promise<WireReport>;
}

/** Numbers seen under one SPI: they rise from 1 with few gaps, so a bit each is little. */
class SeenNumbers {
  private bits = new Uint32Array(1024);

  /** @returns false when it was there. */
  add(number: number): boolean {
    const word = number >>> 5;
    if (word >= this.bits.length) {
      const grown = new Uint32Array(Math.max(word + 1, this.bits.length * 2));
      grown.set(this.bits);
      this.bits = grown;
    }
    const bit = 1 << (number & 31);
    const before = this.bits[word] ?? 0;
    this.bits[word] = before | bit;
    return (before & bit) === 0;
  }
}

/** Judges frames one by one. */
export class WireJudge {
  private readonly numbers = new Map<number, SeenNumbers>();
  private readonly leaks: string[] = [];
  private frames = 0;
  private sealed = 0;
  private repeated = 0;
  private leakCount = 0;

  constructor(private readonly marker: Buffer) {}

  take(frame: Buffer): void {
    this.frames += 1;
    const kind = frameKind(frame);
    if (frame.includes(this.marker)) this.leak(`the marker in a ${kind} frame of ${frame.length} B`);
    else if (isFromPod(frame)) this.leak(`a ${kind} frame from a pod`);
    else if (!KINDS_ALLOWED.has(kind) && !isUnreachable(frame, kind) && !isBusTraffic(frame))
      this.leak(`a ${kind} frame`);
    if (kind === 'esp') this.noteEsp(frame);
  }

  report(missed: number): WireReport {
    const { frames, sealed, repeated, leaks, leakCount } = this;
    return { frames, sealed, spis: [...this.numbers.keys()], repeated, leaks, leakCount, missed };
  }

  /** RFC 7634 §2: the IV is the 64-bit number behind the ESP header; the nonce is salt and IV. */
  private noteEsp(frame: Buffer): void {
    this.sealed += 1;
    const at = 14 + (frame.readUInt16BE(12) === 0x86dd ? 40 : ((frame[14] ?? 0) & 15) * 4) + 8;
    const spi = frame.readUInt32BE(at);
    const iv = frame.readBigUInt64BE(at + 8);
    if (iv >= 1n << 32n) throw new Error(`IV ${iv}: a soak does not seal so many packets under one key`);
    let seen = this.numbers.get(spi);
    if (seen === undefined) {
      seen = new SeenNumbers();
      this.numbers.set(spi, seen);
    }
    if (!seen.add(Number(iv))) this.repeated += 1;
  }

  private leak(what: string): void {
    this.leakCount += 1;
    if (this.leaks.length < NAMED_LEAKS) this.leaks.push(what);
  }
}

/** The first two bytes of the cluster's prefix. */
const POD_START = Buffer.from(CLUSTER_PREFIXES[4].split('.').slice(0, 2).map(Number));

function isFromPod(frame: Buffer): boolean {
  const from = ipEnds(frame)?.from;
  return from?.length === 4 && from.subarray(0, 2).equals(POD_START);
}

function isUnreachable(frame: Buffer, kind: string): boolean {
  const at = 14 + ((frame[14] ?? 0) & 15) * 4;
  return kind === 'icmp' && frame[at] === ICMP_UNREACHABLE;
}

/** Begins to look; returns once the capture runs. */
export async function watchWire(lab: LabLayout, marker: Buffer): Promise<Wire> {
  const judge = new WireJudge(marker);
  const argv = [
    'tcpdump',
    '-i',
    'wire',
    '-w',
    '-',
    '-U',
    '-s',
    String(SNAP_BYTES),
    '-B',
    '131072',
    '-Z',
    'root',
  ];
  const [file = '', ...args] = inNetns(lab.wireNetns, argv);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  let failure: Error | undefined;
  const frames = new PcapStream((frame) => judge.take(frame));
  child.stdout.on('data', (chunk: Buffer) => {
    try {
      frames.push(chunk);
    } catch (error) {
      failure ??= error instanceof Error ? error : new Error(String(error));
    }
  });
  await until('tcpdump listens', READY_TIMEOUT_MS, () => {
    if (child.exitCode !== null) throw new Error(`tcpdump ended: ${said}`);
    return said.includes('listening on') ? true : undefined;
  });
  return {
    stop: async () => {
      child.kill('SIGINT');
      await ended;
      if (failure !== undefined) throw failure;
      return judge.report(Number(/(\d+) packets? dropped by kernel/.exec(said)?.[1] ?? 0));
    },
  };
}

/** Cuts a pcap file that comes in pieces into frames (little-endian, as tcpdump writes on the machines we run on). */
class PcapStream {
  private rest: Buffer = Buffer.alloc(0);
  private begun = false;

  constructor(private readonly take: (frame: Buffer) => void) {}

  push(chunk: Buffer): void {
    let data = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    if (!this.begun) {
      if (data.length < FILE_HEADER_BYTES) {
        this.rest = data;
        return;
      }
      this.begun = true;
      data = data.subarray(FILE_HEADER_BYTES);
    }
    let at = 0;
    while (at + RECORD_HEADER_BYTES <= data.length) {
      const captured = data.readUInt32LE(at + 8);
      const end = at + RECORD_HEADER_BYTES + captured;
      if (end > data.length) break;
      this.take(data.subarray(at + RECORD_HEADER_BYTES, end));
      at = end;
    }
    this.rest = data.subarray(at);
  }
}
