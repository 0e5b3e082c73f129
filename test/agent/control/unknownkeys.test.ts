// From where packets came lately under keys that we do not have.
import { UnknownKeys } from '../../../agent/control/unknownkeys';
import type { PeerNumber } from '../../../agent/core/ids';
import type { FlowReport, IpAddress } from '../../../agent/ports';
import { ManualClock } from '../../fakes/clock';

const ip = (text: string): IpAddress => text as IpAddress;
const report = (source: string | undefined, reason: string | undefined = 'unknown_spi'): FlowReport => ({
  peer: 0 as PeerNumber,
  atNs: 0n,
  reason,
  direction: 'ingress',
  vni: 0,
  ifindex: 1,
  outer: true,
  source: source === undefined ? undefined : ip(source),
  destination: undefined,
  protocol: 17,
  sourcePort: 1,
  destinationPort: 4500,
  bytes: 100,
  unreported: 0,
});

function make(): { clock: ManualClock; keys: UnknownKeys; tell: (report: FlowReport) => void } {
  const clock = new ManualClock();
  const listeners: ((report: FlowReport) => void)[] = [];
  const keys = new UnknownKeys(clock, { onFlow: (listener) => void listeners.push(listener) }, 10_000);
  return { clock, keys, tell: (each) => listeners.forEach((listener) => void listener(each)) };
}

test('a packet counts for the window; other reasons, other addresses and what is not IP do not', async () => {
  const { clock, keys, tell } = make();
  tell(report('192.0.2.2'));
  tell(report('192.0.2.3', 'replay'));
  tell(report(undefined));
  expect(keys.usedLately(ip('192.0.2.2'))).toBe(true);
  expect(keys.usedLately(ip('192.0.2.3'))).toBe(false);
  await clock.advance(9_999);
  expect(keys.usedLately(ip('192.0.2.2'))).toBe(true);
  await clock.advance(1);
  expect(keys.usedLately(ip('192.0.2.2'))).toBe(false);
  tell(report('192.0.2.2'));
  expect(keys.usedLately(ip('192.0.2.2'))).toBe(true);
});

test('a flood of forged addresses keeps the newest', () => {
  const { keys, tell } = make();
  for (let n = 0; n < 1000; n++) tell(report(`10.0.${n >> 8}.${n & 255}`));
  expect(keys.usedLately(ip('10.0.0.0'))).toBe(false);
  expect(keys.usedLately(ip('10.0.2.231'))).toBe(false); // 743: one more than fits
  expect(keys.usedLately(ip('10.0.2.232'))).toBe(true);
  expect(keys.usedLately(ip('10.0.3.231'))).toBe(true);
});
