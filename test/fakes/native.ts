// A kernel as naive tables behind the Native interface. Pins are files in an ordinary folder that hold the object's
// number, so the code that names, lists and removes them runs for real.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Fd, LinkInfo, LoadedObject, Native } from '../../agent/kernel/native';
import { FakeXfrm } from './xfrm';

export interface FakeMap {
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly entries: Map<string, Buffer>;
}

interface FakeProgram {
  readonly program: string;
}

export interface FakeLink {
  programId: number;
  readonly kind: 'tcx-ingress' | 'tcx-egress' | 'xdp-native' | 'xdp-generic';
  readonly attachedTo: number;
  /** 0 when detached or the device is gone. */
  ifindex: number;
  /** Without a pin it ends with its descriptor. */
  pinned: boolean;
}

class FakeFd implements Fd {
  constructor(
    public fd: number,
    private readonly onClose = () => {},
  ) {}
  close(): void {
    this.fd = -1;
    this.onClose();
  }
}

export function errno(code: string, number: number): Error {
  return Object.assign(new Error(code), { code, errno: number, op: 'fake' });
}

export interface MapShape {
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries?: number;
}

export class FakeKernel {
  readonly objects = new Map<number, FakeMap | FakeProgram | FakeLink>();
  /** Filter of clsact by "ifindex/direction/handle/priority" -> program number. */
  readonly filters = new Map<string, number>();
  readonly devices = new Set<number>();
  readonly frames: { ifindex: number; frame: Buffer }[] = [];
  /** In order: "attachTcx steer 7 ingress". */
  readonly calls: string[] = [];
  readonly wiped: Uint8Array[] = [];
  readonly ipsec = new FakeXfrm();
  ringListener: ((record: Buffer) => void) | undefined;
  tcx = true;
  xdp: ('native' | 'generic')[] = ['native', 'generic'];
  fail: (call: string) => Error | undefined = () => undefined;
  private next = 100;

  constructor(readonly maps: Readonly<Record<string, MapShape>>) {}

  add(object: FakeMap | FakeProgram | FakeLink): number {
    this.next += 1;
    this.objects.set(this.next, object);
    return this.next;
  }

  enter(call: string): void {
    this.calls.push(call);
    const error = this.fail(call);
    if (error !== undefined) throw error;
  }

  removeDevice(ifindex: number): void {
    this.devices.delete(ifindex);
    for (const object of this.objects.values()) {
      if ('ifindex' in object && object.ifindex === ifindex) object.ifindex = 0;
    }
    for (const key of this.filters.keys()) if (key.startsWith(`${ifindex}/`)) this.filters.delete(key);
  }

  /** Programs at a tcx hook, the last attached first: each goes in front. */
  running(ifindex: number, direction: 'ingress' | 'egress'): number[] {
    return [...this.objects.values()]
      .filter((object): object is FakeLink => 'attachedTo' in object)
      .filter((link) => link.ifindex === ifindex && link.kind === `tcx-${direction}`)
      .map((link) => link.programId)
      .reverse();
  }

  requireDevice(ifindex: number): void {
    if (!this.devices.has(ifindex)) throw errno('ENODEV', 19);
  }

  programName(id: number): string {
    const object = this.objects.get(id);
    return object !== undefined && 'program' in object ? object.program : '';
  }
}

