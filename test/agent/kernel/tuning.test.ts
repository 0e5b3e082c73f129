import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTuner } from '../../../agent/kernel/tuning';
import { QuietLog } from '../../fakes/log';

const eth0 = { name: 'eth0', ifindex: 4, mac: '02:00:00:00:00:04' };

class Machine {
  readonly dir = mkdtempSync(join(tmpdir(), 'vxseal-tuning-'));
  readonly log = new QuietLog();
  readonly gro = new Map([['eth0', false]]);
  readonly calls: string[] = [];

  constructor() {
    this.device('eth0', 4, eth0.mac, '0');
  }

  device(name: string, ifindex: number, mac: string, threaded: string | undefined): void {
    mkdirSync(join(this.dir, name), { recursive: true });
    for (const [file, value] of Object.entries({ ifindex, address: mac, threaded })) {
      if (value !== undefined) writeFileSync(join(this.dir, name, file), `${value}\n`);
      else rmSync(join(this.dir, name, file), { force: true });
    }
  }

  threaded(name = 'eth0'): string {
    return readFileSync(join(this.dir, name, 'threaded'), 'utf8').trim();
  }

  tuner(mode: 'auto' | 'off' = 'auto') {
    const native = {
      getOffload: (device: string) => this.gro.get(device) ?? true,
      setOffload: (device: string, _: string, on: boolean) => {
        this.calls.push(`${device} gro ${on}`);
        this.gro.set(device, on);
      },
    };
    return createTuner(native, this.log, { mode, file: join(this.dir, 'tuned.json'), sysDir: this.dir });
  }
}

let machine: Machine;
beforeEach(() => {
  machine = new Machine();
});
afterEach(() => rmSync(machine.dir, { recursive: true }));

test('threads and GRO are switched on once', () => {
  const tuner = machine.tuner();
  tuner.tune([eth0]);
  tuner.tune([eth0]);
  expect(machine.threaded()).toBe('1');
  expect(machine.calls).toEqual(['eth0 gro true']);
});

test('another process takes back exactly what was changed', () => {
  machine.gro.set('eth0', true);
  machine.tuner().tune([eth0]);
  machine.tuner().undo();
  expect(machine.threaded()).toBe('0');
  expect(machine.gro.get('eth0')).toBe(true);
  expect(machine.calls).toEqual([]);
});

test('what was on before stays on', () => {
  machine.device('eth0', 4, eth0.mac, '2');
  machine.gro.set('eth0', true);
  machine.tuner().tune([eth0]);
  machine.tuner().undo();
  expect(machine.threaded()).toBe('2');
});

test('switching the configuration off takes the changes back', () => {
  machine.tuner().tune([eth0]);
  machine.tuner('off').tune([eth0]);
  expect([machine.threaded(), machine.gro.get('eth0')]).toEqual(['0', false]);
});

test.each([
  ['another number', { ...eth0, ifindex: 5 }],
  ['another address', { ...eth0, mac: '02:00:00:00:00:05' }],
  ['no such name', { ...eth0, name: 'eth9' }],
])('a device that /sys shows with %s is left alone', (_, device) => {
  machine.tuner().tune([device]);
  expect(machine.threaded()).toBe('0');
  expect(machine.calls).toEqual([]);
  expect(machine.log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
});

test('a device that has the name of one that was tuned is left alone at the end', () => {
  machine.tuner().tune([eth0]);
  machine.device('eth0', 9, eth0.mac, '1');
  machine.tuner().undo();
  expect(machine.threaded()).toBe('1');
});

test('a kernel without threaded NAPI is told once, and GRO is set all the same', () => {
  machine.device('eth0', 4, eth0.mac, undefined);
  const tuner = machine.tuner();
  tuner.tune([eth0]);
  tuner.tune([eth0]);
  expect(machine.gro.get('eth0')).toBe(true);
  expect(machine.log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
});
