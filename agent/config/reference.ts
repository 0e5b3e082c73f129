// Writes configuration down: the reference table of docs/configuration.md and the values of `vxseal config show`.
import type { Config } from '../config';
import { environmentName, flagName, KEY_PATHS, KEYS, type KeyPath, type KeySpec } from './keys';
import { formatDuration } from './values';

/** The value of a key as the file would hold it; plain JSON. */
export function plainValue(config: Config, path: KeyPath): unknown {
  let value: unknown = config;
  for (const name of path.split('.')) {
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  const spec: KeySpec<unknown> = KEYS[path];
  return spec.type.plain(value);
}

/** Nested as the file is. */
export function plainConfig(config: Config): Readonly<Record<string, unknown>> {
  const root: Record<string, unknown> = {};
  for (const path of KEY_PATHS) {
    const [head = '', leaf] = path.split('.');
    const value = plainValue(config, path);
    root[head] = leaf === undefined ? value : { ...(root[head] as object | undefined), [leaf]: value };
  }
  return root;
}

/** One row a key, as Markdown. */
export function referenceTable(): string {
  const rows = KEY_PATHS.map((path) => {
    const spec: KeySpec<unknown> = KEYS[path];
    return `| \`${path}\` | ${spec.type.label} | ${fallbackOf(path)} | ${spec.description} |`;
  });
  return ['| Key | Value | Default | Meaning |', '|---|---|---|---|', ...rows].join('\n');
}

/** The same for programs, with the other names of each key. */
export function referenceEntries(): readonly Readonly<Record<string, string>>[] {
  return KEY_PATHS.map((path) => {
    const spec: KeySpec<unknown> = KEYS[path];
    const fallback = fallbackOf(path).replaceAll('`', '');
    return {
      key: path,
      ...namesOf(path),
      type: spec.type.label,
      default: fallback,
      meaning: spec.description,
    };
  });
}

/** "VXSEAL_UNDERLAY_ESP_PORT" and "--underlay-esp-port". */
export function namesOf(path: KeyPath): { readonly environment: string; readonly flag: string } {
  return { environment: environmentName(path), flag: flagName(path) };
}

/** The default as the reference shows it. */
export function fallbackOf(path: KeyPath): string {
  const spec: KeySpec<unknown> = KEYS[path];
  if (spec.fallbackText !== undefined) return spec.fallbackText;
  if (spec.fallback === undefined) return 'must be given';
  const value = spec.fallback();
  if (typeof value === 'number' && spec.type.label.startsWith('duration'))
    return `\`${formatDuration(value)}\``;
  return Array.isArray(value) && value.length === 0 ? 'none' : `\`${String(value)}\``;
}
