// From flags, environment, file and defaults (in this order of precedence) to one frozen Config. Reports every
// error at once and never starts with half of a configuration. Reads no secret: keys are named by file.
import { Buffer } from 'node:buffer';
import type { Config } from '../config';
import { permissiveGap } from '../core/adoption';
import { sharedIssues } from '../core/shared';
import { DEFAULT_FILE, type RawValue, readConfigFile } from './file';
import { ConfigError, type ConfigIssue, nearest } from './issue';
import {
  environmentName,
  flagName,
  isKeyPath,
  KEY_PATHS,
  KEYS,
  type KeyPath,
  type KeySpec,
  type KeyValue,
} from './keys';
import { checkProtection } from './protect';
import { mergeGroups, type PrefixGroup, UNNAMED_VNI } from './values';

export interface ConfigSources {
  /** Undefined: VXSEAL_CONFIG, else the default file, which need not exist. */
  readonly file?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Text by key path. */
  readonly flags: Readonly<Record<string, string>>;
}

export interface ConfigOutcome {
  /** Undefined when there are issues. */
  readonly config: Config | undefined;
  readonly issues: readonly ConfigIssue[];
  /** Where each key's value came from. */
  readonly origins: ReadonlyMap<KeyPath, string>;
}

interface Merged {
  readonly values: ReadonlyMap<KeyPath, unknown>;
  readonly issues: readonly ConfigIssue[];
  readonly origins: ReadonlyMap<KeyPath, string>;
}

// Ours, but no keys of the configuration.
const OTHER_ENVIRONMENT: ReadonlySet<string> = new Set(['VXSEAL_CONFIG', 'VXSEAL_NATIVE']);
// Kubernetes gives every pod such variables for each Service; one named "vxseal-overlay" makes VXSEAL_OVERLAY_PORT.
const SERVICE_LINK_NAME =
  /_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;
const SERVICE_LINK_VALUE = /^(tcp|udp|sctp):\/\//;
const MAX_SOCKET_PATH_BYTES = 107; // unix(7): sun_path holds 108 with the ending NUL
const MISSING = 'missing';
export const SOCKET_NAME = 'agent.sock';

/** The configuration, or ConfigError with every issue. */
export function loadConfig(sources: ConfigSources): Config {
  const { config, issues } = readConfig(sources);
  if (config === undefined) throw new ConfigError(issues);
  return config;
}

export function readConfig(sources: ConfigSources): ConfigOutcome {
  const { values, issues, origins } = merge(sources);
  if (issues.length > 0) return { config: undefined, issues, origins };
  const config = assemble(values);
  const conflicts = crossCheck(config, origins);
  return conflicts.length > 0
    ? { config: undefined, issues: conflicts, origins }
    : { config: deepFreeze(config), issues: [], origins };
}

/** One key alone, for commands that need no more: errors in other keys do not matter. Errors: ConfigError. */
export function readKey<P extends KeyPath>(sources: ConfigSources, path: P): KeyValue<P> {
  const { values, issues } = merge(sources);
  if (!values.has(path))
    throw new ConfigError(issues.filter((issue) => issue.field === path || issue.field === ''));
  return values.get(path) as KeyValue<P>;
}

function merge(sources: ConfigSources): Merged {
  const named = sources.file ?? nonEmpty(sources.environment.VXSEAL_CONFIG);
  const file = readConfigFile(named ?? DEFAULT_FILE, named === undefined);
  const raws = new Map<KeyPath, RawValue>(file.values);
  const environment = readEnvironment(sources.environment);
  for (const [path, value] of environment.values) raws.set(path, value);
  for (const [path, raw] of Object.entries(sources.flags)) {
    if (!isKeyPath(path)) throw new Error(`flag for ${path}, which is no key`);
    raws.set(path, { raw, source: `flag ${flagName(path)}` });
  }

  const issues: ConfigIssue[] = [...file.issues, ...environment.issues];
  const values = new Map<KeyPath, unknown>();
  const origins = new Map<KeyPath, string>();
  for (const path of KEY_PATHS) {
    const resolved = resolve(path, raws.get(path));
    origins.set(path, resolved.source);
    if (resolved.issue === undefined) values.set(path, resolved.value);
    // What a broken file may well have held is not called missing as well.
    else if (resolved.source !== MISSING || file.issues.length === 0) issues.push(resolved.issue);
  }
  return { values, issues, origins };
}

function readEnvironment(environment: ConfigSources['environment']): {
  values: Map<KeyPath, RawValue>;
  issues: ConfigIssue[];
} {
  const pathOf = new Map(KEY_PATHS.map((path) => [environmentName(path), path]));
  const values = new Map<KeyPath, RawValue>();
  const issues: ConfigIssue[] = [];
  for (const [name, raw] of Object.entries(environment)) {
    // Set to nothing is as good as not set: manifests and unit files often cannot leave a variable out.
    if (raw === undefined || raw === '' || !name.startsWith('VXSEAL_') || OTHER_ENVIRONMENT.has(name))
      continue;
    if (SERVICE_LINK_NAME.test(name) || SERVICE_LINK_VALUE.test(raw)) continue;
    const path = pathOf.get(name);
    if (path !== undefined) {
      values.set(path, { raw, source: `environment ${name}` });
      continue;
    }
    const field = name.slice(0, 80);
    const tail = field.slice('VXSEAL'.length);
    const meant = nearest(field, pathOf.keys()) ?? [...pathOf.keys()].find((known) => known.endsWith(tail));
    const remedy = meant === undefined ? 'Unset it; see docs/configuration.md.' : `Did you mean ${meant}?`;
    issues.push({ field, source: 'environment', reason: 'there is no such key', remedy });
  }
  return { values, issues };
}

