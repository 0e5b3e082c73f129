// The generator of the cipher's rounds: its output is current, and its steps are RFC 8439's.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { numberOf, rounds, type Step, splitByCounter, wordsOf } from '../../scripts/cipher/chacha20';

const root = join(__dirname, '../..');

function perform(steps: readonly Step[], state: Uint32Array): void {
  for (const step of steps) {
    const to = numberOf(step.to);
    const value = state[to] ?? 0;
    if (step.kind === 'rotate') state[to] = (value << step.by) | (value >>> (32 - step.by));
    else {
      const other = state[numberOf(step.from)] ?? 0;
      state[to] = step.kind === 'add' ? value + other : value ^ other;
    }
  }
}

test('chacha20.gen.h is what the generator makes today', () => {
  const fresh = execFileSync(join(root, 'scripts/gen-cipher'), ['--print'], { encoding: 'utf8' });
  expect(readFileSync(join(root, 'bpf/chacha20.gen.h'), 'utf8')).toBe(fresh);
});

test('the steps of a quarter round, RFC 8439 §2.2.1', () => {
  const state = Uint32Array.from([
    ...[0x879531e0, 0xc5ecf37d, 0x516461b1, 0xc9a62f8a, 0x44c20ef3, 0x3390af7f, 0xd9fc690b, 0x2a5f714c],
    ...[0x53372767, 0xb00a5631, 0x974c541a, 0x359e9963, 0x5c971061, 0x3d631689, 0x2098d9d6, 0x91dbd320],
  ]);
  // The second diagonal is on words 1, 6, 11 and 12; the RFC's example is the third, on 2, 7, 8 and 13.
  const diagonal = rounds(['x']).slice(48 + 24, 48 + 36);
  perform(diagonal, state);
  expect([2, 7, 8, 13].map((at) => state[at])).toEqual([0xbdb886dc, 0xcfacafd2, 0xe46bea80, 0xccc07c79]);
});

test('steps taken apart by the counter give what they gave in order, whatever the counter', () => {
  const steps = rounds(['x']);
  const { shared, own } = splitByCounter('x', steps);
  expect([shared.length, own.length]).toEqual([41, 960 - 41]);
  for (const counter of [0, 1, 0xffffffff]) {
    const input = Uint32Array.from(wordsOf('x').map((_, at) => Math.imul(at + 1, 0x9e3779b9)));
    const common = Uint32Array.from(input);
    perform(shared, common);
    const [inOrder, apart] = [Uint32Array.from(input), Uint32Array.from(common)];
    inOrder[12] = counter;
    apart[12] = counter;
    perform(steps, inOrder);
    perform(own, apart);
    expect(apart).toEqual(inOrder);
  }
});

test('a shared step that would overtake one that read its word is refused', () => {
  const steps: Step[] = [
    { kind: 'add', to: 'x12', from: 'x3' },
    { kind: 'add', to: 'x3', from: 'x4' },
  ];
  expect(() => splitByCounter('x', steps)).toThrow('x3 changes after a step of the block');
});
