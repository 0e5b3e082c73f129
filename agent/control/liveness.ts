// Whether a tunnel really carries packets: a small and a full-size probe to each keyed peer at every interval, both
// answered by the peer's data plane (docs/wire-format.md §6). The bus plays no part in it. Keeps round trip, loss
// and the last answer; the words of the status are verdict.ts's. Sends what inquiry.ts asks beside.
import type { PeerNumber } from '../core/ids';
import type { Clock, Datapath, ProbeReply } from '../ports';
import { SentProbes, type Size } from './sentprobes';

/** Smallest Ethernet frame without its check sequence (IEEE 802.3 §3.2.7). */
export const SMALL_FRAME_BYTES = 60;
export const ETHERNET_HEADER_BYTES = 14;
/** Weight of a new sample in the smoothed round trip (RFC 6298 §2.3). */
const RTT_GAIN = 1 / 8;

/** Peers probed in one go, and the time to the next: 5,000 take less than a second. */
const AT_ONCE = 64;
const BETWEEN_MS = 10;

interface Track {
  readonly firstSentMs: number;
  /** Wall clock of the last answer by size; 0 for never. */
  readonly lastAnswerMs: Record<Size, number>;
  /** When answers of that size began to fail; 0 while they come. */
  readonly silentSinceMs: Record<Size, number>;
  rttMs: number;
  readonly sent: SentProbes;
}

export interface Liveness {
  /** Smoothed, milliseconds; -1 before the first answer. */
  readonly rttMs: number;
  /** Share of small probes unanswered, 0 to 1; -1 before one could have come back. */
  readonly loss: number;
  /** `new`: nothing answered yet, and not for long enough to say that nothing will. */
  readonly verdict: 'new' | 'answers' | 'silent' | 'small-only';
  /** Wall clock, when the verdict began as far as probes tell. */
  readonly sinceMs: number;
  readonly lastAnswerMs: number;
}

export interface ProbeSettings {
  readonly intervalMs: number;
  /** Without an answer for this long a peer counts as silent. */
  readonly timeoutMs: number;
}

/** A probe beside the regular ones, until it is answered or given up. */
interface Asked {
  readonly peer: PeerNumber;
  readonly frameBytes: number;
  readonly answered: (rttMs: number) => void;
}

export class Prober {
  private readonly tracks = new Map<PeerNumber, Track>();
  private readonly asked = new Map<number, Asked>();
  private readonly firstId: bigint;
  private sentCount = 0;
  private mtuBytes = 0;
  private cancel: () => void = () => {};
  /** To be probed as soon as it is their turn. */
  private readonly waiting = new Set<PeerNumber>();
  private cancelSending: () => void = () => {};

  /** @param failed told of probes that could not be sent; the peer then counts as silent, as it is. */
  constructor(
    private readonly clock: Clock,
    private readonly datapath: Pick<Datapath, 'sendProbe' | 'onProbeReply'>,
    private readonly settings: ProbeSettings,
    private readonly failed: (peer: PeerNumber, error: unknown) => void,
    private readonly changed: () => void = () => {},
  ) {
    // Not from 0: an answer to a probe of a former process must match nothing here.
    this.firstId = clock.monotonicNs();
    datapath.onProbeReply((reply) => this.take(reply));
  }

  start(): void {
    this.cancel();
    this.cancel = this.clock.after(this.settings.intervalMs, () => {
      this.start();
      for (const peer of this.tracks.keys()) this.waiting.add(peer);
      this.sendWaiting();
    });
  }

  stop(): void {
    this.cancel();
    this.cancelSending();
    this.waiting.clear();
  }

  /** Some now, the others soon: thousands of probes at once would fill queues and hold up all else. */
  private sendWaiting(): void {
    this.cancelSending();
    for (const peer of [...this.waiting].slice(0, AT_ONCE)) {
      this.waiting.delete(peer);
      this.nudge(peer);
    }
    if (this.waiting.size > 0) this.cancelSending = this.clock.after(BETWEEN_MS, () => this.sendWaiting());
  }

  /** Peers to be probed from now on; a new one is probed at once, one that is missing is forgotten. */
  watch(peers: Iterable<PeerNumber>, mtuBytes: number): void {
    this.mtuBytes = mtuBytes;
    const wanted = new Set(peers);
    for (const peer of [...this.tracks.keys()]) if (!wanted.has(peer)) this.tracks.delete(peer);
    for (const peer of wanted) {
      if (this.tracks.has(peer)) continue;
      this.begin(peer);
      this.waiting.add(peer);
    }
    this.sendWaiting();
  }

