// The engines side by side on one kernel, in namespaces: programs and kernel's IPsec, and both with the latter. Prints
// one line of JSON. Run by main.ts in a test machine; the kernel must have IPsec.

import type { Vni } from '../../../agent/core/ids';
import type { Proof } from '../../lab/context';
import { TUNNEL_VNI } from '../interop/plan';
import { CLOSED_PROOFS } from './closed';
import { type EngineProof, PROOFS } from './proofs';
import { type Choice, Scene } from './scene';

const BPF: Choice = { engine: 'bpf', xdp: 'auto', hostVni: TUNNEL_VNI };
const XFRM: Choice = { ...BPF, engine: 'xfrm' };
/** The pods are a tenant's. */
const TENANT = { hostVni: (TUNNEL_VNI + 1) as Vni };
const SCENES: readonly { readonly family: 4 | 6; readonly ends: readonly [Choice, Choice] }[] = [
  { family: 4, ends: [BPF, XFRM] },
  { family: 6, ends: [BPF, XFRM] },
  { family: 4, ends: [XFRM, XFRM] },
  { family: 6, ends: [XFRM, { ...XFRM, xdp: 'tc' }] },
  {
    family: 4,
    ends: [
      { ...XFRM, xdp: 'native' },
      { ...XFRM, xdp: 'tc' },
    ],
  },
  {
    family: 4,
    ends: [
      { ...BPF, ...TENANT },
      { ...XFRM, ...TENANT },
    ],
  },
];

const text = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

async function tryProof(name: string, scene: Scene, body: EngineProof['body']): Promise<Proof> {
  try {
    return { name, ok: true, detail: await body(scene) };
  } catch (cause) {
    return { name, ok: false, detail: text(cause) };
  }
}

async function trySceneProofs({ family, ends: [a, b] }: (typeof SCENES)[number]): Promise<Proof[]> {
  const whose = a.hostVni === TUNNEL_VNI ? '' : ", a tenant's pods";
  const title = `IPv${family}, engines ${a.engine} (${a.xdp}) and ${b.engine} (${b.xdp})${whose}`;
  const proofs: Proof[] = [];
  let scene: Scene | undefined;
  try {
    scene = new Scene({ family, encapsulation: 'udp' }, a, b);
    await scene.open();
    for (const { name, body } of [...PROOFS, ...CLOSED_PROOFS]) {
      const proof = await tryProof(`${title}: ${name}`, scene, body);
      proofs.push(proof);
      console.error(`${proof.ok ? 'ok' : 'FAIL'} ${proof.name}: ${proof.detail}`);
    }
  } catch (cause) {
    proofs.push({ name: title, ok: false, detail: text(cause) });
  } finally {
    scene?.close();
  }
  return proofs;
}

async function main(): Promise<void> {
  const only = process.argv.slice(2).map(Number);
  const proofs: Proof[] = [];
  for (const [index, scene] of SCENES.entries())
    if (only.length === 0 || only.includes(index)) proofs.push(...(await trySceneProofs(scene)));
  console.log(JSON.stringify(proofs));
}

void main();
