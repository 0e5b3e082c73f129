// From which outer addresses packets came lately under keys that we do not have, as the data plane reports them. Such
// an address can be forged, so it counts for no peer; it only tells a silent path from two nodes that do not know each
// other's newest keys.
import type { Clock, Datapath, FlowReport, IpAddress } from '../ports';

const REASON = 'unknown_spi';
/** Forged addresses must not fill the memory. */
const MAX_ADDRESSES = 256;

export class UnknownKeys {
  /** Wall clock of the last such packet, oldest first. */
  private readonly lastMs = new Map<IpAddress, number>();

  constructor(
    private readonly clock: Clock,
    datapath: Pick<Datapath, 'onFlow'>,
    /** How long a packet counts. */
    private readonly windowMs: number,
  ) {
    datapath.onFlow((report) => this.take(report));
  }

  usedLately(address: IpAddress): boolean {
    const atMs = this.lastMs.get(address);
    return atMs !== undefined && this.clock.nowMs() - atMs < this.windowMs;
  }

  private take({ reason, source }: FlowReport): void {
    if (reason !== REASON || source === undefined) return;
    this.lastMs.delete(source);
    this.lastMs.set(source, this.clock.nowMs());
    const [oldest] = this.lastMs.keys();
    if (this.lastMs.size > MAX_ADDRESSES && oldest !== undefined) this.lastMs.delete(oldest);
  }
}
