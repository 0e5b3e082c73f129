// What makes the underlay devices fast and is not theirs by default: NAPI in threads of its own, so that decryption
// is scheduled like any other work instead of staying on the core that took the interrupt, and GRO, so that what was
// decrypted goes on in large pieces. Changes nothing else; remembers what it changed, and takes exactly that back.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log, UnderlayTuner } from '../ports';
import { isErrno } from './fault';
import type { Native } from './native';

const SETTINGS = ['threaded', 'gro'] as const;
type Setting = (typeof SETTINGS)[number];

/** A device as netlink tells it. */
interface Device {
  readonly name: string;
  readonly ifindex: number;
  readonly mac: string;
}

/** A change of ours. Both settings are switches that we turn on. */
interface Change {
  readonly device: string;
  readonly ifindex: number;
  readonly setting: Setting;
}

export interface TuningOptions {
  readonly mode: 'auto' | 'off';
  /** Remembers our changes over restarts; as short-lived as they are, so below /run. */
  readonly file: string;
  /** /sys/class/net of our network namespace. */
  readonly sysDir?: string;
}

/** What cannot be tuned stays as it is: slower, not wrong. It is logged once, and `vxseal doctor` tells of it. */
export function createTuner(
  native: Pick<Native, 'getOffload' | 'setOffload'>,
  log: Log,
  options: TuningOptions,
): UnderlayTuner {
  return new Tuner(native, log, options);
}

class Tuner implements UnderlayTuner {
  private readonly told = new Set<string>();
  private readonly sysDir: string;

  constructor(
    private readonly native: Pick<Native, 'getOffload' | 'setOffload'>,
    private readonly log: Log,
    private readonly options: TuningOptions,
  ) {
    this.sysDir = options.sysDir ?? '/sys/class/net';
  }

  tune(devices: readonly Device[]): void {
    if (this.options.mode === 'off') {
      this.undo();
      return;
    }
    for (const device of devices) {
      if (!this.isOurs(device)) {
        this.tell(device.name, '/sys is that of another network namespace', device);
        continue;
      }
      for (const setting of SETTINGS) {
        try {
          this.switchOn(device, setting);
        } catch (cause) {
          this.tell(
            `${device.name} ${setting}`,
            cause instanceof Error ? cause.message : String(cause),
            device,
          );
        }
      }
    }
  }

  undo(): void {
    const changes = this.changes();
    if (changes.length === 0) return;
    for (const { device, ifindex, setting } of changes) {
      try {
        // Another device may have the name by now.
        if (this.read(device, 'ifindex') === String(ifindex) && this.isOn(device, setting))
          this.write(device, setting, false);
      } catch (cause) {
        if (!isErrno(cause, 'ENOENT', 'ENODEV'))
          this.tell(`undo ${device} ${setting}`, String(cause), { device });
      }
    }
    this.remember([]);
  }

  private switchOn(device: Device, setting: Setting): void {
    if (this.isOn(device.name, setting)) return;
    // Remembered first: a change that nobody remembers would stay for ever.
    const { name, ifindex } = device;
    const others = this.changes().filter((change) => change.device !== name || change.setting !== setting);
    this.remember([...others, { device: name, ifindex, setting }]);
    this.write(name, setting, true);
    this.log.info({ device: name, setting }, 'underlay device tuned');
  }

  /** Inside a container, or below nsenter, /sys may show devices of the same names that are others. */
  private isOurs({ name, ifindex, mac }: Device): boolean {
    try {
      return this.read(name, 'ifindex') === String(ifindex) && this.read(name, 'address') === mac;
    } catch {
      return false;
    }
  }

  private isOn(device: string, setting: Setting): boolean {
    if (setting === 'gro') return this.native.getOffload(device, 'gro');
    return this.read(device, 'threaded') !== '0'; // 2: threads that poll, which somebody else asked for
  }

  private write(device: string, setting: Setting, on: boolean): void {
    if (setting === 'gro') this.native.setOffload(device, 'gro', on);
    else writeFileSync(join(this.sysDir, device, 'threaded'), on ? '1' : '0');
  }

  private read(device: string, attribute: string): string {
    return readFileSync(join(this.sysDir, device, attribute), 'utf8').trim();
  }

  private changes(): Change[] {
    try {
      return JSON.parse(readFileSync(this.options.file, 'utf8')) as Change[];
    } catch {
      return [];
    }
  }

  private remember(changes: readonly Change[]): void {
    writeFileSync(this.options.file, `${JSON.stringify(changes)}\n`, { mode: 0o600 });
  }

  private tell(what: string, reason: string, fields: object): void {
    if (this.told.has(what)) return;
    this.told.add(what);
    this.log.warn({ ...fields, reason }, 'underlay device not tuned: see `vxseal doctor`');
  }
}
