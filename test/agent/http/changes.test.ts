// What counts as new between two statuses.
import type { Status } from '../../../agent/control/status';
import { changesBetween } from '../../../agent/http/changes';
import { samplePeer, samplePod, sampleStatus } from '../../fakes/status';

const problem = { object: 'bus', reason: 'gone', remedy: 'look', sinceMs: 1, count: 1 };
const blocked = { ready: false, blockers: [{ name: 'keys' as const, reason: 'none', remedy: 'wait' }] };
const base = sampleStatus();

test.each<[string, Partial<Status>, Partial<Status>, readonly (readonly [string, string, string])[]]>([
  ['nothing', {}, {}, []],
  ['counters and ages', {}, { peers: [samplePeer({ rttMs: 9, lastOpenedAgeMs: 7 })] }, []],
  ['a peer goes down', {}, { peers: [samplePeer({ state: 'mtu', why: 'w' })] }, [['peer node2', 'mtu', 'w']]],
  [
    'another reason',
    { peers: [samplePeer({ state: 'stalled', why: 'a' })] },
    { peers: [samplePeer({ state: 'stalled', why: 'b' })] },
    [['peer node2', 'stalled', 'b']],
  ],
  ['a peer comes', { peers: [] }, {}, [['peer node2', 'up', '']]],
  ['a peer goes', {}, { peers: [] }, [['peer node2', 'gone', '']]],
  ['a problem comes', {}, { problems: [problem] }, [['problem bus', 'problem', 'gone']]],
  ['a problem that counts on', { problems: [problem] }, { problems: [{ ...problem, count: 9 }] }, []],
  ['a problem goes', { problems: [problem] }, {}, [['problem bus', 'well', '']]],
  ['not ready', {}, { readiness: blocked }, [['agent', 'not ready', 'keys: none']]],
  [
    'a new epoch',
    {},
    { node: { ...base.node, epoch: { ...base.node.epoch, number: 5 } } },
    [['epoch', '5', '']],
  ],
  [
    'the bus',
    {},
    { bus: { ...base.bus, connected: false, error: 'e' } },
    [['bus directory', 'not connected', 'e']],
  ],
  [
    'a pod',
    {},
    { pods: [samplePod({ ready: false, why: 'h' })] },
    [['pod default/pod1-1', 'not ready', 'h']],
  ],
])('%s', (_name, before, after, expected) => {
  const changes = changesBetween(sampleStatus(before), sampleStatus(after), 77);
  expect(changes.map(({ object, state, reason }) => [object, state, reason])).toEqual(expected);
  expect(changes.every(({ atMs }) => atMs === 77)).toBe(true);
});
