// Who has lately sent under keys that we do not have.
import { UnknownKeys } from '../../../agent/control/unknownkeys';
import type { PeerNumber } from '../../../agent/core/ids';
import type { DropCount } from '../../../agent/ports';
import { ManualClock } from '../../fakes/clock';

const [A, B, NONE] = [1, 2, 0] as PeerNumber[] as [PeerNumber, PeerNumber, PeerNumber];
const count = (peer: PeerNumber, packets: bigint, reason = 'unknown_spi'): DropCount => ({
  peer,
  reason,
  direction: 'ingress',
  packets,
  bytes: 0n,
});

test('a rise counts for the window; what stood before, other reasons and strangers do not', async () => {
  const clock = new ManualClock();
  const keys = new UnknownKeys(clock, 10_000);
  keys.note([count(A, 500n)]);
  expect(keys.sentLately(A)).toBe(false);
  keys.note([count(A, 501n), count(B, 1n, 'replay'), count(NONE, 5n)]);
  keys.note([count(A, 501n), count(B, 9n, 'replay'), count(NONE, 9n)]);
  expect([keys.sentLately(A), keys.sentLately(B), keys.sentLately(NONE)]).toEqual([true, false, false]);
  await clock.advance(9_999);
  keys.note([count(A, 501n)]);
  expect(keys.sentLately(A)).toBe(true);
  await clock.advance(1);
  expect(keys.sentLately(A)).toBe(false);
  keys.note([count(A, 502n)]);
  expect(keys.sentLately(A)).toBe(true);
});
