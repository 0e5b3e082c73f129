// The other end: a Linux kernel's own IPsec and VXLAN, set up by ip(8) from the same keys, in a test machine or a
// namespace. Nothing of ours runs there; its counters are the judge.
import { CommandError, type Outcome } from '../../lab/command';
import { type Case, caseMtuBytes, ESP_PORT, FOREIGN, type Keys, OURS, TUNNEL_VNI, VXLAN_PORT } from './plan';

/** Runs a command where the foreign end is. */
export type Runner = (argv: readonly string[], timeoutMs?: number) => Promise<Outcome>;
/** Of /proc/net/xfrm_stat: "XfrmInStateSeqError" -> packets. */
export type XfrmCounters = ReadonlyMap<string, number>;

const DEVICE = 'eth0';
const ALGORITHM = 'rfc7539esp(chacha20,poly1305)';
const REQID = 7;

/** A socket on the ESP port that hands its packets to the kernel's IPsec (UDP_ENCAP_ESPINUDP, udp(7)). */
const ENCAP_SOCKET = `
  socket(my $s, $ARGV[0] == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 17) or die "socket: $!";
  setsockopt($s, 41, 26, pack("i", 1)) if $ARGV[0] == 6;
  my $any = $ARGV[0] == 6 ? pack_sockaddr_in6(${ESP_PORT}, "\\0" x 16) : pack_sockaddr_in(${ESP_PORT}, INADDR_ANY);
  bind($s, $any) or die "bind: $!";
  setsockopt($s, 17, 100, pack("i", 2)) or die "UDP_ENCAP: $!";
  my $keeper = fork;
  if ($keeper) { print $keeper; exit }
  close(STDIN); close(STDOUT); close(STDERR);
  sleep`;

export class Foreign {
  private readonly sockets: string[] = [];

  constructor(private readonly runner: Runner) {}

  /** Addresses of the underlay, and the sockets. */
  async prepare(): Promise<void> {
    await this.sh(
      // What ip(8) asks for is loaded by the kernel itself, apart from this.
      'modprobe -a xfrm_user esp4 esp6 vxlan',
      `ethtool -K ${DEVICE} tx off >/dev/null`,
      `ip addr add ${FOREIGN.vtep[4]}/24 dev ${DEVICE}`,
      `ip addr add ${FOREIGN.vtep[6]}/64 dev ${DEVICE} nodad`,
      `ip link set ${DEVICE} mtu 1500 up`,
    );
    for (const family of [4, 6]) {
      const outcome = await this.command(['perl', '-MSocket', '-e', ENCAP_SOCKET, String(family)]);
      this.sockets.push(outcome.stdout.trim());
    }
  }

  /** Ends what was started. */
  async close(): Promise<void> {
    if (this.sockets.length > 0) await this.runner(['kill', ...this.sockets]);
  }

  /** A tunnel anew, under `keys` both ways. */
  async build(chosen: Case, keys: Keys): Promise<void> {
    const { family } = chosen;
    const checksums = family === 6 ? 'udp6zerocsumrx' : 'noudpcsum';
    await this.sh(
      'ip link del vx0 2>/dev/null || true',
      'ip xfrm policy flush',
      'ip xfrm state flush',
      `ip link add vx0 address ${FOREIGN.mac} mtu ${caseMtuBytes(chosen)} type vxlan id ${TUNNEL_VNI}` +
        ` local ${FOREIGN.vtep[family]} remote ${OURS.vtep[family]} dstport ${VXLAN_PORT} nolearning ${checksums}`,
      `ip addr add ${FOREIGN.inner[4]}/24 dev vx0`,
      `ip addr add ${FOREIGN.inner[6]}/64 dev vx0 nodad`,
      'ip link set vx0 addrgenmode none',
      'ip link set vx0 up',
      ...([4, 6] as const).flatMap((inner) => [
        `ip route add ${OURS.prefix[inner]} dev vx0`,
        `ip neigh add ${OURS.inner[inner]} lladdr ${OURS.mac} dev vx0 nud permanent`,
      ]),
      ...this.receiveLines(chosen, keys),
      ...this.sendLines(chosen, keys, 'add'),
      `ip xfrm policy add ${this.selector(family, 'in')} dir in tmpl ${ends(family, 'in')} proto esp reqid ${REQID} mode transport`,
    );
  }

