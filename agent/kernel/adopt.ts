// Whether what is pinned may be adopted: made with the same layout, for the same engine. Decides and throws; changes
// nothing.
import { ABI_VERSION, decodeConfig, MAP_LAYOUT } from '../abi/codec';
import { KernelError } from '../errors';
import type { EngineName } from './engine';
import { attempt } from './fault';
import type { Fd, Native } from './native';
import type { Pins } from './pins';

const CONFIG_KEY = Buffer.alloc(4);

/** A map pinned by a version with another layout must not be read with this one's eyes, nor another engine's SAs. */
export function refuseOther(native: Native, pins: Pins, engine: EngineName): void {
  for (const [name, expected] of Object.entries(MAP_LAYOUT)) {
    const pinned = pins.openMap(name);
    if (pinned === undefined) continue;
    try {
      const found = attempt(`look at pinned map ${name}`, () => native.mapInfo(pinned));
      if (found.keySize !== expected.keySize || found.valueSize !== expected.valueSize) {
        throw otherLayout(name, `entries of ${found.keySize} + ${found.valueSize} bytes`);
      }
      if (name === 'config') refuseConfig(native, pinned, engine);
    } finally {
      pinned.close();
    }
  }
}

function refuseConfig(native: Native, config: Fd, engine: EngineName): void {
  const value = attempt('read pinned configuration', () => native.mapLookup(config, CONFIG_KEY));
  const found = value === undefined ? undefined : decodeConfig(value);
  if (found === undefined || found.abi === 0) return; // never configured
  if (found.abi !== ABI_VERSION) throw otherLayout('config', `layout ${found.abi}`);
  if (found.xfrm !== (engine === 'xfrm')) throw otherEngine(engine);
}

function otherLayout(map: string, found: string): KernelError {
  return new KernelError(
    `adopt pinned map ${map}`,
    22,
    'EINVAL',
    `it was made by another version (${found}, this version has layout ${ABI_VERSION}): ` +
      'run that version, or remove its data plane with "vxseal agent --cleanup" and start again',
  );
}

function otherEngine(engine: EngineName): KernelError {
  return new KernelError(
    'adopt the data plane',
    22,
    'EINVAL',
    `it was made for overlay.engine ${engine === 'xfrm' ? 'bpf' : 'xfrm'}, and ${engine} is configured: ` +
      'remove it with "vxseal agent --cleanup" and start again',
  );
}
