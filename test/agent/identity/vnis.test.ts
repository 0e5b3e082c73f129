// VNIs as DNS names of a certificate: there and back, and every other form refused.
import type { Vni } from '../../../agent/core/ids';
import { readVnis, vniName } from '../../../agent/identity/vnis';

test.each([[[1]], [[16777215, 7]], [[]]])('%j there and back', (vnis) => {
  const rising = [...vnis].sort((a, b) => a - b);
  expect(readVnis(vnis.map((vni) => vniName(vni as Vni)))).toEqual(vnis.length === 0 ? undefined : rising);
});

test("others' names are passed over", () => {
  expect(readVnis(['a.example', 'vni-7.example', 'vxseal.internal', vniName(9 as Vni)])).toEqual([9]);
});

test.each([
  ['zero', ['vni-0.vxseal.internal']],
  ['too large', ['vni-16777216.vxseal.internal']],
  ['a leading zero', ['vni-07.vxseal.internal']],
  ['a sign', ['vni--7.vxseal.internal']],
  ['another word', ['vnis-7.vxseal.internal']],
  ['more before it', ['x.vni-7.vxseal.internal']],
  ['a wildcard', ['*.vxseal.internal']],
  ['capitals', ['VNI-7.vxseal.internal']],
  ['capitals at the end', ['vni-7.vxseal.INTERNAL']],
  ['twice', ['vni-7.vxseal.internal', 'vni-7.vxseal.internal']],
])('%s is refused', (_what, names) => {
  expect(() => readVnis(names)).toThrow();
});
