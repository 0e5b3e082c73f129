// Our messages byte by byte against what ip(8) of iproute2 6.1 sends for the same state and policies (recorded with
// strace; test/vectors/xfrm-messages.json), and what comes back read.

import type { IpAddress, Spi } from '../../../../agent/core/ids';
import { saFingerprint } from '../../../../agent/core/keyschedule';
import {
  AF_INET,
  AF_INET6,
  decodeMessage,
  encodeDump,
  MessageType,
} from '../../../../agent/kernel/xfrm/messages';
import {
  decodePolicy,
  encodePolicy,
  encodePolicyRequest,
  type Policy,
} from '../../../../agent/kernel/xfrm/policy';
import {
  decodeState,
  encodeNewState,
  encodeStateRequest,
  type NewState,
} from '../../../../agent/kernel/xfrm/state';
import { attributesOf } from '../../../fakes/xfrm';
import vectors from '../../../vectors/xfrm-messages.json';

const HEADER = 16;
const BODY = { state: 224, stateId: 24, policy: 168, policyId: 64 } as const;
const [SRCADDR, REPLAY_ESN_VAL, SET_MARK_MASK] = [13, 23, 30];

const state: NewState = {
  destination: '192.0.2.2' as IpAddress,
  source: '192.0.2.1' as IpAddress,
  spi: 0x11223344 as Spi,
  key: Buffer.from([...Array(32).keys()]),
  salt: Buffer.from('a0a1a2a3', 'hex'),
  port: 14789,
  setMark: 0xa8000000,
  limit: 77n,
  encapPort: 4500,
};
const selector = {
  family: AF_INET6,
  ends: { source: '2001:db8::1' as IpAddress, destination: '2001:db8::2' as IpAddress },
  port: 14789,
};
const sealPolicy: Policy = {
  direction: 'out',
  selector,
  mark: { value: 0xa400002a, mask: 0xffff3fff },
  rule: { spi: state.spi },
};
const refusePolicy: Policy = {
  direction: 'out',
  selector: { family: AF_INET, ends: undefined, port: 14789 },
  mark: undefined,
  rule: 'refuse',
};

/** Body, and attributes by number, as hex. */
function parts(
  message: Buffer,
  body: number,
): { readonly body: string; readonly attributes: Map<number, string> } {
  const attributes = [...attributesOf(message, body)].map(
    ([kind, value]) => [kind, value.toString('hex')] as const,
  );
  return { body: message.subarray(HEADER, HEADER + body).toString('hex'), attributes: new Map(attributes) };
}

/** The recorded messages have no header: their numbers are not ours. */
const recorded = (name: keyof typeof vectors, body: number) =>
  parts(Buffer.concat([Buffer.alloc(HEADER), Buffer.from(vectors[name], 'hex')]), body);

describe('as ip(8) writes them', () => {
  test('a new state', () => {
    const [own, theirs] = [parts(encodeNewState(state), BODY.state), recorded('newState', BODY.state)];
    expect(own.body).toBe(theirs.body);
    // ip leaves the bitmap of the window to the kernel, and the mask of the mark, which is then all of it.
    const window = own.attributes.get(REPLAY_ESN_VAL) ?? '';
    expect(window.slice(0, 48)).toBe(theirs.attributes.get(REPLAY_ESN_VAL));
    expect(window.slice(48)).toBe('00'.repeat(512));
    expect(own.attributes.get(SET_MARK_MASK)).toBe('ffffffff');
    for (const kind of [REPLAY_ESN_VAL, SET_MARK_MASK])
      for (const { attributes } of [own, theirs]) attributes.delete(kind);
    expect(own.attributes).toEqual(theirs.attributes);
  });

  test.each([
    ['to seal', sealPolicy, 'sealPolicy'],
    ['to refuse', refusePolicy, 'refusePolicy'],
  ] as const)('a policy %s', (_, policy, name) => {
    expect(parts(encodePolicy(policy), BODY.policy)).toEqual(recorded(name, BODY.policy));
  });

  test('the removal of a policy', () => {
    const own = parts(encodePolicyRequest('DELPOLICY', sealPolicy), BODY.policyId);
    expect(own).toEqual(recorded('removePolicy', BODY.policyId));
  });

  test('the removal of a state', () => {
    const theirs = recorded('removeState', BODY.stateId);
    theirs.attributes.delete(SRCADDR); // destination and SPI name it already
    expect(parts(encodeStateRequest('DELSA', state), BODY.stateId)).toEqual(theirs);
  });

  test('a dump is a header alone', () => {
    expect(encodeDump(MessageType.GETSA).toString('hex')).toBe('10000000120001030000000000000000');
  });
});

describe('read back', () => {
  test('a state', () => {
    expect(decodeState(encodeNewState(state))).toEqual({
      destination: state.destination,
      source: state.source,
      spi: state.spi,
      setMark: 0xa8000000,
      fingerprint: saFingerprint(state.key, state.salt),
      limit: 77n,
      sent: 0n,
      top: 0n,
      packets: 0n,
      replays: 0,
      forged: 0,
    });
  });

  test('an unlimited state over IPv6', () => {
    const { limit: _, encapPort: __, ...receiving } = state;
    const ends = selector.ends;
    const found = decodeState(encodeNewState({ ...receiving, ...ends, setMark: 0xa400002a }));
    expect(found).toMatchObject({ ...ends, setMark: 0xa400002a, limit: 0xffff_ffff_ffff_ffffn });
  });

  test.each([sealPolicy, refusePolicy])('a policy', (policy) => {
    const message = encodePolicy(policy);
    message.writeUInt16LE(MessageType.NEWPOLICY, 4); // as the kernel tells of it
    expect(decodePolicy(message)).toEqual(policy);
  });

  const changed = (message: Buffer, change: (bytes: Buffer) => void): Buffer => {
    change(message);
    return message;
  };
  test.each([
    ['another reqid', (bytes: Buffer) => bytes.writeUInt32LE(7, HEADER + 208)],
    ['another type', (bytes: Buffer) => bytes.writeUInt16LE(MessageType.DELSA, 4)],
    [
      'an attribute that is longer than the message',
      (bytes: Buffer) => bytes.writeUInt16LE(9999, HEADER + 224),
    ],
  ])('no state of ours: %s', (_, change) => {
    expect(decodeState(changed(encodeNewState(state), change))).toBeUndefined();
  });
  test.each([
    ['another priority of a refusal', refusePolicy, (bytes: Buffer) => bytes.writeUInt32LE(1, HEADER + 152)],
    ['another reqid', sealPolicy, (bytes: Buffer) => bytes.writeUInt32LE(7, HEADER + 168 + 4 + 44)],
    ['TCP', sealPolicy, (bytes: Buffer) => bytes.writeUInt8(6, HEADER + 44)],
    ['a range of addresses', sealPolicy, (bytes: Buffer) => bytes.writeUInt16LE(0x4040, HEADER + 42)],
    ['forwarding', refusePolicy, (bytes: Buffer) => bytes.writeUInt8(2, HEADER + 160)],
  ] as const)('no policy of ours: %s', (_, policy, change) => {
    const message = encodePolicy(policy);
    message.writeUInt16LE(MessageType.NEWPOLICY, 4);
    expect(decodePolicy(changed(message, change))).toBeUndefined();
  });

  test('a message shorter than its structure', () => {
    expect(decodeMessage(encodeNewState(state).subarray(0, 100), BODY.state)).toBeUndefined();
  });
});
