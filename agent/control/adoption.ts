// Keeps which permissive prefixes a node has ever announced, over restarts: they are never in clear again, whatever
// becomes of that node's records and keys. Forgets those that no configured prefix touches any more, which is how an
// operator takes an adoption back.
import { overlaps } from '../core/adoption';
import { hostPrefix, prefixContains } from '../core/bytes';
import type { Prefix, Vni } from '../core/ids';
import type { RemotePod } from '../core/podroster';
import type { RosterNode } from '../core/roster';
import type { Problems } from './problems';

/** sources/adopted.ts AdoptedFile fits in. */
export interface AdoptedPrefixes {
  /** As a former process left them. */
  readonly former: readonly Prefix[];
  /** On disk once it resolves. */
  save(prefixes: readonly Prefix[]): Promise<void>;
}

export interface AdoptionSettings {
  readonly hostVni: Vni;
  readonly permissivePrefixes?: readonly Prefix[];
}

const OBJECT = 'adopted prefixes';
/** Beyond it the permissive prefixes are adopted as a whole: no node can make the list grow without end. */
const MAX_ADOPTED = 1024;

export class Adoption {
  private readonly adopted: Set<Prefix>;

  constructor(
    private readonly settings: AdoptionSettings,
    private readonly file: AdoptedPrefixes,
    private readonly problems: Problems,
  ) {
    this.adopted = new Set(file.former.filter((prefix) => this.concerns(prefix)));
  }

  /** Sorted. */
  list(): readonly Prefix[] {
    return [...this.adopted].sort();
  }

  /**
   * Takes in what the nodes announce now; a single address of theirs adopts the whole permissive prefix around it. The
   * data plane follows at once; the disk is not waited for.
   */
  look(roster: readonly RosterNode[], pods: readonly RemotePod[] = []): readonly Prefix[] {
    const { hostVni, permissivePrefixes = [] } = this.settings;
    if (permissivePrefixes.length === 0) return this.list();
    const before = this.adopted.size;
    for (const permissive of permissivePrefixes) {
      const isClaimed = pods.some(
        ({ record: { vni, address } }) => vni === hostVni && prefixContains(permissive, hostPrefix(address)),
      );
      if (isClaimed || this.adopted.size > MAX_ADOPTED) this.adopted.add(permissive);
    }
    for (const { record } of roster)
      for (const { vni, prefixes } of record?.prefixes ?? [])
        if (vni === this.settings.hostVni)
          for (const prefix of prefixes) if (this.isNew(prefix)) this.adopted.add(prefix);
    if (this.adopted.size !== before) void this.save();
    return this.list();
  }

  private isNew(prefix: Prefix): boolean {
    return this.concerns(prefix) && ![...this.adopted].some((known) => prefixContains(known, prefix));
  }

  private concerns(prefix: Prefix): boolean {
    return (this.settings.permissivePrefixes ?? []).some((permissive) => overlaps(permissive, prefix));
  }

  private async save(): Promise<void> {
    try {
      await this.file.save(this.list());
      this.problems.clear(OBJECT);
    } catch (error) {
      this.problems.reportError(OBJECT, error);
    }
  }
}
