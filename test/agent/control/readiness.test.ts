import { judgeReadiness, type ReadinessFacts } from '../../../agent/control/readiness';
import type { Problem } from '../../../agent/control/status';

const problem = (object: string, reason: string): Problem => ({
  object,
  reason,
  remedy: 'do',
  sinceMs: 0,
  count: 1,
});
const well: ReadinessFacts = {
  pictured: true,
  problem: () => undefined,
  certificateNotAfterMs: 1001,
  nowMs: 1000,
  busInSync: true,
  busError: '',
  deviceName: 'vxseal0',
  deviceUp: true,
  configured: true,
  epochPublished: true,
  missingHooks: [],
};
const having = (object: string, reason: string) => (asked: string) =>
  asked === object ? problem(object, reason) : undefined;

test('1 nothing in the way', () => {
  expect(judgeReadiness(well)).toEqual({ ready: true, blockers: [] });
});

test.each<[string, Partial<ReadinessFacts>, readonly string[], RegExp]>([
  ['2 certificate at its end', { certificateNotAfterMs: 1000 }, ['identity'], /1970-01-01/],
  ['3 bus not read', { busInSync: false, busError: 'no folder' }, ['bus-sync'], /no folder/],
  ['4 device missing', { deviceUp: false }, ['link'], /vxseal0/],
  [
    '5 device refused, with its reason',
    { deviceUp: false, problem: having('apply device vxseal0', 'EEXIST') },
    ['link'],
    /EEXIST/,
  ],
  ['6 no settings', { configured: false }, ['datapath'], /settings/],
  ['7 no epoch', { epochPublished: false, problem: having('own record', 'bus full') }, ['keys'], /bus full/],
  ['8 hooks, named', { missingHooks: ['seal on eth0'] }, ['hooks'], /seal on eth0$/],
  [
    '9 many hooks, five named',
    { missingHooks: ['a', 'b', 'c', 'd', 'e', 'f', 'g'] },
    ['hooks'],
    /a, b, c, d, e and 2 more/,
  ],
  [
    '10 kernel state unreadable',
    { pictured: false, problem: having('kernel state', 'EPERM') },
    ['kernel'],
    /EPERM/,
  ],
  ['11 no underlay', { pictured: false, problem: having('underlay', 'no device') }, ['link'], /no device/],
  ['12 just begun', { pictured: false }, ['datapath'], /being set up/],
  [
    '13 MTU too small for IPv6',
    { problem: having('overlay MTU', '1279: IPv6 needs 1280') },
    ['config'],
    /1280/,
  ],
  ['14 MTU cut: no blocker', { problem: having('overlay MTU', '9000 is configured, 1408 fits') }, [], /^$/],
  ['15 several at once', { busInSync: false, epochPublished: false }, ['bus-sync', 'keys'], /./],
])('%s', (_, change, names, reason) => {
  const { ready, blockers } = judgeReadiness({ ...well, ...change });
  expect(ready).toBe(names.length === 0);
  expect(blockers.map((blocker) => blocker.name)).toEqual(names);
  for (const blocker of blockers) expect(blocker.remedy).not.toBe('');
  if (names.length > 0) expect(blockers.map((blocker) => blocker.reason).join('\n')).toMatch(reason);
});
