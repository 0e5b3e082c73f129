// What needs a process of its own: exceptions that nobody catches, workers that end, the garbage collector.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { objectPath } from './scene';

const modulePath = process.env.VXSEAL_NATIVE ?? join(__dirname, '../../build/native/vxseal.node');

/** Runs `script` with `native`, `sample` (the object's path) in scope; returns what it printed. */
function run(script: string, ...flags: string[]): { status: number | null; stdout: string; stderr: string } {
  const preamble = `const native = require(${JSON.stringify(modulePath)}); const sample = ${JSON.stringify(
    objectPath('sample'),
  )};`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, '-e', preamble + script], {
    encoding: 'utf8',
    timeout: 50_000,
  });
  return { status, stdout, stderr };
}

test('a listener that throws is an uncaught exception, and the next record still comes', () => {
  const { status, stdout } = run(`
    const { maps, programs } = native.loadObject(sample, {});
    let seen = 0;
    process.on('uncaughtException', (error) => console.log('caught', error.message));
    const ring = native.openRingBuffer(maps.ring, () => {
      seen += 1;
      if (seen === 2) ring.close();
      throw new Error('listener ' + seen);
    });
    native.testRun(programs.emit.fd, { data: Buffer.alloc(60), repeat: 2 });
  `);
  expect(stdout).toBe('caught listener 1\ncaught listener 2\n');
  expect(status).toBe(0);
});

test('a process ends while readers and descriptors are open; a worker too', () => {
  const open = `
    const { maps } = native.loadObject(sample, {});
    native.openRingBuffer(maps.ring, () => {});
  `;
  expect(run(`${open} process.exit(3);`).status).toBe(3);
  const worker = `
    const { Worker } = require('node:worker_threads');
    const code = 'const native = require(' + JSON.stringify(${JSON.stringify(modulePath)}) + ');' +
      'const sample = ' + JSON.stringify(sample) + ';' + ${JSON.stringify(open)} +
      'require("node:worker_threads").parentPort.postMessage("ready")';
    const worker = new Worker(code, { eval: true });
    worker.on('message', () => worker.terminate().then((code) => console.log('ended', code)));
  `;
  expect(run(worker)).toMatchObject({ stdout: 'ended 1\n', status: 0 });
});

/** The sanitizer has a malloc of its own, which keeps what was freed, to find its use. */
const withGlibcMalloc = process.env.LD_PRELOAD?.includes('libasan') === true ? test.skip : test;

withGlibcMalloc.each([
  ['kept', '', '', false],
  ['given back as they are freed', 'native.keepMallocSmall();', '', true],
  ['given back when asked', '', 'native.returnFreedMemory();', true],
])(
  "large blocks that were freed between small ones that are not (needs glibc's malloc): %s",
  (_, first, then, isGivenBack) => {
    const { stdout, status } = run(
      `
    ${first}
    const { allocUnsafeSlow } = Buffer;
    const ended = () => new Promise((done) => setImmediate(() => { gc(); ${then} setImmediate(done); }));
    (async () => {
      allocUnsafeSlow(30 << 20); // a large one that is freed: the next ones are not mapped by themselves
      await ended();
      const before = process.memoryUsage.rss();
      const small = [];
      let large = [];
      for (let i = 0; i < 100; i++) {
        large.push(allocUnsafeSlow(1 << 20).fill(1));
        small.push(allocUnsafeSlow(4 << 10).fill(1));
      }
      if (process.memoryUsage.rss() < before + (90 << 20)) console.log('the control failed: nothing was taken');
      large = [];
      for (let tries = 0; tries < 50 && process.memoryUsage.rss() > before + (20 << 20); tries++) await ended();
      console.log(process.memoryUsage.rss() < before + (20 << 20), small.length);
    })();
  `,
      '--expose-gc',
    );
    expect(stdout).toBe(`${isGivenBack} 100\n`);
    expect(status).toBe(0);
  },
);

test('descriptors that nobody holds any more are closed', () => {
  const { stdout, status } = run(
    `
    const { readdirSync } = require('node:fs');
    const open = () => readdirSync('/proc/self/fd').length;
    const before = open();
    for (let i = 0; i < 500; i++) native.openNetns('/proc/self/ns/net');
    if (open() < before + 400) console.log('the control failed: nothing was open');
    const wait = () => {
      if (open() <= before + 10) return console.log('closed');
      gc();
      setImmediate(wait);
    };
    wait();
  `,
    '--expose-gc',
  );
  expect(stdout).toBe('closed\n');
  expect(status).toBe(0);
});

test('descriptors do not leak into child processes', () => {
  const { stdout } = run(`
    native.loadObject(sample, {});
    native.openNetns('/proc/self/ns/net');
    const { execFileSync } = require('node:child_process');
    console.log(execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' }));
  `);
  expect(stdout).toContain('/proc');
  expect(stdout).not.toMatch(/bpf|net:/);
});
