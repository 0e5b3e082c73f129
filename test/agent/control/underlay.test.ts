import { findUnderlay } from '../../../agent/control/underlay';
import type { IpAddress } from '../../../agent/core/ids';
import type { AddressInfo, LinkInfo } from '../../../agent/ports';

const link = (ifindex: number, name: string): LinkInfo => ({
  ifindex,
  name,
  kind: '',
  mac: '02:00:00:00:00:01',
  mtuBytes: 1500,
  up: true,
  loopback: name === 'lo',
  linkIndex: 0,
  linkNsid: -1,
  gsoMaxSegs: 65535,
});
const at = (ifindex: number, address: string): AddressInfo => ({
  ifindex,
  address: address as IpAddress,
  prefixLength: 24,
});
const granted = ['2001:db8::1', '192.0.2.1'] as IpAddress[];
const [lo, eth0, eth1] = [link(1, 'lo'), link(2, 'eth0'), link(3, 'eth1')];
const links = [lo, eth0, eth1];
const auto = { devices: [], vteps: [] };

test.each<[string, Parameters<typeof findUnderlay>, object]>([
  [
    '1 granted address present',
    [auto, granted, links, [at(2, '192.0.2.1')]],
    { vteps: ['192.0.2.1'], devices: [eth0] },
  ],
  [
    '2 both families, IPv4 first',
    [auto, granted, links, [at(2, '2001:db8::1'), at(3, '192.0.2.1')]],
    { vteps: ['192.0.2.1', '2001:db8::1'], devices: [eth0, eth1] },
  ],
  [
    '3 named devices, also those without the address',
    [{ ...auto, devices: ['eth0', 'eth1'] }, granted, links, [at(3, '192.0.2.1')]],
    { devices: [eth0, eth1] },
  ],
  [
    '4 a VTEP on loopback with a named device',
    [{ ...auto, devices: ['eth0'] }, granted, links, [at(1, '192.0.2.1')]],
    { devices: [eth0] },
  ],
  [
    '5 named VTEP: the other granted one is not used',
    [
      { ...auto, vteps: ['192.0.2.1' as IpAddress] },
      granted,
      links,
      [at(2, '192.0.2.1'), at(2, '2001:db8::1')],
    ],
    { vteps: ['192.0.2.1'] },
  ],
])('%s', (_, input, expected) => {
  expect(findUnderlay(...input)).toMatchObject({ ok: true, value: expected });
});

test.each<[string, Parameters<typeof findUnderlay>, string, RegExp]>([
  [
    '6 no granted address here',
    [auto, granted, links, [at(2, '192.0.2.9')]],
    'no-vtep',
    /none of the granted VTEPs \(2001:db8::1, 192/,
  ],
  [
    '7 configured VTEP outside the grant',
    [{ ...auto, vteps: ['192.0.2.9' as IpAddress] }, granted, links, [at(2, '192.0.2.9')]],
    'no-vtep',
    /192\.0\.2\.9 is not granted/,
  ],
  [
    '8 configured VTEP not here',
    [{ ...auto, vteps: [...granted] }, granted, links, [at(2, '192.0.2.1')]],
    'no-vtep',
    /2001:db8::1 is on no device/,
  ],
  [
    '9 named device missing',
    [{ ...auto, devices: ['eth7'] }, granted, links, [at(2, '192.0.2.1')]],
    'no-device',
    /eth7 does not exist/,
  ],
  [
    '10 VTEP only on loopback',
    [auto, granted, links, [at(1, '192.0.2.1')]],
    'no-device',
    /no device carries/,
  ],
])('%s', (_, input, reason, detail) => {
  expect(findUnderlay(...input)).toMatchObject({ ok: false, reason, detail: expect.stringMatching(detail) });
});
