// Text for people: aligned tables, colours, ages and counts. Knows nothing of what it shows.
import { clean } from './io';

export type Tone = 'good' | 'bad' | 'warn' | 'dim' | 'plain';

export interface Cell {
  readonly text: string;
  readonly tone: Tone;
}

export interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

export const NOTHING = '-';
export const WIDTH = 100;
const GAP = '  ';
const LEAST_LAST_COLUMN = 20;

const CODES: Readonly<Record<Tone, string>> = { good: '32', bad: '31', warn: '33', dim: '2', plain: '' };

export function paint(text: string, tone: Tone, colour: boolean): string {
  return colour && CODES[tone] !== '' ? `\u001b[${CODES[tone]}m${text}\u001b[0m` : text;
}

export function cell(text: string, tone: Tone = 'plain'): Cell {
  return { text: text === '' ? NOTHING : text, tone };
}

export const left = (title: string): Column => ({ title, align: 'left' });
export const right = (title: string): Column => ({ title, align: 'right' });

/**
 * Lines with the titles first. The last column, if it aligns left, is cut so that a line keeps to `width` where that
 * leaves it readable.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  colour: boolean,
  width = WIDTH,
): string[] {
  const titles = columns.map(({ title }) => cell(title, 'dim'));
  const all = [titles, ...rows].map((row) => row.map(({ text, tone }) => ({ text: oneLine(text), tone })));
  const widths = columns.map((_, index) => Math.max(...all.map((row) => row[index]?.text.length ?? 0)));
  const before = widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0);
  const room = Math.max(LEAST_LAST_COLUMN, width - before);
  return all.map((row) =>
    row
      .map(({ text, tone }, index) => {
        const last = index === columns.length - 1;
        const right = columns[index]?.align === 'right';
        const shown = last && !right ? shorten(text, room) : text;
        const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - shown.length));
        const painted = paint(shown, tone, colour);
        if (right) return padding + painted;
        return last ? painted : painted + padding;
      })
      .join(GAP),
  );
}

/** "NAME  value" pairs under each other. */
export function pairs(entries: readonly (readonly [string, string])[], colour: boolean): string[] {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => {
    const title = paint(name.padEnd(width), 'dim', colour);
    return `${title}${GAP}${oneLine(value === '' ? NOTHING : value)}`;
  });
}

function oneLine(text: string): string {
  return clean(text).replace(/\n/g, ' ');
}

function shorten(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** Two units at most: "3m12s", "2h5m", "41d". Negative: never. */
export function age(ms: number): string {
  if (ms < 0) return NOTHING;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return joinUnits(minutes, 'm', seconds % 60, 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return joinUnits(hours, 'h', minutes % 60, 'm');
  return `${Math.floor(hours / 24)}d`;
}

function joinUnits(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${small}${smallUnit}`;
}

/** Up to five digits as they are, then "123k", "4.5M". */
export function count(value: number): string {
  if (value < 0) return NOTHING;
  if (value < 100_000) return String(value);
  let scaled = value;
  for (const unit of ['k', 'M', 'G', 'T', 'P', 'E']) {
    scaled /= 1000;
    if (scaled < 999.5) return `${scaled < 9.95 ? scaled.toFixed(1) : scaled.toFixed(0)}${unit}`;
  }
  return value.toExponential(1);
}

/** Milliseconds as they are measured: "0.21 ms", "12.3 ms", "340 ms". */
export function milliseconds(value: number): string {
  if (value < 0) return NOTHING;
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
}

/** A share of 0 to 1; what is not nothing does not show as 0%. */
export function percent(share: number): string {
  if (share < 0) return NOTHING;
  const value = share * 100;
  return value > 0 && value < 1 ? '<1%' : `${Math.floor(value)}%`;
}
