// Does the steps of a plan, each on its own: one that fails is told and the others go on. It decides nothing but
// this: the tunnel is not opened (device up, keys, routes) in a pass that left a guard of it missing.
import type { Step } from '../../core/plan';
import type { ProgramName, SaKeys } from '../../core/state';
import { KernelError } from '../../errors';
import type { Datapath, Netlink } from '../../ports';
import type { Slices } from '../slices';

export interface Applied {
  /** Objects of the steps that failed, with what was thrown. */
  readonly failed: ReadonlyMap<string, unknown>;
  /** stepKey() of what was done or failed, and of what is held back until a guard stands. */
  readonly attempted: readonly string[];
  /** ifindex of the device that the settings written name; undefined when none were written. */
  readonly configuredFor: number | undefined;
  /** Fingerprints of SAs written. */
  readonly installed: readonly string[];
  /** False once a guard could not be put in place: for the rest of the pass. */
  readonly guarded: boolean;
}

/** Names a step within a pass: done once, it is not done again in the same pass. */
export const stepKey = (step: Step): string => `${step.do} ${step.object}`;

/** Without these on their devices packets could leave in clear, or forged ones come in through the VXLAN device. */
const GUARDS: ReadonlySet<ProgramName> = new Set(['encap', 'admit', 'seal', 'fence']);

interface Progress {
  vxlanIfindex: number | undefined;
  deviceChanged: boolean;
  configuredFor: number | undefined;
  guarded: boolean;
  readonly installed: string[];
}

/**
 * @param vxlanIfindex of the device as observed; undefined when it is not there yet
 * @param guarded as an earlier round of this pass left it
 */
export async function applySteps(
  steps: readonly Step[],
  netlink: Netlink,
  datapath: Datapath,
  vxlanIfindex: number | undefined,
  guarded: boolean,
  slices: Slices,
): Promise<Applied> {
  const failed = new Map<string, unknown>();
  const progress: Progress = {
    vxlanIfindex,
    deviceChanged: false,
    configuredFor: undefined,
    guarded,
    installed: [],
  };
  const attempted: string[] = [];
  for (const step of steps) {
    await slices.breathe();
    // A device that was made in this round has no hooks yet: the next round brings them, and then these steps.
    if (opensTunnel(step) && progress.guarded && progress.deviceChanged) continue;
    attempted.push(stepKey(step));
    if (opensTunnel(step) && !progress.guarded) continue;
    try {
      await applyStep(step, netlink, datapath, progress);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      failed.set(step.object, error);
      if (leavesOpen(step, error)) progress.guarded = false;
    }
  }
  const { configuredFor, installed } = progress;
  return { failed, attempted, configuredFor, installed, guarded: progress.guarded };
}

/** A device that went away lets nothing out any more; other people's come and go. */
function leavesOpen(step: Step, error: KernelError): boolean {
  if (step.do === 'ensure-vxlan') return true;
  if (step.do !== 'attach' || !GUARDS.has(step.hook.program)) return false;
  return step.hook.program !== 'fence' || error.errnoName !== 'ENODEV';
}

const opensTunnel = (step: Step): boolean =>
  step.do === 'raise-vxlan' ||
  step.do === 'put-tx' ||
  (step.do === 'put-route' && step.route.device !== undefined);

async function applyStep(
  step: Step,
  netlink: Netlink,
  datapath: Datapath,
  progress: Progress,
): Promise<void> {
  switch (step.do) {
    case 'ensure-vxlan': {
      const link = await netlink.ensureVxlan(step.vxlan);
      progress.deviceChanged ||= link.ifindex !== progress.vxlanIfindex;
      progress.vxlanIfindex = link.ifindex;
      return;
    }
    case 'raise-vxlan':
      return netlink.raiseVxlan(step.name);
    case 'put-settings':
      // Without a device there is nothing to name in the settings; the failure of its creation is told already.
      if (progress.vxlanIfindex === undefined) return;
      datapath.configure(step.settings, progress.vxlanIfindex);
      progress.configuredFor = progress.vxlanIfindex;
      return;
    case 'put-rx':
      refuseWiped(step.sa);
      datapath.sas.putRx(step.sa);
      progress.installed.push(step.fingerprint);
      return;
    case 'put-tx':
      refuseWiped(step.sa);
      datapath.sas.putTx(step.sa);
      progress.installed.push(step.fingerprint);
      return;
    case 'put-route':
      return netlink.putRoute(step.route);
    case 'remove-route':
      return netlink.removeRoute(step.route);
    default:
      applyToTables(step, datapath);
  }
}

/** A key whose time is over, or that was never made, must not get into the kernel: everybody knows it. */
function refuseWiped({ key, vni, peer }: SaKeys & { readonly vni: number; readonly peer: number }): void {
  if (key.every((byte) => byte === 0)) throw new Error(`the key of VNI ${vni}, peer ${peer} was wiped`);
}

type TableStep = Exclude<
  Step,
  {
    readonly do:
      | 'ensure-vxlan'
      | 'raise-vxlan'
      | 'put-settings'
      | 'put-rx'
      | 'put-tx'
      | 'put-route'
      | 'remove-route';
  }
>;

function applyToTables(step: TableStep, datapath: Datapath): void {
  switch (step.do) {
    case 'put-peer':
      datapath.peers.put(step.peer);
      return;
    case 'put-overlay':
      datapath.overlay.put(step.entry);
      return;
    case 'put-shared':
      datapath.shared.put(step.entry);
      return;
    case 'put-pod':
      datapath.pods.put(step.pod);
      return;
    case 'attach':
      datapath.attach(step.hook);
      return;
    case 'remove-tx':
      datapath.sas.removeTx(step.vni, step.peer);
      return;
    case 'detach':
      datapath.detach(step.hook);
      return;
    case 'remove-pod':
      datapath.pods.remove(step.pod);
      return;
    case 'remove-shared':
      datapath.shared.remove(step.entry);
      return;
    case 'remove-overlay':
      datapath.overlay.remove(step.entry);
      return;
    case 'remove-peer':
      datapath.peers.remove(step.peer);
      return;
    case 'remove-rx':
      datapath.sas.removeRx(step.spi, step.source);
      return;
  }
}
