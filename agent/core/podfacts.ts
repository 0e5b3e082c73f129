// What the container runtime's informer says of pods, and how it stands with it. Shapes only.
import type { Labels } from './policy';

/** What the runtime's informer says of a pod; names are '' where they are none. */
export interface PodFacts {
  /** CNI's container id. */
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Labels;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface InformerStatus {
  /** '' when none is configured. */
  readonly socket: string;
  /** It has told all pods, and tells new ones. */
  readonly connected: boolean;
  /** Why it is not connected. */
  readonly reason: string;
  /** Since the start. */
  readonly refused: readonly { readonly reason: string; readonly count: number }[];
}

/** Port: control/pods.ts. */
export interface PodFactsSink {
  /** Never rejects; pods that are not attached are passed over. */
  inform(told: readonly PodFacts[]): Promise<void>;
}

/** Port: sources/nri.ts. Tells what CNI does not say of pods; nothing waits for it. */
export interface PodInformer {
  start(pods: PodFactsSink): void;
  status(): InformerStatus;
  stop(): Promise<void>;
}