function resolve(
  path: KeyPath,
  given: RawValue | undefined,
): { readonly source: string; readonly value?: unknown; readonly issue?: ConfigIssue } {
  const spec: KeySpec<unknown> = KEYS[path];
  const setIt = `Set ${path} in the file, ${environmentName(path)} or ${flagName(path)}`;
  if (given === undefined && spec.fallback === undefined) {
    const remedy = `${setIt} (${spec.type.label}).`;
    return { source: MISSING, issue: { field: path, source: MISSING, reason: 'must be given', remedy } };
  }
  const source = given?.source ?? 'default';
  const parsed = spec.type.parse(given === undefined ? spec.fallback?.() : given.raw);
  if (parsed.ok) return { source, value: parsed.value };
  const remedy = given === undefined ? `${setIt}.` : `Give: ${spec.type.label}.`;
  return { source, issue: { field: path, source, reason: parsed.detail, remedy } };
}

function assemble(values: ReadonlyMap<KeyPath, unknown>): Config {
  const root: Record<string, unknown> = {};
  for (const [path, value] of values) {
    const [head = '', leaf] = path.split('.');
    if (leaf === undefined) {
      root[head] = value;
    } else {
      const section = (root[head] ?? {}) as Record<string, unknown>;
      root[head] = { ...section, [leaf]: value };
    }
  }
  // KEYS has every path of Config with its type; the compiler holds that, not this cast.
  const config = root as unknown as Config;
  const { overlay } = config;
  const prefixes = nameVni(overlay.prefixes, config);
  const protectedPrefixes = nameVni(overlay.protectedPrefixes, config);
  const pools = nameVni(overlay.pools, config);
  const permissivePrefixes = nameVni(config.adoption.permissivePrefixes, config);
  const adoption = { ...config.adoption, permissivePrefixes };
  return { ...config, adoption, overlay: { ...overlay, prefixes, protectedPrefixes, pools } };
}

function nameVni(groups: readonly PrefixGroup[], config: Config): readonly PrefixGroup[] {
  const { vni } = config.overlay;
  return mergeGroups(groups.map((group) => (group.vni === UNNAMED_VNI ? { ...group, vni } : group)));
}

/** What no single value can tell. */
function crossCheck(config: Config, origins: ReadonlyMap<KeyPath, string>): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const report = (field: KeyPath, reason: string, remedy: string): void => {
    issues.push({ field, source: origins.get(field) ?? 'default', reason, remedy });
  };
  if (config.overlay.port === config.underlay.espPort) {
    report('overlay.port', 'is the port of underlay.espPort too', 'Give another port.');
  }
  if (config.probes.timeoutMs <= config.probes.intervalMs) {
    report('probes.timeoutMs', 'is not longer than probes.intervalMs', 'Give at least twice the interval.');
  }
  if (Buffer.byteLength(socketPathIn(config.runDir)) > MAX_SOCKET_PATH_BYTES) {
    report(
      'runDir',
      `is too long for the socket in it (${MAX_SOCKET_PATH_BYTES} bytes)`,
      'Give a shorter path.',
    );
  }
  const { vni, prefixes, protectedPrefixes, pools } = config.overlay;
  const foreign = pools.find((group) => group.vni !== vni);
  if (foreign !== undefined)
    report(
      'overlay.pools',
      `has a range of VNI ${foreign.vni}, and pools are of overlay.vni (${vni}) only`,
      'Give tenants prefixes of each node: overlay.prefixes.',
    );
  for (const reason of sharedIssues(config.overlay.shared, vni, protectedPrefixes))
    report(
      'overlay.shared',
      reason,
      'Give both sides addresses that are unique to the two; see docs/policy.md.',
    );
  for (const { reason, remedy } of checkProtection(vni, [...prefixes, ...pools], protectedPrefixes))
    report('overlay.protectedPrefixes', reason, remedy);
  const gap = permissiveGap(config.adoption.permissivePrefixes, config.overlay);
  if (gap !== undefined)
    report('adoption.permissivePrefixes', gap, 'Name pod ranges of nodes without an agent, and no others.');
  checkKafka(config, report);
  return issues;
}

function checkKafka(
  { bus, kafka }: Config,
  report: (field: KeyPath, reason: string, remedy: string) => void,
): void {
  if (bus.type === 'kafka' && kafka.brokers.length === 0)
    report('kafka.brokers', 'must be given for bus.type kafka', 'Give at least one host:port.');
  if ((kafka.tlsCert === '') !== (kafka.tlsKey === ''))
    report('kafka.tlsKey', 'and kafka.tlsCert go together', 'Give both or neither.');
  if (!kafka.tls && (kafka.tlsCa !== '' || kafka.tlsCert !== ''))
    report('kafka.tls', 'is off, but there are files for TLS', 'Set kafka.tls, or leave the files out.');
  if (kafka.saslMechanism !== 'none' && (kafka.saslUsername === '' || kafka.saslPasswordFile === ''))
    report(
      'kafka.saslMechanism',
      'needs a user name and a password',
      'Give kafka.saslUsername and kafka.saslPasswordFile.',
    );
  if (kafka.saslMechanism === 'plain' && !kafka.tls)
    report('kafka.saslMechanism', 'would send the password in clear', 'Set kafka.tls, or use SCRAM.');
}

/** Where an agent with this runDir listens. */
export function socketPathIn(runDir: string): string {
  return `${runDir}/${SOCKET_NAME}`;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const part of Object.values(value)) deepFreeze(part);
    Object.freeze(value);
  }
  return value;
}
