// What people and runtimes give the agent: configuration, requests of the API, calls of the CNI plugin. None may end
// the process or be answered with a fault of the agent's own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { KEY_PATHS } from '../../agent/config/keys';
import { readConfig } from '../../agent/config/load';
import { plainValue } from '../../agent/config/reference';
import { type CniCall, decodeCniCall } from '../../agent/core/cni';
import { buildServer } from '../../agent/http/server';
import type { PodGate } from '../../agent/ports';
import { CniSource } from '../../agent/sources/cni';
import { apiParts } from '../fakes/api';
import { ManualClock } from '../fakes/clock';
import { QuietLog } from '../fakes/log';
import { NO_MEASURES } from '../fakes/node';
import { anyJson, below, mutateBytes, mutateJson, pick, type Random } from './mutate';
import type { Target } from './target';

const CONFIG = {
  nodeName: 'node1',
  identity: { trustDomain: 'lab.vxseal', key: '/k', chain: '/c', roots: '/r' },
  bus: { type: 'directory', path: '/bus' },
  underlay: { devices: ['eth0'], espPort: 4500 },
  overlay: {
    vni: 100,
    prefixes: [{ vni: 100, prefixes: ['10.244.1.0/24'] }],
    protectedPrefixes: [{ vni: 100, prefixes: ['10.244.0.0/16'] }],
  },
  probes: { intervalMs: 1000 },
};

export function configTarget(): Target {
  const dir = mkdtempSync(join(tmpdir(), 'vxseal-fuzz-'));
  const file = join(dir, 'config.yaml');
  return {
    name: 'config',
    fire: (random) => {
      const text =
        random() < 0.6
          ? stringify(mutateJson(CONFIG, random))
          : mutateBytes(Buffer.from(stringify(CONFIG)), random);
      writeFileSync(file, text);
      const environment = random() < 0.2 ? { VXSEAL_OVERLAY_VNI: String(anyJson(random)) } : {};
      const { config, issues } = readConfig({ file, environment, flags: {} });
      if (config === undefined) {
        if (issues.length === 0) throw new Error('refused without saying why');
        return 'refused';
      }
      for (const path of KEY_PATHS) plainValue(config, path);
      return 'accepted';
    },
    close: () => rmSync(dir, { recursive: true }),
  };
}

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly schema: unknown;
}

/** Values that a schema asks for, now and then others. */
function fromSchema(schema: unknown, random: Random): unknown {
  const { type, properties, items, enum: words } = (schema ?? {}) as Record<string, unknown>;
  if (random() < 0.15) return anyJson(random);
  if (Array.isArray(words)) return pick(random, words);
  if (type === 'object' && typeof properties === 'object' && properties !== null)
    return Object.fromEntries(Object.entries(properties).map(([name, of]) => [name, fromSchema(of, random)]));
  if (type === 'array') return Array.from({ length: below(random, 3) }, () => fromSchema(items, random));
  if (type === 'integer' || type === 'number') return below(random, 100);
  if (type === 'boolean') return random() < 0.5;
  return pick(random, ['node2', '/run/netns/x', 'a', 'default']);
}

/** From the API's own description. */
function operationsOf(document: unknown): Operation[] {
  const { paths } = document as { paths: Record<string, Record<string, { requestBody?: unknown }>> };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      schema: (operation.requestBody as { content?: Record<string, { schema?: unknown }> } | undefined)
        ?.content?.['application/json']?.schema,
    })),
  );
}

const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD'] as const;
const TYPES = ['application/json', 'text/plain', 'application/vnd.vxseal.cni', 'multipart/form-data', ''];
/** /readyz says 503 when not ready. What the agent has not been told how to answer is 501. */
const FAULT = 500;

