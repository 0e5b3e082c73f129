// Records on the bus that were refused and stand there still, as problems with remedies. Only the newest few: whoever
// writes onto the bus must not be able to fill the status.
import { recordName } from '../core/announcement';
import type { PolicyRejectReason } from '../core/policyrecord';
import type { RejectReason } from '../core/verify';
import type { BusRecord } from '../ports';
import type { Problems } from './problems';

const MAX_KEPT = 16;
const MAX_NAME = 80;

const clocks = 'compare the clocks of both nodes: systemctl enable --now systemd-timesyncd (or chrony)';
const writer = 'see who may write to the bus; the true owner publishes again by itself';
const updates = 'bring both agents to versions that know each other';

/** What to do about each reason; undefined: nothing, it is no fault. */
const REMEDIES: Readonly<Record<RejectReason | PolicyRejectReason, string | undefined>> = {
  tombstone: undefined,
  oversize: writer,
  'wrong-topic': writer,
  malformed: writer,
  'wrong-type': writer,
  'wrong-algorithm': writer,
  'unknown-version': updates,
  'bad-chain':
    'compare identity.roots and identity.trustDomain of both nodes; issue its certificate by the CA of this cluster: vxseal ca issue',
  'expired-certificate': `renew its certificate (vxseal ca renew), or ${clocks}`,
  revoked: 'remove it from the list of revocations and issue a new certificate, if it is to come back',
  'bad-signature': writer,
  'key-mismatch': writer,
  'node-mismatch': writer,
  'outside-grant':
    'correct overlay.prefixes and underlay.vteps there, or issue a certificate that grants them: vxseal ca issue',
  'bad-lease': clocks,
  'bad-generation': clocks,
  'no-key': writer,
  'not-an-author':
    'sign it with the certificate of a policy author: vxseal ca issue --policy-author; a node that signs policy may be compromised',
  'author-mismatch': writer,
  'too-many': 'withdraw documents that are not needed: vxseal policy withdraw',
  'unknown-suite': 'give both nodes the same keys.pskFile, or none',
};

export interface RecordCounts {
  readonly accepted: number;
  readonly refused: readonly { readonly reason: string; readonly count: number }[];
}

/** Most refused first. */
export function addCounts(...all: readonly RecordCounts[]): RecordCounts {
  const refused = new Map<string, number>();
  for (const { reason, count } of all.flatMap((each) => each.refused))
    refused.set(reason, (refused.get(reason) ?? 0) + count);
  return {
    accepted: all.reduce((sum, { accepted }) => sum + accepted, 0),
    refused: [...refused].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count),
  };
}

interface Refusal {
  readonly key: string;
  readonly reason: string;
  readonly detail: string;
}

export class Refusals {
  /** By topic and key. */
  private readonly standing = new Map<string, Refusal>();

  /** @param kind of the problems: "record of node7" */
  constructor(private readonly kind = 'record of ') {}

  refused(record: BusRecord, reason: string, detail: string): void {
    const place = recordName(record);
    this.standing.delete(place);
    if (remedyFor(reason) === undefined) return;
    this.standing.set(place, { key: record.key.slice(0, MAX_NAME), reason, detail });
    const [oldest] = this.standing.keys();
    if (this.standing.size > MAX_KEPT && oldest !== undefined) this.standing.delete(oldest);
  }

  /** A good record has taken its place. */
  accepted(record: BusRecord): void {
    this.standing.delete(recordName(record));
  }

  tell(problems: Problems): void {
    const { kind } = this;
    for (const { key, reason, detail } of this.standing.values())
      problems.report(`${kind}${key}`, `refused: ${reason}: ${detail}`, remedyFor(reason) ?? '');
    problems.clearOthers(kind, new Set([...this.standing.values()].map(({ key }) => `${kind}${key}`)));
  }
}

function remedyFor(reason: string): string | undefined {
  return Object.hasOwn(REMEDIES, reason) ? REMEDIES[reason as keyof typeof REMEDIES] : writer;
}
