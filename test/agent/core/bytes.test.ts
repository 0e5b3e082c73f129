import { isIPv4, isIPv6 } from 'node:net';
import {
  addressBytes,
  addressFamily,
  formatAddress,
  formatMac,
  formatPrefix,
  hostPrefix,
  macBytes,
  networkPrefix,
  parseAddress,
  parseMac,
  parsePrefix,
  prefixBytes,
  prefixContains,
  prefixCoversMapped,
  prefixOverlaps,
} from '../../../agent/core/bytes';
import type { IpAddress, Prefix } from '../../../agent/core/ids';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const ip = (text: string): IpAddress => text as IpAddress;
const px = (text: string): Prefix => text as Prefix;

/** Numerical Recipes' generator: the same sequence on every run. */
function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('parseAddress', () => {
  test.each([
    [1, '0.0.0.0', '0.0.0.0'],
    [2, '255.255.255.255', '255.255.255.255'],
    [3, '::', '::'],
    [4, '::1', '::1'],
    [5, 'FD00:0:0:1:0:0:0:1', 'fd00:0:0:1::1'],
    [6, '2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    [7, '2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    [8, '2001:0db8::0001', '2001:db8::1'],
    [9, '64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    [10, '1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    [11, '::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    [12, '1::', '1::'],
  ])('%i: %s', (_n, text, canonical) => {
    const parsed = parseAddress(text);
    expect(parsed.ok ? parsed.value : undefined).toBe(canonical);
  });

  test.each([
    [1, ''],
    [2, '1.2.3'],
    [3, '1.2.3.256'],
    [4, '01.2.3.4'],
    [5, '1.2.3.4.5'],
    [6, ' 1.2.3.4'],
    [7, '1.2.3.4\n'],
    [8, '0x1.2.3.4'],
    [9, ':::'],
    [10, '1::2::3'],
    [11, '1:2:3:4:5:6:7'],
    [12, '1:2:3:4:5:6:7:8:9'],
    [13, '1:2:3:4:5:6:7:8::'],
    [14, '::12345'],
    [15, 'fe80::1%eth0'],
    [16, '::1.2.3'],
    [17, '1.2.3.4::'],
    [18, '::ffff:10.0.0.1'],
    [19, '::ffff:a00:1'],
    [20, '1:'],
    [21, ':1'],
    [22, 'g::'],
    [23, `::${'0'.repeat(100_000)}`],
  ])('refuses %i', (_n, text) => {
    const parsed = parseAddress(text);
    expect(parsed.ok ? parsed.value : parsed.reason).toBe('bad-address');
    expect(parsed.ok ? 0 : parsed.detail.length).toBeLessThan(200);
  });

  test('agrees with the platform parser on random text', () => {
    const random = seeded(1);
    const alphabet = '0123456789abcdefF::::..1';
    let accepted = 0;
    for (let i = 0; i < 20_000; i++) {
      // Half the samples start from something valid, so that the interesting neighbourhood is reached.
      let text = random(2) === 0 ? '2001:db8::1.2.3.4' : '1:2:3:4:5:6:7:8';
      for (let edits = random(5); edits >= 0; edits--) {
        const at = random(text.length + 1);
        const piece = alphabet[random(alphabet.length)] ?? '';
        text = text.slice(0, at) + (random(3) === 0 ? '' : piece) + text.slice(at + random(3));
      }
      const parsed = parseAddress(text);
      const mapped = isIPv6(text) && /^\[::ffff:/.test(new URL(`http://[${text}]`).hostname);
      expect([text, parsed.ok]).toEqual([text, isIPv4(text) || (isIPv6(text) && !mapped)]);
      if (parsed.ok && isIPv6(text)) {
        expect(`[${parsed.value}]`).toBe(new URL(`http://[${text}]`).hostname);
        accepted++;
      }
    }
    expect(accepted).toBeGreaterThan(500);
  });
});

describe('addresses and bytes', () => {
  test('IPv4 is mapped', () => {
    expect(hex(addressBytes(ip('10.1.2.3')))).toBe('00000000000000000000ffff0a010203');
    expect(formatAddress(addressBytes(ip('10.1.2.3')))).toBe('10.1.2.3');
    expect(addressFamily(ip('10.1.2.3'))).toBe(4);
    expect(addressFamily(ip('fd00::1'))).toBe(6);
  });

  test('every run of zero groups survives, and is what the platform prints', () => {
    for (let mask = 0; mask < 256; mask++) {
      const bytes = new Uint8Array(16);
      for (let group = 0; group < 8; group++)
        if ((mask & (1 << group)) !== 0) bytes[2 * group + 1] = group + 1;
      const text = formatAddress(bytes);
      expect(`[${text}]`).toBe(new URL(`http://[${text}]`).hostname);
      expect(hex(addressBytes(text))).toBe(hex(bytes));
    }
  });

  test('a wrong length or text is a bug and throws', () => {
    expect(() => formatAddress(new Uint8Array(4))).toThrow(RangeError);
    expect(() => addressBytes(ip('nonsense'))).toThrow(RangeError);
  });
});

describe('prefixes', () => {
  test.each([
    [1, '10.1.0.0/16', '10.1.0.0/16'],
    [2, '0.0.0.0/0', '0.0.0.0/0'],
    [3, '10.1.2.3/32', '10.1.2.3/32'],
    [4, 'FD00:1:0::/48', 'fd00:1::/48'],
    [5, '::/0', '::/0'],
    [6, '::1/128', '::1/128'],
    [7, '10.1.0.1/16', undefined],
    [8, '10.1.0.0/33', undefined],
    [9, 'fd00::/129', undefined],
    [10, 'fd00::1/64', undefined],
    [11, '10.1.0.0', undefined],
    [12, '10.1.0.0/', undefined],
    [13, '10.1.0.0/016', undefined],
    [14, '10.1.0.0/+8', undefined],
    [15, '10.1.0.0/8/8', undefined],
    [16, '::ffff:10.0.0.0/104', undefined],
    [17, '128.0.0.0/1', '128.0.0.0/1'],
    [18, '128.0.0.0/0', undefined],
  ])('%i: %s', (_n, text, canonical) => {
    const parsed = parsePrefix(text);
    expect(parsed.ok ? parsed.value : undefined).toBe(canonical);
  });

  test('bits count from the mapped form', () => {
    expect(prefixBytes(px('10.1.0.0/16')).mappedBits).toBe(112);
    expect(prefixBytes(px('fd00::/16')).mappedBits).toBe(16);
    for (const text of ['10.1.0.0/16', '0.0.0.0/0', 'fd00::/16', '::/0', '::1/128']) {
      const { bytes, mappedBits } = prefixBytes(px(text));
      expect(formatPrefix(bytes, mappedBits)).toBe(text);
    }
    expect(() => prefixBytes(px('10.0.0.0'))).toThrow(RangeError);
  });

  test.each([
    [1, '10.0.0.0/8', '10.1.0.0/16', true],
    [2, '10.1.0.0/16', '10.0.0.0/8', false],
    [3, '10.1.0.0/16', '10.1.0.0/16', true],
    [4, '10.1.0.0/16', '10.2.0.0/24', false],
    [5, '0.0.0.0/0', 'fd00::/8', false],
    [6, '::/0', '10.0.0.0/8', false],
    [7, '::/0', 'fd00::/8', true],
    [8, '10.1.0.0/23', '10.1.1.0/24', true],
    [9, '10.1.0.0/23', '10.1.2.0/24', false],
  ])('contains %i: %s, %s', (_n, outer, inner, expected) => {
    expect(prefixContains(px(outer), px(inner))).toBe(expected);
  });

  test('contains and overlaps agree with comparing bit strings', () => {
    const random = seeded(2);
    const bits = (prefix: Prefix): string => {
      const { bytes, mappedBits } = prefixBytes(prefix);
      return Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0'))
        .join('')
        .slice(0, mappedBits);
    };
    let hits = 0;
    for (let i = 0; i < 20_000; i++) {
      const pick = (): Prefix =>
        networkPrefix(ip(`10.${random(2)}.${random(2) * 128}.${random(2)}`), random(33));
      const [a, b] = [pick(), pick()];
      expect(prefixContains(a, b)).toBe(bits(b).startsWith(bits(a)));
      expect(prefixOverlaps(a, b)).toBe(bits(b).startsWith(bits(a)) || bits(a).startsWith(bits(b)));
      if (prefixContains(a, b)) hits++;
    }
    expect(hits).toBeGreaterThan(500);
  });

  test('host and network prefixes', () => {
    expect(hostPrefix(ip('10.1.2.3'))).toBe('10.1.2.3/32');
    expect(hostPrefix(ip('fd00::1'))).toBe('fd00::1/128');
    expect(networkPrefix(ip('10.1.2.3'), 0)).toBe('0.0.0.0/0');
    expect(networkPrefix(ip('fd00::abcd'), 113)).toBe('fd00::8000/113');
    expect(() => networkPrefix(ip('10.1.2.3'), 33)).toThrow(RangeError);
  });

  test.each([
    [1, '::/0', true],
    [2, '::/80', true],
    [3, '::/81', false],
    [4, '0:0:0:0:0:fffe::/95', true],
    [5, '10.0.0.0/8', false],
    [6, '0.0.0.0/0', false],
    [7, 'fd00::/8', false],
    [8, '8000::/1', false],
  ])('covers the mapped range %i: %s', (_n, text, expected) => {
    expect(prefixCoversMapped(px(text))).toBe(expected);
  });
});

describe('MAC addresses', () => {
  test('round trip', () => {
    const parsed = parseMac('02:AB:cd:00:01:ff');
    expect(parsed.ok ? parsed.value : undefined).toBe('02:ab:cd:00:01:ff');
    expect(formatMac(macBytes('02:ab:cd:00:01:ff'))).toBe('02:ab:cd:00:01:ff');
  });

  test.each([
    '',
    '02:ab:cd:00:01',
    '02:ab:cd:00:01:ff:00',
    '2:ab:cd:0:1:ff',
    '02-ab-cd-00-01-ff',
    '02:ab:cd:00:01:fg',
  ])('refuses %s', (text) => {
    expect(parseMac(text).ok).toBe(false);
    expect(() => macBytes(text)).toThrow(RangeError);
  });

  test('a wrong length throws', () => expect(() => formatMac(new Uint8Array(7))).toThrow(RangeError));
});
