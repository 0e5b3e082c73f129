// What rotation chose for one peer, and the words for it. Shapes only.
import type { NodeName, PeerNumber } from './ids';
import type { Inbound } from './inbound';
import type { Outbound } from './outbound';
import type { PeerPairs } from './pairs';
import type { RxSa } from './state';

/** `rotating`: keys work, newer ones are on their way. `no-key`: nothing to send under. */
export type KeyState = 'up' | 'rotating' | 'no-key';

export interface PeerKeyState {
  readonly node: NodeName;
  readonly number: PeerNumber;
  readonly state: KeyState;
  /** One sentence for the status; '' when up. */
  readonly why: string;
  /** Number of our newest epoch that the peer has proven to know. */
  readonly provenEpoch: number | undefined;
  /** Numbers of the epochs we send under in the lowest VNI; undefined when adopted or none. */
  readonly txEpochs: { readonly ours: number; readonly theirs: number } | undefined;
  /** Sending under an SA of a former process. */
  readonly adopted: boolean;
}

/** What was chosen for one peer. */
export interface Choice {
  readonly work: PeerPairs;
  readonly inbound: Inbound;
  /** Rising VNI. */
  readonly outbound: readonly Outbound[];
  readonly rxSas: readonly RxSa[];
  readonly keys: PeerKeyState;
}