  /** One more pair of probes at once: carries the proof of new keys on an idle tunnel. */
  nudge(peer: PeerNumber): void {
    const track = this.tracks.get(peer);
    if (track) this.probe(peer, track);
  }

  /**
   * One probe of any size. Unanswered it counts for nothing, since nobody waits as long for it as for a regular one;
   * answered, it is as good a sign of life.
   * @returns how to give it up.
   */
  ask(peer: PeerNumber, frameBytes: number, answered: (rttMs: number) => void): () => void {
    this.sentCount += 1;
    const id = this.sentCount;
    this.asked.set(id, { peer, frameBytes, answered });
    this.send(peer, id, frameBytes);
    return () => void this.asked.delete(id);
  }

  of(peer: PeerNumber): Liveness | undefined {
    const track = this.tracks.get(peer);
    if (track === undefined) return undefined;
    const nowMs = this.clock.nowMs();
    const lastAnswerMs = Math.max(track.lastAnswerMs.small, track.lastAnswerMs.full);
    return { rttMs: track.rttMs, loss: this.lossOf(track), lastAnswerMs, ...this.judge(track, nowMs) };
  }

  private judge(track: Track, nowMs: number): Pick<Liveness, 'verdict' | 'sinceMs'> {
    const { small, full } = track.silentSinceMs;
    const silentFor = (sinceMs: number): boolean =>
      sinceMs !== 0 && nowMs - sinceMs >= this.settings.timeoutMs;
    if (silentFor(small) && silentFor(full)) return { verdict: 'silent', sinceMs: Math.max(small, full) };
    if (track.lastAnswerMs.small === 0 && track.lastAnswerMs.full === 0)
      return { verdict: 'new', sinceMs: track.firstSentMs };
    if (silentFor(full)) return { verdict: 'small-only', sinceMs: full };
    return { verdict: 'answers', sinceMs: track.firstSentMs };
  }

  private lossOf(track: Track): number {
    return track.sent.loss(this.monotonicMs() - this.settings.intervalMs);
  }

  private monotonicMs(): number {
    return Number(this.clock.monotonicNs()) / 1e6;
  }

  private begin(peer: PeerNumber): void {
    const track: Track = {
      firstSentMs: this.clock.nowMs(),
      lastAnswerMs: { small: 0, full: 0 },
      silentSinceMs: { small: 0, full: 0 },
      rttMs: -1,
      sent: new SentProbes(),
    };
    this.tracks.set(peer, track);
  }

  private probe(peer: PeerNumber, track: Track): void {
    this.sendOne(peer, track, 'small', SMALL_FRAME_BYTES);
    this.sendOne(peer, track, 'full', ETHERNET_HEADER_BYTES + this.mtuBytes);
  }

  private sendOne(peer: PeerNumber, track: Track, size: Size, frameBytes: number): void {
    this.sentCount += 1;
    track.sent.sent(this.sentCount, size, this.monotonicMs());
    if (track.silentSinceMs[size] === 0) track.silentSinceMs[size] = this.clock.nowMs();
    this.send(peer, this.sentCount, frameBytes);
  }

  private send(peer: PeerNumber, id: number, frameBytes: number): void {
    try {
      this.datapath.sendProbe(peer, this.firstId + BigInt(id), frameBytes);
    } catch (error) {
      this.failed(peer, error);
    }
  }

  private take(reply: ProbeReply): void {
    const id = Number(reply.id - this.firstId);
    const rttMs = Math.max(0, Number(reply.receivedNs - reply.sentNs) / 1e6);
    const asked = this.asked.get(id);
    const track = this.tracks.get(reply.peer);
    if (asked?.peer === reply.peer) {
      this.asked.delete(id);
      asked.answered(rttMs);
      if (track !== undefined) this.note(track, this.sizeOf(asked.frameBytes), rttMs);
      return;
    }
    const size = track?.sent.answered(id);
    if (track !== undefined && size !== undefined) this.note(track, size, rttMs);
  }

  private sizeOf(frameBytes: number): Size | undefined {
    if (frameBytes === SMALL_FRAME_BYTES) return 'small';
    return frameBytes === ETHERNET_HEADER_BYTES + this.mtuBytes ? 'full' : undefined;
  }

  private note(track: Track, size: Size | undefined, rttMs: number): void {
    if (size === undefined) return;
    const before = this.judge(track, this.clock.nowMs()).verdict;
    track.lastAnswerMs[size] = this.clock.nowMs();
    track.silentSinceMs[size] = 0;
    if (size === 'small')
      track.rttMs = track.rttMs < 0 ? rttMs : track.rttMs + RTT_GAIN * (rttMs - track.rttMs);
    if (before !== this.judge(track, this.clock.nowMs()).verdict) this.changed();
  }
}
