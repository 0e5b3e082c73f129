// From what is wanted and what is there to the ordered steps between. Owns the order and the rule that nothing is
// taken away before the bus was read to its end; knows nothing of how a step is done. Each step stands alone: when
// one fails the others go on, and the next plan holds it again.
import { type Comparison, comparing, type Delta } from './delta';
import { type IpAddress, PEER_LOCAL, PEER_NONE, type PeerNumber, type Spi, type Vni } from './ids';
import { saFingerprint } from './keyschedule';
import { type Sliced, whole } from './slices';
import type {
  DatapathSettings,
  DesiredState,
  HookEntry,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  ProgramName,
  RouteEntry,
  RxSa,
  SharedEntry,
  TxSa,
  VxlanSpec,
} from './state';

/** The VXLAN device as found. `external` false, or a wrong kind, is the driver's to refuse or repair. */
export interface ActualVxlan extends VxlanSpec {
  readonly ifindex: number;
  readonly external: boolean;
  readonly up: boolean;
  /** Its offloads or other settings were changed by somebody else. */
  readonly drifted: boolean;
}

export interface ActualTxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  readonly fingerprint: string;
}

export interface ActualHook extends HookEntry {
  /** Id of somebody else's program that runs first, and may keep packets from ours: attaching anew puts ours in front. */
  readonly behind?: number;
  /** ports.ts HookMode */
  readonly mode?: string;
  /**
   * By a filter of clsact where a tcx link could be, so that others' tcx programs would run first: right for a device
   * that is about to go, and for no other.
   */
  readonly passing?: true;
}

export interface ActualRxSa extends ActualTxSa {
  readonly source: IpAddress;
}

/** What was found. Every list in any order. ports.ts' Installed… and Attached… types fit in. */
export interface ActualState {
  readonly settings: DatapathSettings | undefined;
  readonly vxlan: ActualVxlan | undefined;
  readonly peers: readonly PeerEntry[];
  readonly overlay: readonly OverlayEntry[];
  readonly shared: readonly SharedEntry[];
  readonly rxSas: readonly ActualRxSa[];
  readonly txSas: readonly ActualTxSa[];
  readonly pods: readonly PodEntry[];
  readonly hooks: readonly ActualHook[];
  /** Only those that carry our route protocol. */
  readonly routes: readonly RouteEntry[];
}

/** `object` names what the step is about, for errors and logs: "peer 3", "sa tx 42/3", "hook seal 2". */
export type Step = { readonly object: string } & (
  | { readonly do: 'ensure-vxlan'; readonly vxlan: VxlanSpec }
  /** Only behind its hooks: from then on it takes in what anybody sends to its port. */
  | { readonly do: 'raise-vxlan'; readonly name: string }
  /** Also after every ensure-vxlan: the device may have a new ifindex. */
  | { readonly do: 'put-settings'; readonly settings: DatapathSettings }
  | { readonly do: 'put-rx'; readonly sa: RxSa; readonly fingerprint: string }
  | { readonly do: 'put-peer'; readonly peer: PeerEntry }
  | { readonly do: 'put-overlay'; readonly entry: OverlayEntry }
  | { readonly do: 'put-shared'; readonly entry: SharedEntry }
  | { readonly do: 'put-pod'; readonly pod: PodEntry }
  | { readonly do: 'attach'; readonly hook: HookEntry }
  | { readonly do: 'put-tx'; readonly sa: TxSa; readonly fingerprint: string }
  | { readonly do: 'put-route'; readonly route: RouteEntry }
  | { readonly do: 'remove-route'; readonly route: RouteEntry }
  | { readonly do: 'remove-tx'; readonly vni: Vni; readonly peer: PeerNumber }
  | { readonly do: 'detach'; readonly hook: HookEntry }
  | { readonly do: 'remove-pod'; readonly pod: PodEntry }
  | { readonly do: 'remove-shared'; readonly entry: SharedEntry }
  | { readonly do: 'remove-overlay'; readonly entry: OverlayEntry }
  | { readonly do: 'remove-peer'; readonly peer: PeerEntry }
  | { readonly do: 'remove-rx'; readonly spi: Spi; readonly source: IpAddress }
);

