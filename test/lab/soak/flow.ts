// Runs in a pod for the length of a soak and keeps its flows: numbered datagrams at a steady rate and a TCP stream that
// is echoed, each remembered by the time of its sending, so that a loss can be laid to what happened then. One JSON
// line a request, one an answer; ends with its standard input.
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket as TcpSocket } from 'node:net';
import { createInterface } from 'node:readline';
import type { FlowReport, FlowRequest, SocketDrops, StreamState } from './traffic';

const TICK_MS = 2;
const DATAGRAM_BYTES = 200;
const CHUNK_BYTES = 8192;
const STREAM_TICK_MS = 10;
/** Of what is sent and not echoed yet: a stalled path must not fill memory. */
const MAX_AHEAD_BYTES = 1 << 20;

interface Datagrams {
  readonly socket: Socket;
  readonly sentMs: number[];
  readonly echoed: boolean[];
  duplicates: number;
  timer: NodeJS.Timeout;
}

interface Stream {
  readonly to: string;
  readonly port: number;
  socket: TcpSocket;
  sentBytes: number;
  echoedBytes: number;
  wrongBytes: number;
  /** Connections that ended without our doing. */
  broken: number;
  lastEchoMs: number;
  longestStallMs: number;
}

let marker = Buffer.alloc(16);
const datagrams = new Map<number, Datagrams>();
const streams = new Map<number, Stream>();

function serve(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 8 << 20 });
    socket.on('error', reject);
    socket.on('message', (data, from) => socket.send(data, from.port, from.address));
    const server = createServer((peer) => {
      peer.on('error', () => peer.destroy());
      peer.pipe(peer);
    });
    server.on('error', reject);
    socket.bind(port, () => server.listen(port, '0.0.0.0', () => resolve()));
  });
}

function startDatagrams(id: number, to: string, port: number, packetsPerSecond: number): void {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 8 << 20 });
  const startedMs = performance.now();
  const payload = Buffer.alloc(DATAGRAM_BYTES, marker);
  const flow: Datagrams = {
    socket,
    sentMs: [],
    echoed: [],
    duplicates: 0,
    timer: setInterval(() => {
      const due = Math.floor(((performance.now() - startedMs) * packetsPerSecond) / 1000);
      while (flow.sentMs.length < due) {
        const datagram = Buffer.from(payload);
        datagram.writeUInt32BE(flow.sentMs.length);
        flow.sentMs.push(Date.now());
        flow.echoed.push(false);
        socket.send(datagram, port, to);
      }
    }, TICK_MS),
  };
  socket.on('error', () => undefined);
  socket.on('message', (data) => {
    const number = data.readUInt32BE(0);
    if (flow.echoed[number] === true) flow.duplicates += 1;
    flow.echoed[number] = true;
  });
  datagrams.set(id, flow);
}

function startStream(id: number, to: string, port: number): void {
  const stream: Stream = {
    to,
    port,
    socket: connect({ host: to, port }),
    sentBytes: 0,
    echoedBytes: 0,
    wrongBytes: 0,
    broken: 0,
    lastEchoMs: performance.now(),
    longestStallMs: 0,
  };
  streams.set(id, stream);
  tend(stream);
  setInterval(() => {
    if (!stream.socket.writable || stream.sentBytes - stream.echoedBytes > MAX_AHEAD_BYTES) return;
    // Text whose every byte follows from its place, so that an echo is compared without keeping what was sent.
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let i = 0; i < CHUNK_BYTES; i++) chunk[i] = marker[(stream.sentBytes + i) % marker.length] ?? 0;
    stream.sentBytes += CHUNK_BYTES;
    stream.socket.write(chunk);
  }, STREAM_TICK_MS);
}

/** A connection that breaks is counted, and made again from the beginning. */
function tend(stream: Stream): void {
  const { socket } = stream;
  socket.on('error', () => undefined);
  socket.on('data', (data) => {
    for (const [i, byte] of data.entries())
      if (byte !== marker[(stream.echoedBytes + i) % marker.length]) stream.wrongBytes += 1;
    stream.echoedBytes += data.length;
    stream.longestStallMs = Math.max(stream.longestStallMs, performance.now() - stream.lastEchoMs);
    stream.lastEchoMs = performance.now();
  });
  socket.on('close', () => {
    stream.broken += 1;
    stream.sentBytes = 0;
    stream.echoedBytes = 0;
    setTimeout(() => {
      stream.socket = connect({ host: stream.to, port: stream.port });
      tend(stream);
    }, 200);
  });
}

/** Datagrams sent within the time, and which of them were not echoed until now. */
function reportOf(id: number, fromMs: number, toMs: number): FlowReport {
  const flow = datagrams.get(id);
  if (flow === undefined) throw new Error(`no flow ${id}`);
  const report = { sent: 0, lost: 0, firstLostMs: 0, lastLostMs: 0, duplicates: flow.duplicates };
  for (const [number, atMs] of flow.sentMs.entries()) {
    if (atMs < fromMs || atMs >= toMs) continue;
    report.sent += 1;
    if (flow.echoed[number] === true) continue;
    report.lost += 1;
    report.firstLostMs ||= atMs;
    report.lastLostMs = atMs;
  }
  return report;
}

function streamState(id: number): StreamState {
  const stream = streams.get(id);
  if (stream === undefined) throw new Error(`no stream ${id}`);
  const stallMs = Math.max(stream.longestStallMs, performance.now() - stream.lastEchoMs);
  stream.longestStallMs = 0;
  const { broken, echoedBytes, wrongBytes } = stream;
  return { broken, echoedBytes, wrongBytes, longestStallMs: Math.round(stallMs) };
}

/** What this namespace's own sockets could not take: lost at the end, not on the way (SNMP, RFC 4113). */
function socketDrops(): SocketDrops {
  const read = (protocol: string, field: string): number => {
    const [names, values] = readFileSync('/proc/net/snmp', 'utf8')
      .split('\n')
      .filter((line) => line.startsWith(`${protocol}: `))
      .map((line) => line.split(' '));
    return Number(values?.[names?.indexOf(field) ?? -1] ?? 0);
  };
  return { udp: read('Udp', 'RcvbufErrors'), tcpRetransmits: read('Tcp', 'RetransSegs') };
}

async function answer(request: FlowRequest): Promise<unknown> {
  switch (request.op) {
    case 'serve':
      marker = Buffer.from(request.marker, 'hex');
      await serve(request.port);
      return true;
    case 'datagrams':
      startDatagrams(request.flow, request.to, request.port, request.packetsPerSecond);
      return true;
    case 'stream':
      startStream(request.flow, request.to, request.port);
      return true;
    case 'halt':
      for (const flow of datagrams.values()) clearInterval(flow.timer);
      return true;
    case 'report':
      return reportOf(request.flow, request.fromMs, request.toMs);
    case 'state':
      return streamState(request.flow);
    case 'drops':
      return socketDrops();
  }
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const request = JSON.parse(line) as FlowRequest & { readonly id: number };
  const say = (body: object): boolean =>
    process.stdout.write(`${JSON.stringify({ id: request.id, ...body })}\n`);
  answer(request).then(
    (value) => say({ value }),
    (error: unknown) => say({ error: error instanceof Error ? error.message : String(error) }),
  );
});
lines.on('close', () => process.exit(0));
