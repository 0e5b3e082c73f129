import { findUnderlay } from '../../../agent/control/underlay';
import type { IpAddress } from '../../../agent/core/ids';
import type { AddressInfo, LinkInfo } from '../../../agent/ports';

const link = (ifindex: number, name: string, mtuBytes = 1500): LinkInfo => ({
  ifindex,
  name,
  kind: '',
  mac: '02:00:00:00:00:01',
  mtuBytes,
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
const granted = ['192.0.2.1', '2001:db8::1'] as IpAddress[];
const links = [link(1, 'lo', 65536), link(2, 'eth0'), link(3, 'eth1', 9000)];
const auto = { devices: [], vteps: [], mtuBytes: 0 };

test.each<[string, Parameters<typeof findUnderlay>, object]>([
  [
    '1 granted address present',
    [auto, granted, links, [at(2, '192.0.2.1')]],
    { vteps: ['192.0.2.1'], underlayMtuBytes: 1500, mtuBytes: 1408 },
  ],
  [
    '2 both families: the smaller MTU of the two',
    [auto, granted, links, [at(2, '192.0.2.1'), at(2, '2001:db8::1')]],
    { vteps: granted, mtuBytes: 1388 },
  ],
  [
    '3 two devices: the smaller MTU',
    [{ ...auto, devices: ['eth0', 'eth1'] }, granted, links, [at(3, '192.0.2.1')]],
    { underlayMtuBytes: 1500 },
  ],
  ['4 jumbo', [auto, granted, links, [at(3, '192.0.2.1')]], { underlayMtuBytes: 9000, mtuBytes: 8908 }],
  [
    '5 a VTEP on loopback with a named device',
    [{ ...auto, devices: ['eth0'] }, granted, links, [at(1, '192.0.2.1')]],
    { mtuBytes: 1408 },
  ],
  [
    '6 MTU set, just fitting',
    [{ ...auto, mtuBytes: 1408 }, granted, links, [at(2, '192.0.2.1')]],
    { mtuBytes: 1408 },
  ],
])('%s', (_, input, expected) => {
  expect(findUnderlay(...input)).toMatchObject({ ok: true, value: expected });
});

test.each<[string, Parameters<typeof findUnderlay>, string, RegExp]>([
  [
    '7 no granted address here',
    [auto, granted, links, [at(2, '192.0.2.9')]],
    'no-vtep',
    /none of the granted VTEPs \(192\.0\.2\.1/,
  ],
  [
    '8 configured VTEP outside the grant',
    [{ ...auto, vteps: ['192.0.2.9' as IpAddress] }, granted, links, [at(2, '192.0.2.9')]],
    'no-vtep',
    /192\.0\.2\.9 is not granted/,
  ],
  [
    '9 configured VTEP not here',
    [{ ...auto, vteps: [...granted] }, granted, links, [at(2, '192.0.2.1')]],
    'no-vtep',
    /2001:db8::1 is on no device/,
  ],
  [
    '10 named device missing',
    [{ ...auto, devices: ['eth7'] }, granted, links, [at(2, '192.0.2.1')]],
    'no-device',
    /eth7 does not exist/,
  ],
  [
    '11 VTEP only on loopback',
    [auto, granted, links, [at(1, '192.0.2.1')]],
    'no-device',
    /no device carries/,
  ],
  [
    '12 MTU set one byte too large',
    [{ ...auto, mtuBytes: 1409 }, granted, links, [at(2, '192.0.2.1')]],
    'bad-mtu',
    /1409: at most 1408/,
  ],
  [
    '13 underlay too small',
    [auto, granted, [link(2, 'eth0', 1371)], [at(2, '192.0.2.1')]],
    'bad-mtu',
    /below 1280/,
  ],
])('%s', (_, input, reason, detail) => {
  expect(findUnderlay(...input)).toMatchObject({ ok: false, reason, detail: expect.stringMatching(detail) });
});