/** @param programs names of the programs of an object file, by its base name without ".bpf.o". */
export function fakeNative(kernel: FakeKernel, programs: (file: string) => string[]): Native {
  const at = <T>(fd: Fd): T => kernel.objects.get(fd.fd) as T;
  const mapOf = (fd: Fd): FakeMap => at<FakeMap>(fd);
  const filterKey = (...parts: (string | number)[]) => parts.join('/');

  function openMap(name: string, shape: MapShape, pinRoot: string | undefined): Fd {
    const path = `${pinRoot}/${name}`;
    if (pinRoot !== undefined && existsSync(path)) return new FakeFd(Number(readFileSync(path, 'utf8')));
    const map = { name, maxEntries: 64, ...shape, entries: new Map<string, Buffer>() };
    if (name === 'config') map.entries.set('00000000', Buffer.alloc(shape.valueSize));
    const fd = new FakeFd(kernel.add(map));
    if (pinRoot !== undefined) writeFileSync(path, String(fd.fd));
    return fd;
  }

  function linkFd(link: FakeLink): Fd {
    return new FakeFd(kernel.add(link), () => {
      if (!link.pinned) link.ifindex = 0;
    });
  }

  const native: Partial<Native> = {
    possibleCpus: 2,
    loadObject(path, options): LoadedObject {
      const file = basename(path, '.bpf.o');
      kernel.enter(`loadObject ${file}`);
      const maps = Object.entries(kernel.maps).map(([name, shape]) => [
        name,
        openMap(name, shape, options.pinRoot),
      ]);
      const loaded = programs(file).map((program) => [
        program,
        { fd: new FakeFd(kernel.add({ program })), verifiedInsns: 1 },
      ]);
      return { maps: Object.fromEntries(maps), programs: Object.fromEntries(loaded) };
    },
    pin(fd, path) {
      kernel.enter(`pin ${basename(path)}`);
      if (existsSync(path)) throw errno('EEXIST', 17);
      writeFileSync(path, String(fd.fd));
      const object = kernel.objects.get(fd.fd);
      if (object !== undefined && 'pinned' in object) object.pinned = true;
    },
    openPinned(path) {
      if (!existsSync(path)) throw errno('ENOENT', 2);
      return new FakeFd(Number(readFileSync(path, 'utf8')));
    },
    mapInfo(fd) {
      const { name, keySize, valueSize, maxEntries } = mapOf(fd);
      return { id: fd.fd, type: 1, name, keySize, valueSize, maxEntries };
    },
    programInfo: (fd) => ({ id: fd.fd, name: kernel.programName(fd.fd), tag: '0011223344556677' }),
    linkInfo(fd): LinkInfo {
      const { programId, ifindex } = at<FakeLink>(fd);
      return { id: fd.fd, type: 1, programId, ifindex, attachType: 46 };
    },
    mapLookup: (fd, key) => copy(mapOf(fd).entries.get(key.toString('hex'))),
    mapUpdate(fd, key, value, flags = 0) {
      const map = mapOf(fd);
      if (key.length !== map.keySize) throw new RangeError(`key of ${map.name}: ${key.length}`);
      if (value.length % map.valueSize !== 0) throw new RangeError(`value of ${map.name}: ${value.length}`);
      kernel.enter(`mapUpdate ${map.name}`);
      const id = key.toString('hex');
      if (flags === 1 && map.entries.has(id)) throw errno('EEXIST', 17);
      map.entries.set(id, Buffer.from(value));
    },
    mapDelete: (fd, key) => mapOf(fd).entries.delete(key.toString('hex')),
    mapCount: (fd) => mapOf(fd).entries.size,
    mapEntries: (fd) =>
      [...mapOf(fd).entries].map(([key, value]) => ({
        key: Buffer.from(key, 'hex'),
        value: Buffer.from(value),
      })),
    attachTcx(fd, ifindex, direction) {
      kernel.enter(`attachTcx ${kernel.programName(fd.fd)} ${ifindex} ${direction}`);
      if (!kernel.tcx) throw errno('EINVAL', 22);
      kernel.requireDevice(ifindex);
      if (kernel.running(ifindex, direction).includes(fd.fd)) throw errno('EEXIST', 17);
      return linkFd({
        programId: fd.fd,
        kind: `tcx-${direction}`,
        attachedTo: ifindex,
        ifindex,
        pinned: false,
      });
    },
    queryTcx: (ifindex, direction) => {
      if (!kernel.tcx) throw errno('EINVAL', 22);
      kernel.requireDevice(ifindex);
      return kernel.running(ifindex, direction);
    },
    attachXdp(fd, ifindex, mode) {
      kernel.enter(`attachXdp ${kernel.programName(fd.fd)} ${ifindex} ${mode}`);
      kernel.requireDevice(ifindex);
      if (!kernel.xdp.includes(mode)) throw errno('EOPNOTSUPP', 95);
      if (
        [...kernel.objects.values()].some(
          (each) => 'kind' in each && each.kind.startsWith('xdp') && each.ifindex === ifindex,
        )
      )
        throw errno('EEXIST', 17);
      return linkFd({ programId: fd.fd, kind: `xdp-${mode}`, attachedTo: ifindex, ifindex, pinned: false });
    },
    updateLink(fd, program) {
      const link = at<FakeLink>(fd);
      kernel.enter(`updateLink ${kernel.programName(program.fd)} ${link.attachedTo}`);
      if (link.ifindex === 0) throw errno('ENOLINK', 67);
      if (link.kind.startsWith('tcx') && link.programId !== program.fd) {
        const direction = link.kind === 'tcx-ingress' ? 'ingress' : 'egress';
        if (kernel.running(link.ifindex, direction).includes(program.fd)) throw errno('EEXIST', 17);
      }
      link.programId = program.fd;
    },
    detachLink(fd) {
      const link = at<FakeLink>(fd);
      kernel.enter(`detachLink ${link.attachedTo}`);
      link.ifindex = 0;
    },
    attachClsact(fd, ifindex, direction, handle, priority) {
      kernel.enter(`attachClsact ${kernel.programName(fd.fd)} ${ifindex} ${direction}`);
      kernel.requireDevice(ifindex);
      kernel.filters.set(filterKey(ifindex, direction, handle, priority), fd.fd);
    },
    detachClsact(ifindex, direction, handle, priority) {
      kernel.enter(`detachClsact ${ifindex} ${direction}`);
      kernel.requireDevice(ifindex);
      if (!kernel.filters.delete(filterKey(ifindex, direction, handle, priority))) throw errno('ENOENT', 2);
    },
    queryClsact(ifindex, direction, handle, priority) {
      kernel.requireDevice(ifindex);
      return kernel.filters.get(filterKey(ifindex, direction, handle, priority));
    },
    openRingBuffer(_map, onEvent) {
      kernel.ringListener = onEvent;
      return {
        close: () => {
          kernel.ringListener = undefined;
        },
      };
    },
    sendFrame(ifindex, frame) {
      kernel.enter(`sendFrame ${ifindex}`);
      kernel.frames.push({ ifindex, frame: Buffer.from(frame) });
    },
    netlinkRequest: (protocol, message) => kernel.ipsec.request(protocol, message),
    isBpffs: () => true,
    mountBpffs: () => kernel.enter('mountBpffs'),
    wipe(bytes) {
      bytes.fill(0);
      kernel.wiped.push(bytes);
    },
  };
  return native as Native;
}

const copy = (value: Buffer | undefined): Buffer | undefined =>
  value === undefined ? undefined : Buffer.from(value);
