// What is there: one reading of the kernel's and the data plane's state, in the shape plan() compares. Changes
// nothing. Throws KernelError when something cannot be read: nothing may be decided on half a picture.
import type { ActualState, ActualVxlan } from '../../core/plan';
import type {
  AddressInfo,
  AttachedHook,
  Datapath,
  InstalledRxSa,
  InstalledTxSa,
  LinkInfo,
  Netlink,
} from '../../ports';
import type { Slices } from '../slices';

export interface Observation extends ActualState {
  readonly links: readonly LinkInfo[];
  readonly addresses: readonly AddressInfo[];
  readonly hooks: readonly AttachedHook[];
  readonly rxSas: readonly InstalledRxSa[];
  readonly txSas: readonly InstalledTxSa[];
}

/** @param device name of the VXLAN device */
export async function observe(
  netlink: Netlink,
  datapath: Datapath,
  device: string,
  slices: Slices,
): Promise<Observation> {
  const links = await netlink.links();
  const addresses = await netlink.addresses();
  const routes = await netlink.ownRoutes();
  const peers = await slices.part(() => datapath.peers.list());
  const overlay = await slices.part(() => datapath.overlay.list());
  const pods = await slices.part(() => datapath.pods.list());
  const rxSas = await slices.run(datapath.sas.listingRx());
  const txSas = await slices.run(datapath.sas.listingTx());
  return {
    links,
    addresses,
    routes,
    vxlan: actualVxlan(links, device),
    settings: datapath.settings(),
    peers,
    overlay,
    shared: datapath.shared.list(),
    pods,
    rxSas,
    txSas,
    hooks: datapath.attached(),
  };
}

/** A device of another kind under the name counts as absent: creating it then fails with a message that says so. */
function actualVxlan(links: readonly LinkInfo[], name: string): ActualVxlan | undefined {
  const link = links.find((other) => other.name === name && other.vxlan !== undefined);
  if (link?.vxlan === undefined) return undefined;
  return {
    name,
    ifindex: link.ifindex,
    mac: link.mac,
    port: link.vxlan.port,
    external: link.vxlan.external,
    mtuBytes: link.mtuBytes,
    up: link.up,
    drifted: link.vxlan.drifted,
  };
}
