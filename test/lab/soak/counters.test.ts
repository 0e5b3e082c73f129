// Full queues must be seen whatever else is listed for the device.
import { droppedByQueues } from './counters';

test('what a leaf drops is its device’s, counted once, and not what a program drops', () => {
  const queues = [
    { dev: 'node1', kind: 'htb', drops: 81 },
    { dev: 'node1', kind: 'pfifo', drops: 81 },
    { dev: 'node1', kind: 'pfifo', drops: 0 },
    { dev: 'node1', kind: 'clsact', drops: 500 },
    { dev: 'node2', kind: 'clsact', drops: 3 },
  ];
  expect([...droppedByQueues(queues)]).toEqual([['node1', 81]]);
});
