// When our record goes out, and when a new epoch begins: after a pass that found every inbound SA under the pending
// epoch in place and the bus read to its end (docs/keys.md §4, R1). What the record says of epochs is rotation.ts';
// lease, order and signature are the announcer's.
import type { OverlayConfig } from '../core/peers';
import { VxsealError } from '../errors';
import type { Clock, Log } from '../ports';
import type { Epochs } from './epochs';
import type { Announcer } from './parts';
import type { Problems } from './problems';
import type { Picture } from './reconciler';

/** rotate() answers "try again" after this long without a publication. */
const ROTATE_DEADLINE_MS = 10_000;
const RETRY_MS = 200;
/** A peer that takes longer to prove a new epoch is told as a problem: a record and a probe take seconds. */
const LAGGARD_MS = 60_000;
/** Peers named in one problem. */
const NAMED_LAGGARDS = 5;

export interface PublicationParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly epochs: Epochs;
  readonly problems: Problems;
  readonly announcer: Announcer;
}

export class Publication {
  /** A new epoch is due because the certificate is a new one. */
  private renewed = false;

  constructor(
    private readonly overlay: Pick<OverlayConfig, 'espPort' | 'prefixes'>,
    private readonly suite: string,
    private readonly parts: PublicationParts,
  ) {}

  /** @returns whether our epochs changed, so that another pass is due */
  async after(picture: Picture, mayPublish: boolean): Promise<boolean> {
    const published = mayPublish && (await this.publish(picture));
    const begun = await this.grantWish(picture);
    this.tellLaggards(picture);
    return published || begun;
  }

  /** Keys of the new certificate's time are not to rest on what the old one announced. */
  renewKeys(): void {
    this.renewed = true;
  }

  /**
   * A new epoch on demand; answers once it is published. @param pass runs a whole pass that begins after the call
   * Throws VxsealError 'not-ready' while an earlier one is under way, or at the deadline.
   */
  async rotate(pass: () => Promise<void>): Promise<{ readonly epoch: number }> {
    const { clock, epochs, problems } = this.parts;
    const { number } = await epochs.begin();
    const deadlineMs = clock.nowMs() + ROTATE_DEADLINE_MS;
    for (;;) {
      await pass();
      if ((epochs.announced()?.number ?? 0) >= number) return { epoch: number };
      if (clock.nowMs() + RETRY_MS > deadlineMs) {
        const why = problems.get('own record')?.reason ?? 'inbound keys are still being installed';
        throw new VxsealError(
          'not-ready',
          `epoch ${number} is made and not published yet: ${why}`,
          'it follows by itself; see `vxseal status`',
        );
      }
      await new Promise<void>((resolve) => clock.after(RETRY_MS, resolve));
    }
  }

  private async publish({ rotation, underlay }: Picture): Promise<boolean> {
    const { epochs, problems, announcer, log } = this.parts;
    const { announce } = rotation;
    if (announce === undefined) return false;
    const { espPort: port, prefixes } = this.overlay;
    try {
      await announcer.announce({ vteps: underlay.vteps, port, prefixes, suites: [this.suite], ...announce });
      problems.clear('own record');
    } catch (error) {
      problems.reportError('own record', error);
      return false;
    }
    if (epochs.pending()?.number !== announce.epoch.number) return false;
    epochs.published(announce.epoch.number);
    log.info({ epoch: announce.epoch.number }, 'epoch published');
    return true;
  }

  private tellLaggards({ rotation: { laggards } }: Picture): void {
    const { clock, epochs, problems } = this.parts;
    const newest = epochs.announced();
    const publishedNs = newest?.publishedNs;
    const late =
      publishedNs !== undefined && clock.monotonicNs() - publishedNs >= BigInt(LAGGARD_MS) * 1_000_000n;
    if (!late || laggards.length === 0) {
      problems.clear('rotation');
      return;
    }
    const more = laggards.length > NAMED_LAGGARDS ? ` and ${laggards.length - NAMED_LAGGARDS} more` : '';
    problems.report(
      'rotation',
      `not moved to epoch ${newest?.number}: ${laggards.slice(0, NAMED_LAGGARDS).join(', ')}${more}`,
      'see whether their agents run and read the bus; at keys.hardLimitMs their keys end and they are down',
    );
  }

  private async grantWish({ rotation }: Picture): Promise<boolean> {
    const { epochs, problems, log } = this.parts;
    // One that is pending will be published under the new certificate.
    if (epochs.pending() !== undefined) this.renewed = false;
    const wish = rotation.wish === 'none' && this.renewed ? 'certificate' : rotation.wish;
    if (wish === 'none' || epochs.pending() !== undefined) return false;
    try {
      const { number } = await epochs.begin();
      this.renewed = false;
      log.info({ epoch: number, why: wish }, 'new epoch');
      problems.clear('epoch');
      return true;
    } catch (error) {
      problems.reportError('epoch', error);
      return false;
    }
  }
}
