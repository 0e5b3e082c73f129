// Runs inside a namespace of the lab and does what it is told, one JSON line a request: sends and echoes traffic,
// collects datagrams, puts raw frames on a device. Ends with its standard input, so it never outlives the proofs.
import { createSocket, type Socket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';
import { loadNative } from '../../agent/kernel/native';
import type { Answer, Request, StreamReport } from './endpoint';

const inbox = new Map<number, string[]>();
const echoing = new Set<number>();
const sockets: Socket[] = [];
const udpTo = (address: string): 'udp4' | 'udp6' => (isIPv6(address) ? 'udp6' : 'udp4');

function bindUdp(
  port: number,
  onMessage: (data: Buffer, answer: (data: Buffer) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // Both families at once.
    const socket = createSocket({ type: 'udp6', recvBufferSize: 1 << 20 });
    socket.on('error', reject);
    socket.on('message', (data, from) =>
      onMessage(data, (reply) => socket.send(reply, from.port, from.address)),
    );
    socket.bind(port, () => resolve());
    sockets.push(socket);
  });
}

function echoTcp(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.pipe(socket);
    });
    server.on('error', reject);
    server.listen(port, '::', () => resolve());
  });
}

/** Sends the bytes and waits until as many came back; true if they are the same. */
function askTcp(to: string, port: number, payload: Buffer, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const received: Buffer[] = [];
    let length = 0;
    const socket = connect({ host: to, port });
    const end = (same: boolean): void => {
      socket.destroy();
      resolve(same);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.on('error', () => end(false));
    socket.on('close', () => resolve(false));
    socket.on('connect', () => socket.write(payload));
    socket.on('data', (data) => {
      received.push(data);
      length += data.length;
      if (length >= payload.length) end(Buffer.concat(received).equals(payload));
    });
  });
}

/** One datagram and its echo. The kernel sets DF on what fits the path (IP_PMTUDISC_WANT, its default). */
function askUdp(to: string, port: number, payload: Buffer, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(udpTo(to));
    const end = (same: boolean): void => {
      clearTimeout(timer);
      socket.close();
      resolve(same);
    };
    const timer = setTimeout(() => end(false), timeoutMs);
    socket.on('error', () => end(false));
    socket.on('message', (data) => end(data.equals(payload)));
    socket.send(payload, port, to);
  });
}

interface Stream {
  readonly socket: Socket;
  readonly timer: NodeJS.Timeout;
  readonly startedMs: number;
  readonly echoed: Set<number>;
  sent: number;
  duplicates: number;
}
let stream: Stream | undefined;

/** Datagrams that a socket's buffer holds for certain. */
const AT_ONCE = 100;

/**
 * Numbered datagrams at a steady rate; one that could not be sent in time is made up for at the next tick. Of those of a
 * long halt only as many: the rest would be lost in the receiver's buffer, whatever is tried.
 */
function startStream(to: string, port: number, packetsPerSecond: number): void {
  const socket = createSocket({ type: udpTo(to), recvBufferSize: 1 << 20 });
  const startedMs = performance.now();
  let skipped = 0;
  const timer = setInterval(() => {
    const planned = Math.floor(((performance.now() - startedMs) * packetsPerSecond) / 1000);
    skipped = Math.max(skipped, planned - running.sent - AT_ONCE);
    const due = planned - skipped;
    while (running.sent < due) {
      const payload = Buffer.alloc(64);
      payload.writeUInt32BE(running.sent++);
      socket.send(payload, port, to);
    }
  }, 2);
  const running: Stream = { socket, timer, startedMs, echoed: new Set(), sent: 0, duplicates: 0 };
  socket.on('error', () => undefined);
  socket.on('message', (data) => {
    const number = data.readUInt32BE(0);
    if (running.echoed.has(number)) running.duplicates++;
    running.echoed.add(number);
  });
  stream = running;
}

/** Goes on until `atLeast` datagrams were sent, stops, and waits for the last echoes. */
async function stopStream(atLeast: number, timeoutMs: number): Promise<StreamReport> {
  const running = stream;
  stream = undefined;
  if (running === undefined) throw new Error('no stream runs');
  while (running.sent < atLeast) await new Promise((resolve) => setTimeout(resolve, 20));
  clearInterval(running.timer);
  const deadline = performance.now() + timeoutMs;
  while (running.echoed.size < running.sent && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  running.socket.close();
  const lost = Array.from({ length: running.sent }, (_, number) => number).filter(
    (n) => !running.echoed.has(n),
  );
  const ms = performance.now() - running.startedMs;
  return {
    sent: running.sent,
    lost: lost.length,
    firstLost: lost[0] ?? -1,
    duplicates: running.duplicates,
    ms,
  };
}

function sendFrames(ifindex: number, frames: readonly string[], bypassQdisc: boolean): void {
  const native = loadNative();
  for (const frame of frames) native.sendFrame(ifindex, Buffer.from(frame, 'base64'), bypassQdisc);
}

async function serve(request: Request): Promise<unknown> {
  switch (request.op) {
    case 'echo':
      // A proof that is tried again asks again.
      if (echoing.has(request.port)) return true;
      await bindUdp(request.port, (data, answer) => answer(data));
      await echoTcp(request.port);
      echoing.add(request.port);
      return true;
    case 'collect':
      inbox.set(request.port, []);
      await bindUdp(request.port, (data) => inbox.get(request.port)?.push(data.toString('latin1')));
      return true;
    case 'collected':
      return inbox.get(request.port) ?? [];
    case 'tcp':
      return askTcp(request.to, request.port, Buffer.from(request.payload, 'base64'), request.timeoutMs);
    case 'udp':
      return askUdp(request.to, request.port, Buffer.from(request.payload, 'base64'), request.timeoutMs);
    case 'cast':
      return cast(request.to, request.port, Buffer.from(request.payload, 'base64'));
    case 'stream':
      startStream(request.to, request.port, request.packetsPerSecond);
      return true;
    case 'stop':
      return stopStream(request.atLeast, request.timeoutMs);
    case 'frames':
      sendFrames(request.ifindex, request.frames, request.bypassQdisc);
      return true;
  }
}

/** One datagram that nobody is expected to answer. */
function cast(to: string, port: number, payload: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(udpTo(to));
    socket.on('error', () => undefined);
    socket.send(payload, port, to, (error) => {
      socket.close();
      resolve(error === null);
    });
  });
}

function main(): void {
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const request = JSON.parse(line) as Request;
    const answer = (body: Answer): boolean => process.stdout.write(`${JSON.stringify(body)}\n`);
    serve(request).then(
      (value) => answer({ id: request.id, value }),
      (error) => answer({ id: request.id, error: error instanceof Error ? error.message : String(error) }),
    );
  });
  lines.on('close', () => process.exit(0));
}

main();
