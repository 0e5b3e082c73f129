// The grammar of the runtime's calls: what is taken, what is refused and by which code, and what is passed on.
import { CNI_VERSIONS, type CniCall, decodeCniCall, passOn } from '../../../agent/core/cni';
import { seeded } from './random';

const ENVIRONMENT = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'abc123',
  CNI_NETNS: '/run/netns/p',
  CNI_IFNAME: 'eth0',
};
const CONFIG = {
  cniVersion: '1.0.0',
  name: 'cbr0',
  type: 'vxseal',
  prevResult: { cniVersion: '1.0.0', interfaces: [] },
};

function request(
  environment: Readonly<Record<string, string | undefined>> = {},
  config: object | string = {},
): Uint8Array {
  const variables = Object.entries({ ...ENVIRONMENT, ...environment }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${value}\0`],
  );
  const text = typeof config === 'string' ? config : JSON.stringify({ ...CONFIG, ...config });
  return Buffer.from(`${variables.join('')}\0${text}`);
}

function taken(bytes: Uint8Array): CniCall {
  const decoded = decodeCniCall(bytes);
  if (!decoded.ok) throw new Error(decoded.detail);
  return decoded.value;
}

test('1 a kubelet call says which pod it is', () => {
  const call = taken(
    request(
      { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u-1' },
      { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { a: 'b', number: 3 } }, vni: 7 },
    ),
  );
  expect(call).toEqual({
    command: 'ADD',
    cniVersion: '1.0.0',
    attachment: { network: 'cbr0', containerId: 'abc123', ifname: 'eth0' },
    netnsPath: '/run/netns/p',
    pod: { name: 'web-1', namespace: 'shop', uid: 'u-1' },
    annotations: { a: 'b' },
    vni: 7,
    mode: undefined,
    prevResult: CONFIG.prevResult,
    valid: undefined,
  });
});

test('2 without names the container is its id in the network', () => {
  expect(taken(request({ CNI_ARGS: 'K8S_POD_NAME=../x;K8S_POD_UID' })).pod).toEqual({
    name: 'abc123',
    namespace: 'cbr0',
    uid: '',
  });
});

test.each(CNI_VERSIONS.map((version) => [version]))('3 version %s is taken', (cniVersion) => {
  expect(taken(request({}, { cniVersion })).cniVersion).toBe(cniVersion);
});

describe('4 what is refused', () => {
  test.each<[string, string, Uint8Array]>([
    ['no variables', 'decode', Buffer.alloc(0)],
    ['cut off in a variable', 'decode', Buffer.from('CNI_COMMAND=ADD')],
    ['no JSON', 'decode', request({}, '{"name":')],
    ['a list', 'decode', request({}, '[]')],
    ['null', 'decode', request({}, 'null')],
    ['no command', 'environment', request({ CNI_COMMAND: undefined })],
    ['another command', 'environment', request({ CNI_COMMAND: 'VERSION' })],
    ['no container', 'environment', request({ CNI_CONTAINERID: undefined })],
    ['a container that is a path', 'environment', request({ CNI_CONTAINERID: '../../x' })],
    ['no device', 'environment', request({ CNI_IFNAME: '' })],
    ['a device of 16 characters', 'environment', request({ CNI_IFNAME: 'a'.repeat(16) })],
    ['a device with a slash', 'environment', request({ CNI_IFNAME: 'a/b' })],
    ['the device ..', 'environment', request({ CNI_IFNAME: '..' })],
    ['no namespace', 'environment', request({ CNI_NETNS: undefined })],
    ['a relative namespace', 'environment', request({ CNI_NETNS: 'p' })],
    ['version 0.2.0', 'version', request({}, { cniVersion: '0.2.0' })],
    ['version 2.0.0', 'version', request({}, { cniVersion: '2.0.0' })],
    ['no version', 'version', request({}, { cniVersion: undefined })],
    ['no name', 'config', request({}, { name: undefined })],
    ['a name with a slash', 'config', request({}, { name: 'a/b' })],
    ['VNI 0', 'config', request({}, { vni: 0 })],
    ['VNI 2^24', 'config', request({}, { vni: 2 ** 24 })],
    ['a VNI in quotes', 'config', request({}, { vni: '7' })],
    ['a mistyped key', 'unsupportedField', request({}, { vin: 7 })],
    ['no former result', 'config', request({}, { prevResult: undefined })],
    [
      'GC with a list that is none',
      'config',
      request({ CNI_COMMAND: 'GC' }, { 'cni.dev/valid-attachments': {} }),
    ],
    [
      'GC with half an entry',
      'config',
      request({ CNI_COMMAND: 'GC' }, { 'cni.dev/valid-attachments': [{ containerID: 'a' }] }),
    ],
  ])('%s', (_name, reason, bytes) => {
    expect(decodeCniCall(bytes)).toMatchObject({ ok: false, reason });
  });
});

test('5 what is at a limit is taken', () => {
  expect(taken(request({ CNI_IFNAME: 'a'.repeat(15) }, { vni: 2 ** 24 - 1 })).vni).toBe(2 ** 24 - 1);
  expect(taken(request({}, { 'cni.dev/other': 1, args: {}, dns: {} })).vni).toBeUndefined();
});

test('6 DEL needs neither namespace nor result, and minds no stray key', () => {
  const bytes = request(
    { CNI_COMMAND: 'DEL', CNI_NETNS: undefined },
    { prevResult: undefined, vin: 7, vni: 'x' },
  );
  expect(taken(bytes)).toMatchObject({ command: 'DEL', netnsPath: '', prevResult: undefined });
});

test('7 GC says what is still there', () => {
  const attachments = [
    { containerID: 'a', ifname: 'eth0' },
    { containerID: 'b', ifname: 'net1' },
  ];
  for (const key of ['cni.dev/valid-attachments', 'cni.dev/attachments'])
    expect(taken(request({ CNI_COMMAND: 'GC' }, { [key]: attachments })).valid).toEqual([
      { containerId: 'a', ifname: 'eth0' },
      { containerId: 'b', ifname: 'net1' },
    ]);
});

test('7a an empty list may be null, and says that nothing is there', () => {
  for (const empty of [null, []])
    expect(taken(request({ CNI_COMMAND: 'GC' }, { 'cni.dev/valid-attachments': empty })).valid).toEqual([]);
});

test('8 the former result is passed on as it came; MTUs that we lowered are told', () => {
  const prevResult = {
    cniVersion: '1.1.0',
    interfaces: [
      { name: 'veth1', mtu: 9000 },
      { name: 'eth0', sandbox: '/run/netns/p', mtu: 9000 },
      { name: 'eth0', sandbox: '/run/netns/other', mtu: 9000 },
    ],
    routes: [{ dst: '0.0.0.0/0', mtu: 9000 }, { dst: '10.0.0.0/8', mtu: 1280 }, { dst: '::/0' }],
    ips: [{ address: '10.1.0.5/24' }],
    'x.example/more': { deep: [1] },
  };
  const call = taken(request({}, { cniVersion: '1.1.0', prevResult }));
  expect(passOn(call, 1408)).toEqual({
    ...prevResult,
    interfaces: [
      { name: 'veth1', mtu: 9000 },
      { name: 'eth0', sandbox: '/run/netns/p', mtu: 1408 },
      { name: 'eth0', sandbox: '/run/netns/other', mtu: 9000 },
    ],
    routes: [{ dst: '0.0.0.0/0', mtu: 1408 }, { dst: '10.0.0.0/8', mtu: 1280 }, { dst: '::/0' }],
  });
  expect(passOn(taken(request({}, { prevResult: { ips: [] } })), 1408)).toEqual({
    cniVersion: '1.0.0',
    ips: [],
  });
});

test('9 whatever comes, nothing throws', () => {
  const random = seeded(5);
  const good = request({ CNI_ARGS: 'K8S_POD_NAME=a;;=;K8S_POD_UID=b' }, { runtimeConfig: {}, vni: 3 });
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(good);
    for (let change = 0; change <= random() * 8; change++)
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const decoded = decodeCniCall(bytes.subarray(0, Math.ceil(random() * bytes.length)));
    if (!decoded.ok) refused += 1;
  }
  expect(refused).toBeGreaterThan(1000);
});