const byNumber = (value: number): string => String(value).padStart(10, '0');
const peerKey = (peer: PeerEntry): string => byNumber(peer.number);
const overlayKey = (entry: Pick<OverlayEntry, 'vni' | 'prefix'>): string =>
  `${byNumber(entry.vni)}/${entry.prefix}`;
const podKey = (pod: PodEntry): string => byNumber(pod.ifindex);
const hookKey = (hook: HookEntry): string => `${byNumber(hook.ifindex)}/${hook.program}`;
const routeKey = (route: RouteEntry): string => `${isBarrier(route) ? 'unreachable ' : ''}${route.prefix}`;
/** Refuses instead of leading somewhere: needs no device and no guard. */
const isBarrier = (route: RouteEntry): boolean => route.device === undefined;
const rxKey = (sa: { readonly spi: Spi; readonly source: IpAddress }): string =>
  `${byNumber(sa.spi)}/${sa.source}`;
const txKey = (sa: { readonly vni: Vni; readonly peer: PeerNumber }): string =>
  `${byNumber(sa.vni)}/${byNumber(sa.peer)}`;

const same = <E>(key: (entry: E) => string, equal: (a: E, b: E) => boolean): Comparison<E> => ({
  desiredKey: key,
  actualKey: key,
  equal,
});

const PEERS = same(
  peerKey,
  (a, b) => a.identity === b.identity && a.vtep === b.vtep && a.local === b.local && a.mac === b.mac,
);
const OVERLAY = same<OverlayEntry>(
  overlayKey,
  (a, b) => a.peer === b.peer && a.node === b.node && a.clear === b.clear,
);
const SHARED = same<SharedEntry>(
  overlayKey,
  (a, b) => a.other === b.other && a.way === b.way && a.services === b.services,
);
const PODS = same(
  podKey,
  (a, b) =>
    a.vni === b.vni &&
    a.mac === b.mac &&
    a.hostMac === b.hostMac &&
    a.permissive === b.permissive &&
    a.off === b.off &&
    [...a.addresses].sort().join() === [...b.addresses].sort().join(),
);
const HOOKS: Comparison<HookEntry, ActualHook> = {
  desiredKey: hookKey,
  actualKey: hookKey,
  equal: (wanted, found) =>
    found.behind === undefined && (wanted.leaving === true ? found.mode !== 'tcx' : found.passing !== true),
};
const ROUTES = same(routeKey, (a, b) => a.device === b.device && a.source === b.source);

const TX: Comparison<TxSa, ActualTxSa> = {
  desiredKey: txKey,
  actualKey: txKey,
  equal: (wanted, found) => print(wanted) === found.fingerprint,
};
const RX: Comparison<RxSa, ActualRxSa> = {
  desiredKey: rxKey,
  actualKey: rxKey,
  equal: (wanted, found) =>
    wanted.vni === found.vni && wanted.peer === found.peer && print(wanted) === found.fingerprint,
};

/**
 * Order of attaching, on all devices; detaching is the reverse. What keeps clear text in comes first, and open last:
 * what it decrypts must find deliver in place.
 */
const ATTACH_ORDER: Readonly<Record<ProgramName, number>> = {
  seal: 0,
  fence: 1,
  encap: 2,
  admit: 3,
  guard: 4,
  gate: 5,
  steer: 6,
  deliver: 7,
  open: 8,
};
const inAttachOrder = <H extends HookEntry>(hooks: readonly H[]): H[] =>
  [...hooks].sort((a, b) => ATTACH_ORDER[a.program] - ATTACH_ORDER[b.program]);

