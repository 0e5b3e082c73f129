import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseRevocations, readRevocations } from '../../../agent/identity/revoked';

test.each([
  ['1 nothing', '', [], []],
  ['2 comments and empty lines', '# a\n\n  # b\n', [], []],
  ['3 a serial with leading zeros, in capitals, with 0x', 'serial 0x00AB', ['ab'], []],
  ['4 with colons, and a comment behind it', 'serial 0a:0b # stolen', ['a0b'], []],
  ['5 a node, and spaces', '  node   node1.example ', [], ['node1.example']],
  ['6 both, with a carriage return', 'serial 1\r\nnode n1\r\n', ['1'], ['n1']],
])('%s', (_, text, serials, nodes) => {
  const revoked = parseRevocations(text, 'f');
  expect([...revoked.serials]).toEqual(serials);
  expect([...revoked.nodes]).toEqual(nodes);
});

test.each([
  ['7 no kind', 'ab12'],
  ['8 not hex', 'serial xyz'],
  ['9 no value', 'serial'],
  ['10 two values', 'serial ab cd'],
  ['11 zero', 'serial 0x'],
  ['12 not a name', 'node A_b'],
  ['13 41 digits', `serial ${'1'.repeat(41)}`],
])('%s is refused, naming the line', (_, line) => {
  expect(() => parseRevocations(`node a\n${line}\n`, 'f')).toThrow(/^f:2: not a revocation/);
});

test('a file that is missing revokes nothing; one that cannot be read is an error', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vxseal-revoked-'));
  try {
    expect((await readRevocations(join(folder, 'none'))).nodes.size).toBe(0);
    await expect(readRevocations(folder)).rejects.toMatchObject({ code: 'identity' });
    await writeFile(join(folder, 'list'), 'node n1\n');
    expect([...(await readRevocations(join(folder, 'list'))).nodes]).toEqual(['n1']);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
