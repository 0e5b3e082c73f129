// Command lines of scripts/lab: each form of the stable interface, and each way to get it wrong.
import { PLAIN_SHAPE } from './layout';
import { parseCommand, UsageError } from './options';

const parse = (line: string) => parseCommand(line.split(' ').filter((word) => word !== ''));

test.each([
  ['', { verb: 'up', name: 'vxs', nodes: 3, pods: 1, shape: PLAIN_SHAPE, once: false, keys: false }],
  ['up', { verb: 'up', name: 'vxs', nodes: 3, pods: 1, shape: PLAIN_SHAPE, once: false, keys: false }],
  [
    '--image /image',
    {
      verb: 'up',
      name: 'vxs',
      nodes: 3,
      pods: 1,
      shape: { ...PLAIN_SHAPE, image: '/image' },
      once: false,
      keys: false,
    },
  ],
  ['--once', { verb: 'up', name: 'vxs', nodes: 3, pods: 1, shape: PLAIN_SHAPE, once: true, keys: false }],
  [
    'up --name a --nodes 5 --pods 2',
    { verb: 'up', name: 'a', nodes: 5, pods: 2, shape: PLAIN_SHAPE, once: false, keys: false },
  ],
  [
    '--name=a-1 --family 4 --bus directory --tenants 1',
    { verb: 'up', name: 'a-1', nodes: 3, pods: 1, shape: PLAIN_SHAPE, once: false, keys: false },
  ],
  ['up --keys', { verb: 'up', name: 'vxs', nodes: 3, pods: 1, shape: PLAIN_SHAPE, once: false, keys: true }],
  ['keys --name a', { verb: 'keys', name: 'a' }],
  ['down --name a', { verb: 'down', name: 'a' }],
  ['exec node2 -- ip -4 addr', { verb: 'exec', name: 'vxs', target: 'node2', argv: ['ip', '-4', 'addr'] }],
  [
    'exec --name a pod2-1 -- ls --once',
    { verb: 'exec', name: 'a', target: 'pod2-1', argv: ['ls', '--once'] },
  ],
  ['vxseal node2 peers --json', { verb: 'vxseal', name: 'vxs', target: 'node2', argv: ['peers', '--json'] }],
  ['vxseal --name a node2', { verb: 'vxseal', name: 'a', target: 'node2', argv: [] }],
  ['addr pod2-1', { verb: 'addr', name: 'vxs', target: 'pod2-1' }],
  ['agent --name a node2 kill', { verb: 'agent', name: 'a', target: 'node2', action: 'kill' }],
])('%p is understood', (line, expected) => {
  expect(parse(line)).toEqual(expected);
});

test.each([
  ['--family 6', { overlay: [6], underlay: [6], mixed: false }],
  ['--family dual', { overlay: [4, 6], underlay: [4, 6], mixed: false }],
  ['--bus kafka', { overlay: [4], underlay: [4], bus: 'kafka' }],
  ['--underlay 6', { overlay: [4], underlay: [6], mixed: false }],
  ['--family 6 --underlay 4', { overlay: [6], underlay: [4], mixed: false }],
  ['--family dual --underlay mixed', { overlay: [4, 6], underlay: [4, 6], mixed: true }],
  ['--tenants 2', { tenants: 2 }],
])('%p shapes the lab', (line, shape) => {
  expect(parse(line)).toMatchObject({ shape });
});

test.each([
  ['sideways', 'unknown command sideways'],
  ['up --nodes 0', '--nodes 0: a number from 1 to 100'],
  ['up --nodes 101', '--nodes 101: a number from 1 to 100'],
  ['up --pods 1.5', '--pods 1.5: a number'],
  ['up --nodes', '--nodes: a value is missing'],
  ['up --once --nodes 1', '--once: nothing can be proved with fewer than 2 nodes'],
  ['up --name ../x', '--name ../x'],
  ['up --name 1a', '--name 1a'],
  ['up --underlay 5', '--underlay 5: one of 4, 6, dual, mixed'],
  ['up --family mixed', '--family mixed: one of 4, 6, dual'],
  ['up --family 5', '--family 5: one of 4, 6, dual'],
  ['up --bus nats', '--bus nats: one of directory, kafka'],
  ['up --tenants 9', '--tenants 9: a number from 1 to 8'],
  ['up --colour red', 'unknown flag --colour'],
  ['up extra', 'extra is too much'],
  ['down --nodes 2', '--nodes: only "up" takes it'],
  ['exec', 'exec: which node or pod?'],
  ['exec node1', 'exec: which command?'],
  ['exec node1 --', 'exec: which command?'],
  ['addr pod1-1 pod2-1', 'pod2-1 is too much'],
  ['agent node2 dance', 'agent: one of stop, start, kill, restart'],
])('%p is refused', (line, message) => {
  expect(() => parse(line)).toThrow(UsageError);
  expect(() => parse(line)).toThrow(message);
});
