// How services shared between tenants are read from text and from YAML. What they may say together is core/shared.ts'.
import { parsePrefix } from '../core/bytes';
import type { Prefix } from '../core/ids';
import { accept } from '../core/result';
import type { SharedService } from '../core/shared';
import {
  invalid,
  type PrefixGroup,
  prefixGroups,
  splitList,
  UNNAMED_VNI,
  type ValueResult,
  type ValueType,
  vni,
} from './values';

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const FORM = /^(\S+) (\S+) (.+) from (.+)$/;
const KEYS = ['name', 'vni', 'prefixes', 'clients'];

/**
 * An element is "dns 42 10.42.0.53/32 from 7=10.7.0.0/24 8=10.8.0.0/24", in the file also
 * {name: dns, vni: 42, prefixes: [10.42.0.53/32], clients: [7=10.7.0.0/24, {vni: 8, prefixes: [10.8.0.0/24]}]}.
 */
export const sharedServices: ValueType<readonly SharedService[]> = {
  label: 'list of services, each as dns 42 10.42.0.53/32 from 7=10.7.0.0/24 (VNI 42 to clients of VNI 7)',
  parse: (raw) => {
    const parts = splitList(raw);
    if (parts === undefined) return invalid(raw, 'is not a list');
    const services: SharedService[] = [];
    for (const part of parts) {
      const parsed = typeof part === 'string' ? parseText(part) : parseFields(part);
      if (!parsed.ok) return parsed;
      services.push(parsed.value);
    }
    return accept(services);
  },
  plain: (value) => value,
};

function parseText(text: string): ValueResult<SharedService> {
  const [, name, tag, prefixes = '', clients = ''] = FORM.exec(text.trim().replace(/\s+/g, ' ')) ?? [];
  if (name === undefined) return invalid(text, 'is not NAME VNI PREFIX… from VNI=PREFIX…');
  return parseFields({ name, vni: tag, prefixes: prefixes.split(' '), clients: clients.split(' ') });
}

function parseFields(raw: unknown): ValueResult<SharedService> {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    return invalid(raw, 'is neither text nor {name: …, vni: …, prefixes: […], clients: […]}');
  const fields = raw as Readonly<Record<string, unknown>>;
  const stray = Object.keys(fields).find((key) => !KEYS.includes(key));
  if (stray !== undefined) return invalid(stray, `is no key of a service; its keys are ${KEYS.join(', ')}`);
  const { name } = fields;
  if (typeof name !== 'string' || !NAME.test(name))
    return invalid(name, 'is not the name of a service: a-z, 0-9 and "-", at most 63');
  const tag = vni.parse(fields.vni);
  if (!tag.ok) return tag;
  const prefixes = parsePrefixes(fields.prefixes);
  if (!prefixes.ok) return prefixes;
  const clients = parseClients(fields.clients);
  if (!clients.ok) return clients;
  return accept({ name, vni: tag.value, prefixes: prefixes.value, clients: clients.value });
}

function parsePrefixes(raw: unknown): ValueResult<readonly Prefix[]> {
  if (!Array.isArray(raw) || raw.length === 0)
    return invalid(raw, 'is not a list of prefixes of the service');
  const prefixes = new Set<Prefix>();
  for (const each of raw as readonly unknown[]) {
    const prefix = parsePrefix(typeof each === 'string' ? each : '');
    if (!prefix.ok) return invalid(each, `is not usable: ${prefix.detail}`);
    prefixes.add(prefix.value);
  }
  return accept([...prefixes].sort());
}

function parseClients(raw: unknown): ValueResult<readonly PrefixGroup[]> {
  const groups = Array.isArray(raw)
    ? prefixGroups.parse(raw)
    : invalid<never>(raw, 'is not a list of clients');
  if (!groups.ok) return groups;
  if (groups.value.some((group) => group.vni === UNNAMED_VNI))
    return invalid(raw, 'has a client without its VNI: write 7=10.7.0.0/24');
  if (groups.value.every(({ prefixes }) => prefixes.length === 0)) return invalid(raw, 'names no client');
  return groups;
}
