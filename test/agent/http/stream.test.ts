// Streams: back-pressure with a writer that says when it is full, and real ones over the unix socket.
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listenUnix, type RunningServer } from '../../../agent/http/server';
import { StreamSink } from '../../../agent/http/stream';
import { apiParts } from '../../fakes/api';
import { FakeAgent, sampleFlow, samplePeer, sampleStatus } from '../../fakes/status';

class Pipe {
  readonly texts: string[] = [];
  full = false;
  write(text: string): boolean {
    this.texts.push(text);
    return !this.full;
  }
}

test('a slow client loses events, is told how many, and costs no memory', () => {
  const pipe = new Pipe();
  const sink = new StreamSink(pipe as unknown as ConstructorParameters<typeof StreamSink>[0]);
  sink.send('a', { n: 1 });
  pipe.full = true;
  sink.send('a', { n: 2 }); // the one that fills it is still taken
  for (let n = 3; n < 1003; n++) sink.send('a', { n });
  sink.comment();
  expect(pipe.texts).toEqual([': \n\n', 'event: a\ndata: {"n":1}\n\n', 'event: a\ndata: {"n":2}\n\n']);
  pipe.full = false;
  sink.resume();
  sink.send('a', { n: 1003 });
  expect(pipe.texts.slice(3)).toEqual([
    'event: missed\ndata: {"count":1000}\n\n',
    'event: a\ndata: {"n":1003}\n\n',
  ]);
  sink.resume();
  expect(pipe.texts).toHaveLength(5);
});

describe('over the socket', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vxseal-stream-'));
  const socketPath = join(folder, 'agent.sock');
  let agent: FakeAgent;
  let running: RunningServer;
  beforeEach(async () => {
    agent = new FakeAgent();
    running = await listenUnix(apiParts(agent), socketPath);
  });
  afterEach(() => running.close());
  afterAll(() => rmSync(folder, { recursive: true }));

  interface Stream {
    text: string;
    status: number;
    type: string | undefined;
    ended: boolean;
    close(): void;
  }

  function open(path: string): Promise<Stream> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ socketPath, path, agent: false }, (incoming) => {
        const stream: Stream = {
          text: '',
          status: incoming.statusCode ?? 0,
          type: incoming.headers['content-type'],
          ended: false,
          close: () => outgoing.destroy(),
        };
        incoming.on('data', (part: Buffer) => {
          stream.text += part.toString();
        });
        incoming.on('error', () => {});
        incoming.on('close', () => {
          stream.ended = true;
        });
        resolve(stream);
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  }

  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  test('flows arrive while they are listened to, and are watched no longer', async () => {
    expect(agent.watchers.size).toBe(0);
    const stream = await open('/v1/flows');
    expect([stream.status, stream.type]).toEqual([200, 'text/event-stream']);
    await until(() => agent.watchers.size === 1);
    agent.flow({ reason: 'bad_icv' });
    await until(() => stream.text.includes('bad_icv'));
    expect(stream.text).toContain(
      `event: flow\ndata: ${JSON.stringify(sampleFlow({ reason: 'bad_icv' }))}\n\n`,
    );
    stream.close();
    await until(() => agent.watchers.size === 0);
  });

  test('changes are told once', async () => {
    const stream = await open('/v1/events');
    agent.current = sampleStatus({
      peers: [samplePeer({ state: 'stalled', why: 'no answer', remedy: 'look' })],
    });
    await until(() => stream.text.includes('stalled'));
    const events = stream.text.split('\n').filter((line) => line.startsWith('data: '));
    expect(events.map((line) => JSON.parse(line.slice(6)))).toEqual([
      {
        atMs: expect.any(Number),
        object: 'peer node2',
        state: 'stalled',
        reason: 'no answer',
        remedy: 'look',
      },
    ]);
    stream.close();
  });

  test('only so many at once; the next is refused until one goes', async () => {
    const streams = await Promise.all(Array.from({ length: 16 }, () => open('/v1/flows')));
    expect(new Set(streams.map(({ status }) => status))).toEqual(new Set([200]));
    const refused = await open('/v1/flows');
    expect([refused.status, refused.type]).toEqual([503, 'application/json; charset=utf-8']);
    streams[0]?.close();
    await until(() => agent.watchers.size === 15);
    const next = await open('/v1/flows');
    expect(next.status).toBe(200);
    for (const stream of [...streams, next]) stream.close();
  });

  test('the agent stops although somebody listens', async () => {
    const stream = await open('/v1/flows');
    await running.close();
    await until(() => stream.ended);
    expect(agent.watchers.size).toBe(0);
    running = await listenUnix(apiParts(agent), socketPath);
  });
});
