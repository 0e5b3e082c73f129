// The meaning of policies against an implementation that shares nothing with ours: cyclonus, the analyzer of the upstream
// NetworkPolicy tests, on random manifests, and the Kubernetes API's own machinery on selectors. What is known to be
// judged otherwise is left out of the comparison by name, and each such difference is shown to be there.
import type { IpAddress } from '../../agent/core/ids';
import {
  type PolicyPod,
  type PolicyProtocol,
  type PolicyWorld,
  podName,
  selects,
} from '../../agent/core/policy';
import { decide } from '../../agent/core/policyexplain';
import { compilePolicies, type PolicyTables, PROTOCOLS } from '../../agent/core/policytables';
import { type Manifests, parseManifests } from '../../agent/sources/manifests';
import { allowedByTables, type KnownIdentities } from '../agent/core/policylookup';
import { HOST_VNI } from '../agent/core/policyworlds';
import { seeded } from '../agent/core/random';
import { randomLabels, randomQuestion, randomSelector } from './manifests';
import {
  type End,
  judgedByCyclonus,
  type Manifest,
  matchedByApi,
  type Probe,
  type Question,
  type Verdict,
} from './oracle';

const TIMEOUT_MS = 300_000;
const WORLDS = 400;
const PROBES = 50;
const HOST = '192.0.2.1' as IpAddress;

function parsed(items: readonly Manifest[]): Manifests {
  const read = parseManifests(JSON.stringify({ kind: 'List', items }));
  if (!read.ok) throw new Error(read.detail);
  return read.value;
}

/** Ours: from the same manifests, through parser and compiler, as the data plane would look it up. */
class Ours {
  readonly world: PolicyWorld;
  private readonly tables: PolicyTables;
  private readonly ifindexes = new Map<string, number>();
  private readonly identities: KnownIdentities = new Map();

  constructor({ namespaces, pods, policies }: Question) {
    const read = parsed([...namespaces, ...pods, ...policies]);
    this.world = { ...read, pods: read.pods.map((pod) => ({ ...pod, vni: HOST_VNI })) };
    const local = this.world.pods.map((pod, i) => ({ ...pod, ifindex: 100 + i }));
    for (const pod of local) this.ifindexes.set(podName(pod), pod.ifindex);
    this.tables = compilePolicies({ ...this.world, local, hostVni: HOST_VNI, hostAddresses: [HOST] });
  }

  byTables({ from, to, protocol, port }: Probe): Verdict {
    const number = protocol === 'ICMP' ? (from.ip.includes(':') ? 58 : 1) : PROTOCOLS[protocol];
    const side = (mine: End, direction: 'egress' | 'ingress', other: End): boolean => {
      const ifindex = this.ifindexes.get(mine.pod ?? '');
      if (ifindex === undefined) return true; // no pod, no policy
      return allowedByTables(this.tables, ifindex, direction, other.ip, number, port, this.identities);
    };
    return { egress: side(from, 'egress', to), ingress: side(to, 'ingress', from) };
  }

  explained({ from, to, protocol, port }: Probe): Verdict {
    const named = protocol === 'ICMP' ? undefined : (protocol as PolicyProtocol);
    const connection = { from: this.party(from), to: this.party(to), protocol: named, port };
    return {
      egress: decide(this.world, connection, 'egress').allowed,
      ingress: decide(this.world, connection, 'ingress').allowed,
    };
  }

  private party({ pod, ip }: End): { readonly pod: PolicyPod | undefined; readonly address: IpAddress } {
    return { pod: this.world.pods.find((each) => podName(each) === pod), address: ip };
  }
}

