// Which targets there are. Packets need root and the eBPF programs, the plugin its build with sanitizers, the others
// nothing.
import { cniTarget, configTarget, httpTarget } from './inputs';
import { packetTarget } from './packets';
import { pluginTarget } from './plugin';
import { policyPayloadTarget, policyRecordTarget } from './policies';
import { blocksTarget, chainTarget, envelopeTarget, payloadTarget, recordTarget } from './records';
import type { Target } from './target';

type Maker = () => Target | Promise<Target>;

export const PURE_TARGETS: Readonly<Record<string, Maker>> = {
  record: recordTarget,
  envelope: () => envelopeTarget,
  payload: () => payloadTarget,
  'policy-record': policyRecordTarget,
  'policy-payload': () => policyPayloadTarget,
  chain: () => chainTarget,
  'address-blocks': () => blocksTarget,
  config: configTarget,
  http: httpTarget,
  cni: cniTarget,
};

export const ALL_TARGETS: Readonly<Record<string, Maker>> = {
  ...PURE_TARGETS,
  'cni-plugin': pluginTarget,
  packets: packetTarget,
};
