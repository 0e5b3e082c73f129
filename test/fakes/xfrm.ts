// The kernel's IPsec as naive tables behind netlinkRequest: it keeps the bytes it was given and hands them out again.
// Offsets are those of linux/xfrm.h, written by hand.

const HEADER = 16;
const [NEWSA, DELSA, GETSA, NEWPOLICY, DELPOLICY, GETPOLICY, UPDPOLICY] = [16, 17, 18, 19, 20, 21, 25];
const NLM_F_DUMP = 0x300;
const SELECTOR = 56;
const STATE = 224;
const POLICY = 168;
const POLICY_ID = 64;
const XFRMA_MARK = 21;
const XFRMA_REPLAY_ESN_VAL = 23;

const errno = (code: string, number: number): Error =>
  Object.assign(new Error(code), { code, errno: number, op: 'fake' });
const hex = (bytes: Buffer): string => bytes.toString('hex');

/** Views of the attributes behind a body of that size. */
export function attributesOf(message: Buffer, body: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = HEADER + body; at < message.length; at += (message.readUInt16LE(at) + 3) & ~3)
    found.set(message.readUInt16LE(at + 2), message.subarray(at + 4, at + message.readUInt16LE(at)));
  return found;
}

export class FakeXfrm {
  /** By destination and SPI, and by selector, direction and mark. */
  readonly states = new Map<string, Buffer>();
  readonly policies = new Map<string, Buffer>();
  /** Types of the changes, in order. */
  readonly changes: number[] = [];
  /** Hardware that lacks it. */
  missing: Error | undefined;
  tornDumps = 0;
  /** What becomes of requests of a type. */
  refuse: { readonly type: number; readonly error: Error } | undefined;

  /** Native.netlinkRequest */
  request(protocol: number, message: Buffer): Buffer[] {
    if (protocol !== 6) throw errno('EPROTONOSUPPORT', 93);
    if (this.missing !== undefined) throw this.missing;
    const [type, flags] = [message.readUInt16LE(4), message.readUInt16LE(6)];
    if (this.refuse?.type === type) throw this.refuse.error;
    if ((flags & NLM_F_DUMP) === NLM_F_DUMP) return this.dump(type);
    if (type !== GETSA && type !== GETPOLICY) this.changes.push(type);
    return type <= GETSA ? this.state(type, message) : this.policy(type, message);
  }

  private dump(type: number): Buffer[] {
    if (this.tornDumps > 0) {
      this.tornDumps -= 1;
      throw errno('EINTR', 4);
    }
    return [...(type === GETSA ? this.states : this.policies).values()].map((each) => Buffer.from(each));
  }

  private state(type: number, message: Buffer): Buffer[] {
    const id = message.subarray(HEADER + (type === NEWSA ? SELECTOR : 0)).subarray(0, 20);
    const key = hex(id);
    if (type === NEWSA) {
      if (this.states.has(key)) throw errno('EEXIST', 17);
      this.states.set(key, Buffer.from(message));
      return [];
    }
    const found = this.states.get(key);
    if (found === undefined) throw errno('ESRCH', 3);
    if (type === DELSA) this.states.delete(key);
    return type === GETSA ? [Buffer.from(found)] : [];
  }

  private policy(type: number, message: Buffer): Buffer[] {
    const whole = type === UPDPOLICY || type === NEWPOLICY;
    const body = message.subarray(HEADER);
    const mark = attributesOf(message, whole ? POLICY : POLICY_ID).get(XFRMA_MARK);
    const direction = body.readUInt8(whole ? 160 : 60);
    const key = `${hex(body.subarray(0, SELECTOR))}/${direction}/${mark === undefined ? '' : hex(mark)}`;
    if (whole) {
      const kept = Buffer.from(message);
      kept.writeUInt16LE(NEWPOLICY, 4);
      this.policies.set(key, kept);
      return [];
    }
    const found = this.policies.get(key);
    if (found === undefined) throw errno('ENOENT', 2);
    if (type === DELPOLICY) this.policies.delete(key);
    return type === GETPOLICY ? [Buffer.from(found)] : [];
  }

  /** Packets went through the state, and others were refused. */
  count(spi: number, { packets = 0n, sequence = 0n, replays = 0, forged = 0 }): void {
    for (const [key, message] of this.states) {
      if (!key.endsWith(spi.toString(16).padStart(8, '0'))) continue;
      const body = message.subarray(HEADER);
      body.writeBigUInt64LE(packets, 168);
      body.writeUInt32LE(replays, 196);
      body.writeUInt32LE(forged, 200);
      const esn = attributesOf(message, STATE).get(XFRMA_REPLAY_ESN_VAL);
      for (const [low, high] of [
        [4, 12],
        [8, 16],
      ] as const) {
        esn?.writeUInt32LE(Number(sequence & 0xffff_ffffn), low);
        esn?.writeUInt32LE(Number(sequence >> 32n), high);
      }
    }
  }
}