const SETTINGS_FIELDS = [
  'hostVni',
  'vxlanPort',
  'espPort',
  'underlayMtuBytes',
  'vxlanMtuBytes',
  'mac',
  'sharedPort',
] as const satisfies readonly (keyof DatapathSettings)[];

function deviceSteps(desired: DesiredState, actual: ActualState): Step[] {
  const { vxlan, settings } = desired;
  const found = actual.vxlan;
  const steps: Step[] = [];
  const right =
    found?.external === true &&
    !found.drifted &&
    found.name === vxlan.name &&
    found.mac === vxlan.mac &&
    found.port === vxlan.port &&
    found.mtuBytes === vxlan.mtuBytes;
  if (!right) steps.push({ do: 'ensure-vxlan', object: `device ${vxlan.name}`, vxlan });
  if (!right || SETTINGS_FIELDS.some((field) => settings[field] !== actual.settings?.[field])) {
    steps.push({ do: 'put-settings', object: 'settings', settings });
  }
  return steps;
}

function raiseSteps({ vxlan: { name } }: DesiredState, actual: ActualState): Step[] {
  return actual.vxlan?.up === true ? [] : [{ do: 'raise-vxlan', object: `device ${name}`, name }];
}

/**
 * Until the bus was read to its end, a prefix without an owner may only be one whose owner we have not read yet: an
 * adopted entry that leads to a peer stands, and nothing begins to be in clear.
 */
function disowns(entry: OverlayEntry, actual: ReadonlyMap<string, OverlayEntry>): boolean {
  const found = actual.get(overlayKey(entry));
  return entry.peer === PEER_NONE && (entry.clear === true || (found !== undefined && isPeer(found.peer)));
}

const isPeer = (number: PeerNumber): boolean => number !== PEER_LOCAL && number !== PEER_NONE;

/**
 * Puts come in the order in which each leans on the one before, removals behind them in reverse: peers before their
 * SAs, rx SAs before whatever makes peers use them, hooks before the device goes up, and before tx SAs and routes,
 * since a route without its hook would leak. The routes that refuse come first and go last.
 * @param mayDelete the bus was read to its end: only then is anything taken away
 */
export function plan(desired: DesiredState, actual: ActualState, mayDelete: boolean): Step[] {
  return whole(planning(desired, actual, mayDelete));
}

/**
 * Lists between which there was no difference: as long as both are the very same there is none. Lists must not change.
 */
export class Settled {
  private readonly lists = new WeakMap<object, object>();

  *comparing<D, A>(
    desired: readonly D[],
    actual: readonly A[],
    comparison: Comparison<D, A>,
  ): Sliced<Delta<D, A>> {
    if (this.lists.get(desired) === actual) return { put: [], remove: [] };
    const found = yield* comparing(desired, actual, comparison);
    if (found.put.length + found.remove.length === 0) this.lists.set(desired, actual);
    return found;
  }
}

