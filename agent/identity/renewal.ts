// This node's identity while the agent runs: looks at its files again and again, and takes over what was renewed. A
// set of files that is not good as a whole (half replaced, expired, of another node) changes nothing and is told.
// Says what changed; what follows from that (a new record, a new epoch, records judged anew) is control/'s.
import { stat } from 'node:fs/promises';
import type { NodeName } from '../core/ids';
import { VxsealError } from '../errors';
import type { Clock } from '../ports';
import { type IdentityFiles, type LocalIdentity, loadIdentity } from './local';

/** Looked at and not watched: mounted secrets are replaced through links, which no watch follows. */
const LOOK_MS = 5000;
/** Files are replaced one after the other: only what is still wrong at the next look is told. */
const TOLD_AFTER_LOOKS = 2;

export interface IdentityChange {
  /** Our certificate or key is another one: what we publish must be signed anew. */
  readonly own: boolean;
  /** Roots or revocations are others: every record must be judged anew. */
  readonly trust: boolean;
}

export interface IdentityListener {
  changed(change: IdentityChange): void;
  /** @param reason undefined: the files are good again */
  told(reason: VxsealError | undefined): void;
}

export class RenewableIdentity {
  private stamp = '';
  private failures = 0;
  private cancel: () => void = () => undefined;
  private stopped = false;

  private constructor(
    private readonly files: IdentityFiles,
    private readonly clock: Clock,
    private identity: LocalIdentity,
  ) {}

  /** Throws VxsealError 'identity', also for a certificate of another node. */
  static async open(files: IdentityFiles, node: NodeName, clock: Clock): Promise<RenewableIdentity> {
    const stamp = await stampOf(files);
    const identity = await load(files, node, clock);
    const renewable = new RenewableIdentity(files, clock, identity);
    renewable.stamp = stamp;
    return renewable;
  }

  current(): LocalIdentity {
    return this.identity;
  }

  watch(listener: IdentityListener): void {
    this.cancel = this.clock.after(LOOK_MS, () => {
      void this.look(listener).finally(() => {
        if (!this.stopped) this.watch(listener);
      });
    });
  }

  stop(): void {
    this.stopped = true;
    this.cancel();
  }

  private async look(listener: IdentityListener): Promise<void> {
    const stamp = await stampOf(this.files);
    if (stamp === this.stamp || this.stopped) return;
    try {
      const next = await load(this.files, this.identity.node, this.clock);
      const before = this.identity;
      this.identity = next;
      this.stamp = stamp;
      const wasTold = this.failures >= TOLD_AFTER_LOOKS;
      this.failures = 0;
      if (wasTold) listener.told(undefined);
      const change = {
        own: next.fingerprint !== before.fingerprint,
        trust: next.trustFingerprint !== before.trustFingerprint,
      };
      if (change.own || change.trust) listener.changed(change);
    } catch (error) {
      this.failures += 1;
      if (this.failures < TOLD_AFTER_LOOKS) return;
      listener.told(
        error instanceof VxsealError
          ? error
          : new VxsealError('identity', 'identity files cannot be read', 'see the log', { cause: error }),
      );
    }
  }
}

async function load(files: IdentityFiles, node: NodeName, clock: Clock): Promise<LocalIdentity> {
  const identity = await loadIdentity(files, clock.nowMs());
  if (identity.node === node) return identity;
  throw new VxsealError(
    'identity',
    `${files.chain}: the certificate is of node ${identity.node}, this node is ${node}`,
    'set nodeName to the name in the certificate, or issue one for this name: vxseal ca issue',
  );
}

/** Another text when any of the files may be another one. */
async function stampOf({ key, chain, roots, revoked }: IdentityFiles): Promise<string> {
  const stamps = [key, chain, roots, revoked].map(async (path) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    return found === undefined
      ? '-'
      : `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}:${found.ctimeNs}`;
  });
  return (await Promise.all(stamps)).join(' ');
}
