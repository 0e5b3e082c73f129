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
