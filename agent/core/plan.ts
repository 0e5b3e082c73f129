// From what is wanted and what is there to the ordered steps between. Owns the order and the rule that nothing is
// taken away before the bus was read to its end; knows nothing of how a step is done. Each step stands alone: when
// one fails the others go on, and the next plan holds it again.
import { type Comparison, delta } from './delta';
import { type IpAddress, PEER_LOCAL, PEER_NONE, type PeerNumber, type Spi, type Vni } from './ids';
import { saFingerprint } from './keyschedule';
import type {
  DatapathSettings,
  DesiredState,
  HookEntry,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  RouteEntry,
  RxSa,
  TxSa,
  VxlanSpec,
} from './state';

/** The VXLAN device as found. `external` false, or a wrong kind, is the driver's to refuse or repair. */
export interface ActualVxlan extends VxlanSpec {
  readonly ifindex: number;
  readonly external: boolean;
  readonly up: boolean;
}

export interface ActualTxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  readonly fingerprint: string;
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
  readonly rxSas: readonly ActualRxSa[];
  readonly txSas: readonly ActualTxSa[];
  readonly pods: readonly PodEntry[];
  readonly hooks: readonly HookEntry[];
  /** Only those that carry our route protocol. */
  readonly routes: readonly RouteEntry[];
}

/** `object` names what the step is about, for errors and logs: "peer 3", "sa tx 42/3", "hook seal 2". */
export type Step = { readonly object: string } & (
  | { readonly do: 'ensure-vxlan'; readonly vxlan: VxlanSpec }
  /** Also after every ensure-vxlan: the device may have a new ifindex. */
  | { readonly do: 'put-settings'; readonly settings: DatapathSettings }
  | { readonly do: 'put-rx'; readonly sa: RxSa; readonly fingerprint: string }
  | { readonly do: 'put-peer'; readonly peer: PeerEntry }
  | { readonly do: 'put-overlay'; readonly entry: OverlayEntry }
  | { readonly do: 'put-pod'; readonly pod: PodEntry }
  | { readonly do: 'attach'; readonly hook: HookEntry }
  | { readonly do: 'put-tx'; readonly sa: TxSa; readonly fingerprint: string }
  | { readonly do: 'put-route'; readonly route: RouteEntry }
  | { readonly do: 'remove-route'; readonly route: RouteEntry }
  | { readonly do: 'remove-tx'; readonly vni: Vni; readonly peer: PeerNumber }
  | { readonly do: 'detach'; readonly hook: HookEntry }
  | { readonly do: 'remove-pod'; readonly pod: PodEntry }
  | { readonly do: 'remove-overlay'; readonly entry: OverlayEntry }
  | { readonly do: 'remove-peer'; readonly peer: PeerEntry }
  | { readonly do: 'remove-rx'; readonly spi: Spi; readonly source: IpAddress }
);

/** @param mayDelete the bus was read to its end: only then is anything taken away, or a peer's entry made PEER_NONE. */
export declare function plan(desired: DesiredState, actual: ActualState, mayDelete: boolean): Step[];