  /** Reads what comes under `keys`, beside the keys that are there. */
  async receiveUnder(chosen: Case, keys: Keys): Promise<void> {
    await this.sh(...this.receiveLines(chosen, keys));
  }

  /** From now on sends under `keys`. */
  async sendUnder(chosen: Case, keys: Keys): Promise<void> {
    await this.sh(...this.sendLines(chosen, keys, 'update'));
  }

  async forget({ family }: Case, keys: Keys): Promise<void> {
    const remove = (direction: 'in' | 'out', spi: number) =>
      `ip xfrm state delete ${ends(family, direction)} proto esp spi ${spi}`;
    await this.sh(remove('out', keys.toOurs.spi), remove('in', keys.toForeign.spi));
  }

  async counters(): Promise<XfrmCounters> {
    const { stdout } = await this.command(['cat', '/proc/net/xfrm_stat']);
    return new Map(
      [...stdout.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, name, count]) => [name ?? '', Number(count)]),
    );
  }

  /** Throws CommandError. */
  async command(argv: readonly string[], timeoutMs?: number): Promise<Outcome> {
    const outcome = await this.runner(argv, timeoutMs);
    if (outcome.status !== 0) throw new CommandError(argv.slice(0, 3), outcome);
    return outcome;
  }

  /** Does not throw for an exit code. */
  try(argv: readonly string[], timeoutMs?: number): Promise<Outcome> {
    return this.runner(argv, timeoutMs);
  }

  private receiveLines(chosen: Case, { toForeign }: Keys): string[] {
    return [this.state(chosen, 'in', toForeign)];
  }

  /** The policy names the SPI: of two SAs between the same ends the kernel would choose by age. */
  private sendLines(chosen: Case, { toOurs }: Keys, verb: 'add' | 'update'): string[] {
    const { family } = chosen;
    const template = `${ends(family, 'out')} proto esp spi ${toOurs.spi} reqid ${REQID} mode transport`;
    return [
      this.state(chosen, 'out', toOurs),
      `ip xfrm policy ${verb} ${this.selector(family, 'out')} dir out tmpl ${template}`,
    ];
  }

  private state(chosen: Case, direction: 'in' | 'out', keys: Keys['toOurs']): string {
    const secret = Buffer.concat([keys.key, keys.salt]).toString('hex');
    const encap = chosen.encapsulation === 'udp' ? ` encap espinudp ${ESP_PORT} ${ESP_PORT} 0.0.0.0` : '';
    return (
      `ip xfrm state add ${ends(chosen.family, direction)} proto esp spi ${keys.spi} reqid ${REQID} mode transport` +
      ` replay-window 128 flag esn aead '${ALGORITHM}' 0x${secret} 128${encap}`
    );
  }

  private selector(family: 4 | 6, direction: 'in' | 'out'): string {
    return `${ends(family, direction)} proto udp dport ${VXLAN_PORT}`;
  }

  private async sh(...lines: string[]): Promise<void> {
    const outcome = await this.runner(['sh', '-ec', lines.join('\n')]);
    // Not the script itself: it holds keys.
    if (outcome.status !== 0) throw new CommandError(['set up the foreign end'], outcome);
  }
}

const ends = (family: 4 | 6, direction: 'in' | 'out'): string => {
  const [from, to] = direction === 'out' ? [FOREIGN, OURS] : [OURS, FOREIGN];
  return `src ${from.vtep[family]} dst ${to.vtep[family]}`;
};