test(
  `${WORLDS * PROBES} random connections under random policies: tables and explanation say what cyclonus says`,
  () => {
    const random = seeded(41);
    const questions = Array.from({ length: WORLDS }, () => randomQuestion(random, PROBES));
    const answers = judgedByCyclonus(questions);
    const counts = { egress: 0, ingress: 0, both: 0 };
    for (const [i, question] of questions.entries()) {
      const ours = new Ours(question);
      for (const [j, probe] of question.probes.entries()) {
        const theirs = answers[i]?.[j];
        const told = { theirs, tables: ours.byTables(probe), explained: ours.explained(probe) };
        if (!same(told.tables, theirs) || !same(told.explained, theirs))
          throw new Error(JSON.stringify({ probe, told, ...question, probes: undefined }, undefined, 1));
        if (!theirs?.egress) counts.egress++;
        if (!theirs?.ingress) counts.ingress++;
        if (theirs?.egress && theirs.ingress) counts.both++;
      }
    }
    // A generator that lets all or nothing through would compare nothing.
    for (const count of Object.values(counts)) expect(count / (WORLDS * PROBES)).toBeGreaterThan(0.15);
  },
  TIMEOUT_MS,
);

const same = (a: Verdict, b: Verdict | undefined): boolean =>
  a.egress === b?.egress && a.ingress === b?.ingress;

test('20,000 selectors and labels, absent keys and empty values included: as the API itself matches them', () => {
  const random = seeded(43);
  const questions = Array.from({ length: 1000 }, () => ({
    selector: randomSelector(random),
    labels: Array.from({ length: 20 }, () => randomLabels(random)),
  }));
  let matched = 0;
  for (const [i, matches] of matchedByApi(questions).entries()) {
    const { selector, labels } = questions[i] as (typeof questions)[number];
    const [policy] = parsed([
      { kind: 'NetworkPolicy', metadata: { name: 'p' }, spec: { podSelector: selector } },
    ]).policies;
    if (policy === undefined) throw new Error('no policy');
    const ours = labels.map((each) => selects(policy.podSelector, each));
    expect({ selector, labels, matches: ours }).toEqual({ selector, labels, matches });
    matched += ours.filter((match) => match).length;
  }
  expect(matched).toBeGreaterThan(4000);
  expect(matched).toBeLessThan(16_000);
});

describe('left out of the comparison, where the API is with us and not with cyclonus 0.5.6', () => {
  const pod = (name: string, labels: Record<string, string>, address: string): Manifest => ({
    kind: 'Pod',
    metadata: { namespace: 'x', name, labels },
    status: { podIPs: [{ ip: address }] },
  });
  const question = (spec: Manifest, from: string, to: string): Question => ({
    namespaces: [{ kind: 'Namespace', metadata: { name: 'x' } }],
    pods: [pod('a', { app: 'a' }, '10.1.0.1'), pod('b', {}, '10.1.0.2')],
    policies: [{ kind: 'NetworkPolicy', metadata: { namespace: 'x', name: 'p' }, spec }],
    probes: [
      {
        from: { pod: `x/${from}`, ip: `10.1.0.${from === 'a' ? 1 : 2}` as IpAddress },
        to: { pod: `x/${to}`, ip: `10.1.0.${to === 'a' ? 1 : 2}` as IpAddress },
        protocol: 'TCP',
        port: 80,
      },
    ],
  });
  const notIn = { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['z'] }] };
  const empty = { matchLabels: { app: '' } };

  // Ours of the tables, ours explained, cyclonus's: whether it is let in.
  test.each<[string, Question, boolean, boolean]>([
    ['NotIn of a label that is not there matches', question({ podSelector: notIn }, 'a', 'b'), false, true],
    [
      'a label that is not there is not the empty one',
      question({ podSelector: empty }, 'a', 'b'),
      true,
      false,
    ],
  ])('%s', (_name, asked, ours, theirs) => {
    const [probe] = asked.probes as [Probe];
    expect(new Ours(asked).byTables(probe).ingress).toBe(ours);
    expect(new Ours(asked).explained(probe).ingress).toBe(ours);
    expect(judgedByCyclonus([asked])[0]?.[0]?.ingress).toBe(theirs);
  });

  test('a pod always reaches itself', () => {
    const asked = question({ podSelector: {} }, 'a', 'a');
    const [probe] = asked.probes as [Probe];
    expect(new Ours(asked).explained(probe)).toEqual({ egress: true, ingress: true });
    expect(judgedByCyclonus([asked])[0]).toEqual([{ egress: true, ingress: false }]);
  });

  test('the API is with us: both selectors', () => {
    const labels = [{}];
    expect(matchedByApi([notIn, empty].map((selector) => ({ selector, labels })))).toEqual([[true], [false]]);
  });
});