export async function httpTarget(): Promise<Target> {
  const server = buildServer(apiParts(), 'unix');
  const described = await server.inject({ method: 'GET', url: '/openapi.json' });
  const operations = operationsOf(described.json()).filter(({ path }) => !/events|flows|stream/.test(path));
  if (operations.length < 8) throw new Error(`the API describes only ${operations.length} operations`);
  return {
    name: 'http',
    fire: async (random) => {
      const { method, path, schema } = pick(random, operations);
      const segment = () =>
        encodeURIComponent(String(anyJson(random)).replaceAll(/[\ud800-\udfff]/g, '')).slice(0, 200);
      const url = `${path.replaceAll(/\{\w+\}|:\w+/g, segment)}${random() < 0.2 ? `?${segment()}=${segment()}` : ''}`;
      const body = JSON.stringify(fromSchema(schema, random)) ?? '';
      const answer = await server.inject({
        method: random() < 0.9 ? (method as 'GET') : pick(random, METHODS),
        url,
        headers: { 'content-type': pick(random, TYPES) },
        payload: random() < 0.7 ? body : mutateBytes(Buffer.from(body), random),
      });
      if (answer.statusCode === FAULT) throw new Error(`${method} ${url}: ${answer.body}`);
      return `${answer.statusCode}`;
    },
    close: () => server.close(),
  };
}

const CNI_CONFIG = {
  cniVersion: '1.0.0',
  name: 'net',
  type: 'vxseal',
  prevResult: {
    cniVersion: '1.0.0',
    interfaces: [
      { name: 'veth0', mac: '02:00:00:00:00:01' },
      { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/n' },
    ],
    ips: [{ address: '10.244.1.2/24', gateway: '10.244.1.1', interface: 1 }],
    routes: [{ dst: '0.0.0.0/0' }],
  },
  runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'vxseal.io/vni': '42' } },
};

/** A pod gate that is glad of everything. */
const GATE: PodGate = {
  attach: async () => ({ mtuBytes: 1408 }),
  leave: async () => undefined,
  choose: (asked) => (asked.annotation === 'off' ? 'off' : 'strict'),
  detach: async () => true,
  check: async () => [],
  collect: async () => 0,
  blockers: () => [],
};
const CNI_INTERNAL = 999;
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** What may become a name of a file or a device must have the form of one. */
function checkAccepted({ command, attachment }: CniCall): void {
  if (command === 'GC' || command === 'STATUS') return;
  const { containerId, ifname, network } = attachment;
  if (!NAME.test(containerId) || !NAME.test(network) || /[\s/:]/.test(ifname) || ifname.length > 15)
    throw new Error(`accepted: ${JSON.stringify(attachment)}`);
}

/** As native/cni-shim.c writes it: variables, each ended by a zero byte, one more zero byte, standard input. */
export function cniTarget(): Target {
  const source = new CniSource(GATE, {
    log: new QuietLog(),
    clock: new ManualClock(),
    measures: NO_MEASURES,
  });
  return {
    name: 'cni',
    fire: async (random) => {
      const variables = [
        `CNI_COMMAND=${pick(random, ['ADD', 'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'add', ''])}`,
        `CNI_CONTAINERID=${random() < 0.8 ? 'abc123' : String(anyJson(random))}`,
        `CNI_NETNS=${random() < 0.8 ? '/run/netns/x' : String(anyJson(random))}`,
        `CNI_IFNAME=${random() < 0.8 ? 'eth0' : String(anyJson(random))}`,
        'CNI_PATH=/opt/cni/bin',
        `CNI_ARGS=${pick(random, ['', 'K8S_POD_NAME=p;K8S_POD_NAMESPACE=n', 'IgnoreUnknown', ';;=;'])}`,
      ].filter(() => random() < 0.97);
      const stdin = JSON.stringify(random() < 0.8 ? mutateJson(CNI_CONFIG, random) : CNI_CONFIG) ?? '';
      const request = Buffer.from([...variables, '', stdin].join('\0'));
      const bytes = random() < 0.3 ? mutateBytes(request, random) : request;
      const call = decodeCniCall(bytes);
      if (call.ok) checkAccepted(call.value);
      const answer = await source.answer(bytes);
      if (answer.ok) return 'accepted';
      const { code } = JSON.parse(answer.body) as { code: number };
      if (code === CNI_INTERNAL) throw new Error(answer.body);
      return `code ${code}`;
    },
  };
}
