// The same oracle held to the programs in the kernel: first packets of connections between a pod at a device and others,
// out of it through steer and into it through gate.
import type { IpAddress } from '../../agent/core/ids';
import { podName } from '../../agent/core/policy';
import { compilePolicies, PROTOCOLS } from '../../agent/core/policytables';
import { PolicyMaps } from '../../agent/kernel/policy';
import { parseManifests } from '../../agent/sources/manifests';
import { HOST_VNI } from '../agent/core/policyworlds';
import { seeded } from '../agent/core/random';
import { opening } from '../bpf/openings';
import { native, PASS, World } from '../bpf/world';
import { randomQuestion } from './manifests';
import { judgedByCyclonus, type Probe, type Question, type Verdict } from './oracle';

const LO = 1;
const WORLDS = 60;
const PROBES = 50;
const TIMEOUT_MS = 300_000;

let world: World;
let maps: PolicyMaps;
beforeAll(() => {
  world = new World('bpf/steer', 'bpf/gate');
  world.configure({ hostVni: HOST_VNI });
  maps = new PolicyMaps(native, (name) => world.map(name));
});
afterAll(() => world.close());

let source = 1024;

function passes({ from, to, protocol, port }: Probe, program: 'steer' | 'gate'): boolean {
  const icmp = from.ip.includes(':') ? 58 : 1;
  source++;
  const frame = opening(from.ip, to.ip, protocol === 'ICMP' ? icmp : PROTOCOLS[protocol], source, port);
  const { retval } = world.tc(program, frame);
  expect(world.drops()).toEqual(
    retval === PASS ? [] : [program === 'steer' ? 'egress:policy' : 'ingress:policy'],
  );
  return retval === PASS;
}

/** Every probe of the world that a pod takes part in, with that pod at the device. */
function compare(question: Question, verdicts: readonly Verdict[]): { passed: number; refused: number } {
  const { namespaces, pods: manifests, policies } = question;
  const items = [...namespaces, ...manifests, ...policies];
  const read = parseManifests(JSON.stringify({ kind: 'List', items }));
  if (!read.ok) throw new Error(read.detail);
  const pods = read.value.pods.map((pod) => ({ ...pod, vni: HOST_VNI }));
  const counts = { passed: 0, refused: 0 };
  for (const me of pods) {
    const local = [{ ...me, ifindex: LO }];
    const hostAddresses = ['192.0.2.1' as IpAddress];
    world.pod(LO, HOST_VNI, ...me.addresses);
    maps.install(compilePolicies({ ...read.value, pods, local, hostVni: HOST_VNI, hostAddresses }));
    for (const [i, probe] of question.probes.entries()) {
      const sides = [
        ...(probe.from.pod === podName(me) ? (['steer'] as const) : []),
        ...(probe.to.pod === podName(me) ? (['gate'] as const) : []),
      ];
      for (const side of sides) {
        const passed = passes(probe, side);
        const theirs = verdicts[i]?.[side === 'steer' ? 'egress' : 'ingress'];
        if (passed !== theirs)
          throw new Error(JSON.stringify({ side, passed, theirs, probe, ...question, probes: undefined }));
        counts[passed ? 'passed' : 'refused']++;
      }
    }
  }
  return counts;
}

test(
  `${WORLDS * PROBES} random connections in the kernel: each side does what cyclonus says`,
  () => {
    const random = seeded(47);
    const questions = Array.from({ length: WORLDS }, () => randomQuestion(random, PROBES));
    const answers = judgedByCyclonus(questions);
    let [passed, refused] = [0, 0];
    for (const [i, question] of questions.entries()) {
      const counts = compare(question, answers[i] ?? []);
      passed += counts.passed;
      refused += counts.refused;
    }
    expect(passed).toBeGreaterThan(1000);
    expect(refused).toBeGreaterThan(1000);
  },
  TIMEOUT_MS,
);
