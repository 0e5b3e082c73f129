// Lays 32-bit words of a straight run of steps into BPF's ten registers and the stack, as Belady: the word that is
// needed last makes room. Emits BPF assembly, a line an instruction. Knows no cipher.
import type { Step } from './chacha20';

/** Where a word's first value is read from, and what is added to it. */
export interface Source {
  readonly base: string;
  readonly offset: number;
  readonly plus: number;
}

const NEVER = Number.POSITIVE_INFINITY;
/** A register's lower 32 bits. */
export const half = (register: string): string => register.replace('r', 'w');

export class Allocator {
  readonly lines: string[] = [];
  readonly #free: string[];
  readonly #registers = new Map<string, string>();
  /** Words whose register holds what the stack does not. */
  readonly #dirty = new Set<string>();
  readonly #slots = new Map<string, number>();
  readonly #unread: Map<string, Source>;
  readonly #uses = new Map<string, number[]>();
  #at = 0;

  /**
   * @param registers those that may be used
   * @param sources where each word begins
   * @param uses for each word, in order, the steps that use it; the last may be after the end
   * @param stackTop offset from r10 below which the slots lie
   */
  constructor(
    registers: readonly string[],
    sources: ReadonlyMap<string, Source>,
    uses: ReadonlyMap<string, readonly number[]>,
    stackTop: number,
  ) {
    this.#free = [...registers];
    this.#unread = new Map(sources);
    for (const [word, steps] of uses) this.#uses.set(word, [...steps]);
    for (const word of sources.keys()) this.#slots.set(word, stackTop - 4 * (this.#slots.size + 1));
  }

  emit(line: string): void {
    this.lines.push(line);
  }

  /** @param factor register that holds 2^32 + 1: a product with it holds a word beside itself, so a shift rotates. */
  step(step: Step, factor: string): void {
    if (step.kind === 'rotate') {
      const register = this.hold(step.to, [step.to]);
      this.emit(`${register} *= ${factor}`);
      this.emit(`${register} >>= ${32 - step.by}`);
    } else {
      const keep = [step.to, step.from];
      const [to, from] = [this.hold(step.to, keep), this.hold(step.from, keep)];
      this.emit(`${half(to)} ${step.kind === 'add' ? '+' : '^'}= ${half(from)}`);
    }
    this.#dirty.add(step.to);
    this.#at++;
  }

  /** The word's register, filled if it was not. */
  hold(word: string, keep: readonly string[]): string {
    const held = this.#registers.get(word);
    if (held !== undefined) return held;
    const register = this.take(keep);
    const source = this.#unread.get(word);
    if (source === undefined) this.emit(`${register} = *(u32 *)(r10 ${this.#slot(word)})`);
    else {
      this.emit(`${register} = *(u32 *)(${source.base} + ${source.offset})`);
      if (source.plus > 0) this.emit(`${half(register)} += ${source.plus}`);
      this.#unread.delete(word);
      this.#dirty.add(word);
    }
    this.#registers.set(word, register);
    return register;
  }

  /** A register for anything; the word that was in it, if there was one, lies on the stack now. */
  take(keep: readonly string[]): string {
    const free = this.#free.shift();
    if (free !== undefined) return free;
    const held = [...this.#registers.keys()].filter((word) => !keep.includes(word));
    const last = held.reduce((a, b) => (this.#nextUse(b) >= this.#nextUse(a) ? b : a));
    const register = this.#registers.get(last);
    if (register === undefined) throw new Error('no register is free');
    if (this.#dirty.delete(last)) this.emit(`*(u32 *)(r10 ${this.#slot(last)}) = ${register}`);
    this.#registers.delete(last);
    return register;
  }

  give(register: string): void {
    this.#free.push(register);
  }

  /** The word is not needed any more. */
  drop(word: string): void {
    const register = this.#registers.get(word);
    if (register !== undefined) this.#free.push(register);
    this.#registers.delete(word);
    this.#dirty.delete(word);
  }

  isHeld(word: string): boolean {
    return this.#registers.has(word);
  }

  /** Whether every word has left its source. */
  get allRead(): boolean {
    return this.#unread.size === 0;
  }

  #slot(word: string): number {
    const slot = this.#slots.get(word);
    if (slot === undefined) throw new Error(`${word} has no place on the stack`);
    return slot;
  }

  #nextUse(word: string): number {
    const uses = this.#uses.get(word) ?? [];
    while ((uses[0] ?? NEVER) < this.#at) uses.shift();
    return uses[0] ?? NEVER;
  }
}
