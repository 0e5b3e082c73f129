// Packets that a Linux kernel's own IPsec wrote, opened by our programs (docs/wire-format.md §7).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openEsp, parseOuter } from './esp-decoder';
import { ESN, RAW, World, XDP_DROP, XDP_PASS } from './world';

interface Vector {
  readonly spi: number;
  readonly seq: number;
  readonly seqHi?: number;
  readonly frame: string;
  readonly plaintext: string;
  readonly innerFrame: string;
}
interface VectorFile {
  readonly name: string;
  readonly encap: 'udp' | 'raw';
  readonly keyAndSalt: string;
  readonly flags: string;
  readonly vectors: readonly Vector[];
}

const FOLDER = join(__dirname, '../vectors');
const files = readdirSync(FOLDER)
  .filter((name) => name.startsWith('esp-'))
  .map((name) => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as VectorFile);

const address = (hex: string): string =>
  hex.length === 8
    ? [...Buffer.from(hex, 'hex')].join('.')
    : (hex.match(/.{4}/g) ?? []).map((w) => Number.parseInt(w, 16).toString(16)).join(':');

let world: World;
beforeAll(() => {
  world = new World('bpf/open');
  world.configure({ vxlanPort: 4789 });
});
afterAll(() => world.close());

/** Installs the SAs of a file, the windows just below the first packet of each. */
function install(file: VectorFile, spiOffset = 0): void {
  const secret = Buffer.from(file.keyAndSalt.replace('0x', ''), 'hex');
  const flags = (file.flags.includes('esn') ? ESN : 0) | (file.encap === 'raw' ? RAW : 0);
  const done = new Set<number>();
  for (const v of file.vectors) {
    if (done.has(v.spi)) continue;
    done.add(v.spi);
    const outer = parseOuter(Buffer.from(v.frame, 'hex'));
    const top = ((BigInt(v.seqHi ?? 0) << 32n) | BigInt(v.seq)) - 1n;
    const sa = { spi: v.spi + spiOffset, key: secret.subarray(0, 32), salt: secret.subarray(32), flags };
    world.rxSa(42, 7, address(outer.source), sa, file.name.includes('wrap') ? top : 0n);
  }
}

test('there are vectors for both families, raw ESP and the wrap of the low half', () => {
  expect(files.map((f) => f.name).sort()).toEqual([
    'cc20p-esn-v4-udp',
    'cc20p-esnwrap-v4-udp',
    'cc20p-v4-raw',
    'cc20p-v4-udp',
    'cc20p-v6-udp',
  ]);
});

describe.each(files.map((f) => [f.name, f] as const))('%s', (_name, file) => {
  test.each(file.vectors.map((v, i) => [i, v] as const))('packet %i', (i, vector) => {
    if (i === 0) install(file);
    const frame = Buffer.from(vector.frame, 'hex');
    const inner = Buffer.from(vector.innerFrame, 'hex');

    // 1 the decoder of the tests reads it too (so the decoder is right)
    const secret = Buffer.from(file.keyAndSalt.replace('0x', ''), 'hex');
    const esn = file.flags.includes('esn');
    const keys = { key: secret.subarray(0, 32), salt: secret.subarray(32), esn };
    const plain = Buffer.from(vector.plaintext, 'hex');
    const decoded = openEsp(parseOuter(frame).esp, keys, vector.seqHi ?? 0).payload;
    expect(decoded).toEqual(plain.subarray(0, decoded.length));

    // 2 one flipped bit is refused, and does not move the window
    const flipped = Buffer.from(frame);
    flipped.writeUInt8(flipped.readUInt8(frame.length - 20) ^ 0x10, frame.length - 20);
    expect(world.xdp('open_xdp', flipped).retval).toBe(XDP_DROP);
    expect(world.drops()).toEqual(['ingress:bad_icv@7']);

    // 3 our program opens it to the same inner frame
    const opened = world.xdp('open_xdp', frame);
    expect(world.drops()).toEqual([]);
    expect(opened.retval).toBe(XDP_PASS);
    expect(opened.dataOut.subarray(opened.dataOut.length - inner.length)).toEqual(inner);

    // 4 and only once
    expect(world.xdp('open_xdp', frame).retval).toBe(XDP_DROP);
    expect(world.drops()).toEqual(['ingress:replay@7']);
  });
});
