// The shape of the configuration, frozen once it is made. Every key's default, meaning and names are in
// config/keys.ts; how file, environment and flags become a Config is config/load.ts.
import type { IpAddress, NodeName, Prefix, Vni } from './core/ids';
import type { SharedService } from './core/shared';

export interface Config {
  /** Default: the host name. */
  readonly nodeName: NodeName;
  /** Run-time files: socket, own bpffs if needed. Default /run/vxseal. */
  readonly runDir: string;
  /** Survives reboots: generation, highest sequences seen. Default /var/lib/vxseal. */
  readonly stateDir: string;
  /** Folder on a bpffs for our pins. Default /sys/fs/bpf/vxseal. */
  readonly pinDir: string;
  /** Folder of the compiled BPF objects. Default: beside the program. */
  readonly bpfDir: string;
  readonly identity: {
    readonly trustDomain: string;
    /** PEM files. */
    readonly key: string;
    readonly chain: string;
    readonly roots: string;
    /** List of revocations; need not exist. */
    readonly revoked: string;
  };
  /** `path` is the directory bus's; `kafka` below is the other one's. */
  readonly bus: { readonly type: 'directory' | 'kafka'; readonly path: string };
  readonly kafka: {
    /** Where the cluster is looked for first; host names, IPv4 or IPv6. */
    readonly brokers: readonly { readonly host: string; readonly port: number }[];
    readonly clientId: string;
    /** Before the names of the topics, for clusters that share brokers. */
    readonly topicPrefix: string;
    /** Of topics that we create; 0: the brokers' default. */
    readonly replicationFactor: number;
    readonly tls: boolean;
    /** PEM files; '' for none. */
    readonly tlsCa: string;
    readonly tlsCert: string;
    readonly tlsKey: string;
    readonly saslMechanism: 'none' | 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly saslUsername: string;
    readonly saslPasswordFile: string;
  };
  readonly underlay: {
    /** Device names; empty: the devices that carry the VTEP addresses. */
    readonly devices: readonly string[];
    /** Our outer addresses; empty: those of the certificate's grant that are configured here. */
    readonly vteps: readonly IpAddress[];
    readonly espPort: number;
    /** An IKE daemon uses the same UDP port: ESP with foreign SPIs passes to the stack. */
    readonly sharedPort: boolean;
    /** Order in which XDP is tried; "tc" decrypts in tc ingress. */
    readonly xdp: 'auto' | 'native' | 'tc';
    /** Threaded NAPI and GRO are switched on for the underlay devices. */
    readonly tune: 'auto' | 'off';
  };
  readonly overlay: {
    /** Who does the cipher: our programs, or the kernel's own IPsec. */
    readonly engine: 'bpf' | 'xfrm';
    readonly device: string;
    readonly vni: Vni;
    readonly port: number;
    /** 0: computed from the underlay's MTU. */
    readonly mtuBytes: number;
    /** Pod prefixes of this node, by VNI. */
    readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
    /** Whole cluster ranges, of each VNI in use: what lies in them and belongs to no peer is dropped. */
    readonly protectedPrefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
    readonly pools: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
    /** Ways between tenants. */
    readonly shared: readonly SharedService[];
  };
  readonly adoption: {
    /** What permissive pods speak with in clear until a node announces it; of overlay.vni only. */
    readonly permissivePrefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
    /** Modes that networks and annotations may ask for. */
    readonly allow: readonly ('permissive' | 'off')[];
  };
  /** Folder of NetworkPolicy manifests; '' for none. */
  readonly policies: { readonly path: string };
  readonly keys: {
    readonly packetLimit: bigint;
    readonly leaseMs: number;
    /** After this long in a retired epoch the peer is down. */
    readonly hardLimitMs: number;
    /** Longest time for which an epoch of ours is the newest. */
    readonly rotateMs: number;
    /** File of the cluster's pre-shared key; '' for none. */
    readonly pskFile: string;
  };
  readonly probes: { readonly intervalMs: number; readonly timeoutMs: number };
  readonly cni: {
    /** Folder of the container runtime's network lists that our plugin is kept in; '' to leave it alone. */
    readonly confDir: string;
    /** Name of the network; '' for the one that the runtime takes. */
    readonly network: string;
    /** Socket on which the container runtime tells the labels of its pods; '' to do without. */
    readonly nriSocket: string;
  };
  readonly reconcileIntervalMs: number;
  readonly http: {
    /** Read-only API, metrics and status page over TCP, "127.0.0.1:9477" or "[::1]:9477"; '': only the unix socket. */
    readonly listen: string;
  };
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' };
}
