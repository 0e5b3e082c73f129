// Where the CNI tests play: a lab whose pods are made by CNI plugins, not by the lab. Everything of the lab that these
// tests lean on is named here.
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Status } from '../../agent/control/status';
import { logTail } from '../lab/agents';
import { status } from '../lab/api';
import { ipBatch, run } from '../lab/command';
import { Context } from '../lab/context';
import { bringUp } from '../lab/lab';
import { type LabLayout, labLayout, NETNS_DIR, type NodeLayout } from '../lab/layout';
import { teardown } from '../lab/teardown';
import type { Conflist, Container } from './chain';

export interface StageNode {
  readonly layout: NodeLayout;
  readonly index: number;
  /** Path of its network namespace. */
  readonly netns: string;
  readonly socket: string;
  /** Pod addresses of this node. */
  readonly subnet: string;
  readonly gateway: string;
  /** Of what the plugins keep. */
  readonly dataDir: string;
  status(): Promise<Status>;
}

export class Stage {
  private made = 0;

  private constructor(
    readonly name: string,
    readonly lab: LabLayout,
    readonly context: Context,
    readonly nodes: readonly StageNode[],
  ) {}

  /** Throws with the agents' logs when the lab does not come up. */
  static async open(nodeCount: number): Promise<Stage> {
    const name = `c${randomBytes(3).toString('hex')}`;
    try {
      const lab = await bringUp(name, nodeCount, 0, () => undefined);
      return new Stage(name, lab, new Context(lab), lab.nodes.map(stageNode));
    } catch (error) {
      const logs = labLayout(name, nodeCount, 0).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
      teardown(name);
      throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause: error });
    }
  }

  /** @param index from 1. */
  node(index: number): StageNode {
    const node = this.nodes[index - 1];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  }

  /** A container's network namespace, empty; it goes with the lab. */
  container(node: StageNode, more: Partial<Container> = {}): Container & { readonly netns: string } {
    this.made += 1;
    const netns = `${this.name}-pod${node.index}-${this.made}`;
    run(['ip', 'netns', 'add', netns]);
    ipBatch(netns, ['link set lo up']);
    const id = `${netns}-${randomBytes(6).toString('hex')}`;
    return { id, netnsPath: join(NETNS_DIR, netns), netns, ...more };
  }

  async remove(container: { readonly netns: string }): Promise<void> {
    await this.context.drop(container.netns);
    run(['ip', 'netns', 'del', container.netns]);
  }

  async close(): Promise<void> {
    await this.context.close();
    for (const { dataDir } of this.nodes) rmSync(dataDir, { recursive: true, force: true });
    teardown(this.name);
  }
}

function stageNode(layout: NodeLayout): StageNode {
  const dataDir = join(layout.dir, 'cni');
  mkdirSync(dataDir, { recursive: true });
  return {
    layout,
    index: layout.index,
    netns: join(NETNS_DIR, layout.netns),
    socket: layout.socket,
    subnet: `10.244.${layout.index}.0/24`,
    gateway: `10.244.${layout.index}.1`,
    dataDir,
    status: () => status(layout),
  };
}

/** Addresses and a default route from the node's range, kept in a folder of the lab. */
export const hostLocal = ({ subnet, dataDir }: StageNode) => ({
  type: 'host-local',
  ranges: [[{ subnet }]],
  routes: [{ dst: '0.0.0.0/0' }],
  dataDir: join(dataDir, 'ipam'),
});

export const vxseal = ({ socket }: StageNode) => ({
  type: 'vxseal',
  socket,
  capabilities: { 'io.kubernetes.cri.pod-annotations': true },
});

export const bridge = (node: StageNode, more: object = {}) => ({
  type: 'bridge',
  bridge: 'cni0',
  isGateway: true,
  ipMasq: false,
  hairpinMode: true,
  ipam: hostLocal(node),
  ...more,
});

export const conflist = (name: string, plugins: Conflist['plugins'], cniVersion = '1.0.0'): Conflist => ({
  cniVersion,
  name,
  plugins,
});
