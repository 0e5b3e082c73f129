// Prints bpf/chacha20.gen.h: the ChaCha20 rounds of one and of two blocks as BPF assembly with registers of our own
// choice, and the steps that all blocks of a packet share. Run by scripts/gen-cipher. bpf/chacha20.h says what it is called for.
import { Allocator, half, type Source } from './cipher/allocator';
import { COUNTER, numberOf, rounds, type Step, splitByCounter, wordsOf } from './cipher/chacha20';

const PAIR = ['x', 'y'];
const BLOCK_BYTES = 64;
/** Offsets in struct chacha20: the input block, and the same after the shared steps. */
const INPUT_AT = 0;
const SHARED_AT = 64;
/** Offsets from r10. */
const STATE_SLOT = -8;
const TEXT_SLOT = -16;
const STATE = 'r1';
const TEXT = 'r2';
const FACTOR = 'r9';

/** Steps by which a word is used; the last is when it meets the text, in the order of `words`. */
function usesOf(steps: readonly Step[], words: readonly string[]): Map<string, number[]> {
  const uses = new Map<string, number[]>(words.map((name) => [name, []]));
  steps.forEach((step, at) => {
    const used = step.kind === 'rotate' ? [step.to] : [step.to, step.from];
    for (const name of used) uses.get(name)?.push(at);
  });
  words.forEach((name, at) => {
    uses.get(name)?.push(steps.length + at);
  });
  return uses;
}

/** Words on which a shared step has worked begin after the shared steps, the rest as the input block has them. */
function sourcesOf(blocks: readonly string[], shared: ReadonlySet<number>): Map<string, Source> {
  return new Map(
    blocks.flatMap((block, index) =>
      wordsOf(block).map((name): [string, Source] => {
        const at = numberOf(name);
        const offset = (shared.has(at) ? SHARED_AT : INPUT_AT) + 4 * at;
        return [name, { base: STATE, offset, plus: at === COUNTER ? index : 0 }];
      }),
    ),
  );
}

/** Adds the input block to each word (RFC 8439 §2.3) and XORs it to the text; what is in registers goes first. */
function meetText(registers: Allocator, blocks: readonly string[], words: readonly string[]): void {
  const [state, text, spare] = [registers.take([]), registers.take([]), registers.take([])];
  registers.emit(`${state} = *(u64 *)(r10 ${STATE_SLOT})`);
  registers.emit(`${text} = *(u64 *)(r10 ${TEXT_SLOT})`);
  const ordered = [
    ...words.filter((name) => registers.isHeld(name)),
    ...words.filter((name) => !registers.isHeld(name)),
  ];
  for (const name of ordered) {
    const [at, block] = [numberOf(name), blocks.findIndex((one) => name.startsWith(one))];
    const register = registers.hold(name, [name]);
    const place = `*(u32 *)(${text} + ${BLOCK_BYTES * block + 4 * at})`;
    registers.emit(`${spare} = *(u32 *)(${state} + ${INPUT_AT + 4 * at})`);
    registers.emit(`${half(register)} += ${half(spare)}`);
    if (at === COUNTER && block > 0) registers.emit(`${half(register)} += ${block}`);
    registers.emit(`${spare} = ${place}`);
    registers.emit(`${half(register)} ^= ${half(spare)}`);
    registers.emit(`${place} = ${register}`);
    registers.drop(name);
  }
  registers.emit(`${spare} = *(u32 *)(${state} + ${INPUT_AT + 4 * COUNTER})`);
  registers.emit(`${half(spare)} += ${blocks.length}`);
  registers.emit(`*(u32 *)(${state} + ${INPUT_AT + 4 * COUNTER}) = ${spare}`);
}

/** The body of a function over `blocks`, whose counters follow each other, and the steps that it takes as done. */
function assemble(blocks: readonly string[]): { readonly lines: string[]; readonly shared: readonly Step[] } {
  const words = blocks.flatMap(wordsOf);
  const all = rounds(blocks);
  const splits = blocks.map((block) =>
    splitByCounter(
      block,
      all.filter((step) => step.to.startsWith(block)),
    ),
  );
  const shared = splits[0]?.shared ?? [];
  const touched = new Set(shared.map((step) => numberOf(step.to)));
  const left = new Set(splits.flatMap((split) => split.own));
  const steps = all.filter((step) => left.has(step));
  const scratch = ['r0', 'r2', 'r3', 'r4', 'r5', 'r6', 'r7', 'r8'];
  const registers = new Allocator(scratch, sourcesOf(blocks, touched), usesOf(steps, words), TEXT_SLOT);
  registers.emit(`*(u64 *)(r10 ${STATE_SLOT}) = ${STATE}`);
  registers.emit(`*(u64 *)(r10 ${TEXT_SLOT}) = ${TEXT}`);
  registers.emit(`${FACTOR} = 0x100000001 ll`);
  let stateHeld = true;
  for (const step of steps) {
    registers.step(step, FACTOR);
    if (stateHeld && registers.allRead) {
      registers.give(STATE);
      stateHeld = false;
    }
  }
  registers.give(FACTOR);
  meetText(registers, blocks, words);
  return { lines: registers.lines, shared };
}

const operators = { add: '+=', xor: '^=' } as const;
const cLine = (step: Step): string =>
  step.kind === 'rotate'
    ? `	word[${numberOf(step.to)}] = word[${numberOf(step.to)}] << ${step.by} | word[${numberOf(step.to)}] >> ${32 - step.by};`
    : `	word[${numberOf(step.to)}] ${operators[step.kind]} word[${numberOf(step.from)}];`;

function cFunction(name: string, text: string, lines: readonly string[]): string {
  return `__noinline int ${name}(struct chacha20 *c, struct ${text} *text)
{
	register struct chacha20 *state asm("r1") = c;
	register struct ${text} *to asm("r2") = text;

	if (!state || !to)
		return -1;
	asm volatile(
${lines.map((line) => `\t\t"${line};"`).join('\n')}
		: "+r"(state), "+r"(to)
		:
		: "r0", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "memory");
	return 0;
}
`;
}

function header(): string {
  const [one, two] = [assemble(PAIR.slice(0, 1)), assemble(PAIR)];
  return `/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Generated by scripts/gen-cipher. Do not edit. chacha20.h says what the functions are called for, scripts/cipher how
 * they are made. The stack below r10 is the assembly's own: nothing of the function around it is alive meanwhile. They
 * are not naked functions because those lose the names of their arguments, and Linux wants them.
 */

/* The steps of RFC 8439 §2.3 that no block counter has reached yet: the same for all blocks of a packet. */
static __always_inline void chacha20_share(__u32 word[16])
{
${two.shared.map(cLine).join('\n')}
}

${cFunction('chacha20_pair', 'chacha20_text', two.lines)}
${cFunction('chacha20_block', 'chacha20_end', one.lines)}`;
}

process.stdout.write(header());
