// The YAML file: from its bytes to raw values by key, with the line each stands on. Judges names, not values.
import { readFileSync } from 'node:fs';
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument, type YAMLMap } from 'yaml';
import { type ConfigIssue, nearest } from './issue';
import { isKeyPath, KEY_PATHS, type KeyPath, SECTIONS } from './keys';

export const DEFAULT_FILE = '/etc/vxseal/config.yaml';
const MAX_FILE_BYTES = 1024 * 1024;
const QUOTED_CHARACTERS = 60;

export interface RawValue {
  readonly raw: unknown;
  readonly source: string;
}

export interface FileContent {
  readonly values: ReadonlyMap<KeyPath, RawValue>;
  readonly issues: readonly ConfigIssue[];
}

/** @param optional a file that does not exist is an empty one. */
export function readConfigFile(path: string, optional: boolean): FileContent {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (optional && code === 'ENOENT') return { values: new Map(), issues: [] };
    const remedy = 'Name a file that can be read: --config FILE.';
    return {
      values: new Map(),
      issues: [{ field: '', source: path, reason: `cannot be read (${code})`, remedy }],
    };
  }
  return parseConfigText(text, path);
}

/** @param source for messages: the file's name. */
export function parseConfigText(text: string, source: string): FileContent {
  if (text.length > MAX_FILE_BYTES) {
    const reason = `is larger than ${MAX_FILE_BYTES} bytes`;
    return { values: new Map(), issues: [{ field: '', source, reason, remedy: 'Name the right file.' }] };
  }
  const lines = new LineCounter();
  // Big integers keep their digits; a key that stands twice is an error of the parser.
  const document = parseDocument(text, { intAsBigInt: true, lineCounter: lines, prettyErrors: false });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    const issues = faults.map((fault) => ({
      field: '',
      source: `${source}:${lines.linePos(fault.pos[0]).line}`,
      reason: fault.message,
      remedy: 'Correct the YAML.',
    }));
    return { values: new Map(), issues };
  }
  return new Walk(document, source, lines).run();
}

class Walk {
  private readonly values = new Map<KeyPath, RawValue>();
  private readonly issues: ConfigIssue[] = [];

  constructor(
    private readonly document: Document.Parsed,
    private readonly source: string,
    private readonly lines: LineCounter,
  ) {}

  run(): FileContent {
    const { contents } = this.document;
    if (isMap(contents)) {
      this.section(contents, '');
    } else if (contents !== null && !(isScalar(contents) && contents.value === null)) {
      const remedy = 'Write keys as "nodeName: node1".';
      this.issues.push({ field: '', source: this.source, reason: 'holds no keys', remedy });
    }
    return { values: this.values, issues: this.issues };
  }

  private section(map: YAMLMap, prefix: string): void {
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : '?';
      this.entry(`${prefix}${name}`, value, this.at(key));
    }
  }

  private entry(path: string, value: unknown, source: string): void {
    if (isKeyPath(path)) {
      const raw = isNode(value) ? value.toJS(this.document) : value;
      // "key:" with nothing behind it: as if not written.
      if (raw !== null && raw !== undefined) this.values.set(path, { raw, source });
      return;
    }
    if (!SECTIONS.has(path)) {
      this.issues.push(unknownKey(path, source));
    } else if (isMap(value)) {
      this.section(value as YAMLMap, `${path}.`);
    } else if (!(isScalar(value) && value.value === null) && value !== null) {
      const remedy = `Write its keys below it: ${keysOf(path).join(', ')}.`;
      this.issues.push({ field: path, source, reason: 'is a section, not a value', remedy });
    }
  }

  private at(node: unknown): string {
    const offset = isNode(node) ? node.range?.[0] : undefined;
    return offset === undefined ? this.source : `${this.source}:${this.lines.linePos(offset).line}`;
  }
}

function unknownKey(path: string, source: string): ConfigIssue {
  const field = path.slice(0, QUOTED_CHARACTERS);
  const section = path.includes('.') ? path.slice(0, path.indexOf('.')) : '';
  const known = [...KEY_PATHS, ...SECTIONS];
  const meant = nearest(field, known) ?? sameLeaf(field);
  const siblings =
    section === '' ? [...new Set(known.map((name) => name.split('.')[0] ?? ''))] : keysOf(section);
  const remedy = meant === undefined ? `Keys here: ${siblings.join(', ')}.` : `Did you mean ${meant}?`;
  return { field, source, reason: 'there is no such key', remedy };
}

/** "espPort" outside of its section. */
function sameLeaf(path: string): string | undefined {
  const leaf = path.slice(path.lastIndexOf('.') + 1);
  return KEY_PATHS.find((known) => known.endsWith(`.${leaf}`));
}

function keysOf(section: string): string[] {
  const prefix = `${section}.`;
  return KEY_PATHS.filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length));
}
