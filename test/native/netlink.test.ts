// netlinkRequest against the kernel's own tables: whole answers, the kernel's errors, and what is no request.
import { loadNative } from '../../agent/kernel/native';
import { RANGE_ERROR, TYPE_ERROR } from './scene';

const NETLINK_ROUTE = 0;
const [RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK] = [16, 17, 18];
const [NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP] = [1, 4, 0x300];
const LINK_HEADER = 16;
const native = loadNative();

function message(type: number, flags: number, ifindex = 0): Buffer {
  const bytes = Buffer.alloc(16 + LINK_HEADER);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(flags, 6);
  bytes.writeInt32LE(ifindex, 20);
  return bytes;
}

const ask = (bytes: Buffer) => native.netlinkRequest(NETLINK_ROUTE, bytes);

test('a dump is whole, each message with its header', () => {
  const answers = ask(message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP));
  expect(answers.length).toBeGreaterThan(0);
  for (const answer of answers) {
    expect(answer.readUInt32LE(0)).toBe(answer.length);
    expect(answer.readUInt16LE(4)).toBe(RTM_NEWLINK);
  }
  expect(answers.some((answer) => answer.readInt32LE(20) === 1)).toBe(true); // loopback
});

test('a question for one object: its message, without the acknowledgement', () => {
  const answers = ask(message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, 1));
  expect(answers).toHaveLength(1);
  expect(answers[0]?.readInt32LE(20)).toBe(1);
});

test("the kernel's error is thrown with its code", () => {
  const thrown = (bytes: Buffer): unknown => {
    try {
      return ask(bytes);
    } catch (cause) {
      return cause;
    }
  };
  const absent = message(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 0x7ffffff0);
  expect(thrown(absent)).toMatchObject({ code: 'ENODEV', errno: 19 });
  const unknown = message(1000, NLM_F_REQUEST | NLM_F_ACK);
  expect(thrown(unknown)).toMatchObject({ code: 'EOPNOTSUPP' });
});

test('what would never be answered, or is no message, is refused before it is sent', () => {
  const call = native as unknown as { netlinkRequest(...args: unknown[]): unknown };
  expect(() => ask(message(RTM_GETLINK, NLM_F_REQUEST))).toThrow(RANGE_ERROR);
  expect(() => ask(message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, 1).subarray(0, 20))).toThrow(RANGE_ERROR);
  expect(() => ask(Buffer.alloc(15))).toThrow(RANGE_ERROR);
  expect(() => call.netlinkRequest(32, message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK))).toThrow(RANGE_ERROR);
  expect(() => call.netlinkRequest(0, 'message')).toThrow(TYPE_ERROR);
});