/** The same in slices. @param settled of former calls */
export function* planning(
  desired: DesiredState,
  actual: ActualState,
  mayDelete: boolean,
  settled = new Settled(),
): Sliced<Step[]> {
  const rx = yield* settled.comparing(desired.rxSas, actual.rxSas, RX);
  const tx = yield* settled.comparing(desired.txSas, actual.txSas, TX);
  const peers = yield* settled.comparing(desired.peers, actual.peers, PEERS);
  const overlay = yield* settled.comparing(desired.overlay, actual.overlay, OVERLAY);
  const shared = yield* settled.comparing(desired.shared, actual.shared, SHARED);
  const pods = yield* settled.comparing(desired.pods, actual.pods, PODS);
  const hooks = yield* settled.comparing(desired.hooks, actual.hooks, HOOKS);
  const routes = yield* settled.comparing(desired.routes, actual.routes, ROUTES);
  const found = new Map(mayDelete ? [] : actual.overlay.map((entry) => [overlayKey(entry), entry]));
  yield;
  const keptRx = new Set(desired.keptRxSas.map(rxKey));
  const keptTx = new Set(desired.keptTxSas.map(txKey));

  const puts: Step[] = [
    // The configuration alone says which there are: no bus has to be read for a way to end.
    ...shared.remove.map((entry): Step => ({ do: 'remove-shared', object: sharedName(entry), entry })),
    ...routes.put.filter(isBarrier).map(putRoute),
    ...deviceSteps(desired, actual),
    ...peers.put.map((peer): Step => ({ do: 'put-peer', object: `peer ${peer.number}`, peer })),
    ...rx.put.map((sa): Step => ({ do: 'put-rx', object: rxName(sa), sa, fingerprint: print(sa) })),
    ...overlay.put
      .filter((entry) => mayDelete || !disowns(entry, found))
      .map((entry): Step => ({ do: 'put-overlay', object: overlayName(entry), entry })),
    ...shared.put.map((entry): Step => ({ do: 'put-shared', object: sharedName(entry), entry })),
    ...pods.put.map((pod): Step => ({ do: 'put-pod', object: `pod device ${pod.ifindex}`, pod })),
    ...inAttachOrder(hooks.put).map((hook): Step => ({ do: 'attach', object: hookName(hook), hook })),
    ...raiseSteps(desired, actual),
    ...tx.put.map((sa): Step => ({ do: 'put-tx', object: txName(sa), sa, fingerprint: print(sa) })),
    ...routes.put.filter((route) => !isBarrier(route)).map(putRoute),
  ];
  if (!mayDelete) return puts;
  const removals: Step[] = [
    ...routes.remove.filter((route) => !isBarrier(route)).map(removeRoute),
    ...tx.remove
      .filter((sa) => !keptTx.has(txKey(sa)))
      .map((sa): Step => ({ do: 'remove-tx', object: txName(sa), vni: sa.vni, peer: sa.peer })),
    ...inAttachOrder(hooks.remove)
      .reverse()
      .map((hook): Step => ({ do: 'detach', object: hookName(hook), hook })),
    ...pods.remove.map((pod): Step => ({ do: 'remove-pod', object: `pod device ${pod.ifindex}`, pod })),
    ...overlay.remove.map((entry): Step => ({ do: 'remove-overlay', object: overlayName(entry), entry })),
    ...peers.remove.map((peer): Step => ({ do: 'remove-peer', object: `peer ${peer.number}`, peer })),
    ...rx.remove
      .filter((sa) => !keptRx.has(rxKey(sa)))
      .map((sa): Step => ({ do: 'remove-rx', object: rxName(sa), spi: sa.spi, source: sa.source })),
    ...routes.remove.filter(isBarrier).map(removeRoute),
  ];
  return [...puts, ...removals];
}

const putRoute = (route: RouteEntry): Step => ({ do: 'put-route', object: routeName(route), route });
const removeRoute = (route: RouteEntry): Step => ({ do: 'remove-route', object: routeName(route), route });
const print = (sa: RxSa | TxSa): string => sa.fingerprint ?? saFingerprint(sa.key, sa.salt);
const overlayName = (entry: OverlayEntry): string => `overlay ${entry.vni}/${entry.prefix}`;
const sharedName = (entry: SharedEntry): string => `shared ${entry.vni}/${entry.prefix}`;
const routeName = (route: RouteEntry): string => `route ${routeKey(route)}`;
const hookName = (hook: HookEntry): string => `hook ${hook.program} on device ${hook.ifindex}`;
const txName = (sa: { vni: Vni; peer: PeerNumber }): string => `tx SA of VNI ${sa.vni}, peer ${sa.peer}`;
const rxName = (sa: { vni: Vni; peer: PeerNumber; spi: Spi }): string =>
  `rx SA ${sa.spi.toString(16).padStart(8, '0')} of VNI ${sa.vni}, peer ${sa.peer}`;
