// Alerts and dashboard ask only for what a live agent's /metrics offers: names and labels.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { Metrics } from '../../agent/http/metrics';
import { buildServer } from '../../agent/http/server';
import { apiParts } from '../fakes/api';
import { askedIn } from './queries';

const CHART = join(__dirname, '../../charts/vxseal');
/** Put on by Prometheus when it scrapes, and by histograms. */
const SCRAPED = ['instance', 'job', 'le'];

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels?: { readonly severity?: string };
  readonly annotations?: { readonly summary?: string; readonly description?: string };
}

const rules = (
  parse(readFileSync(join(CHART, 'alerts.yaml'), 'utf8')) as { groups: { rules: Rule[] }[] }
).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(readFileSync(join(CHART, 'dashboards/vxseal.json'), 'utf8')) as {
  panels: {
    id: number;
    title: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets: { expr: string; legendFormat: string }[];
  }[];
};

const offered = new Map<string, Set<string>>();
beforeAll(async () => {
  const metrics = new Metrics();
  metrics.answeredCni('ADD', 1);
  const server = buildServer({ ...apiParts(), metrics }, 'unix');
  const { payload } = await server.inject({ method: 'GET', url: '/metrics' });
  await server.close();
  for (const line of payload.split('\n')) {
    const [, name = '', labels = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? /.exec(line) ?? [];
    const found = offered.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) found.add(label);
    if (name !== '') offered.set(name, found);
  }
});

const queries: [string, string][] = [
  ...rules.map(({ alert, expr }): [string, string] => [alert, expr]),
  ...dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }): [string, string] => [title, expr]),
  ),
];

test('there is something to look at', () => {
  expect(rules.length).toBeGreaterThan(8);
  expect(dashboard.panels.length).toBeGreaterThan(15);
});

test.each(queries)('%s: %s', (_name, query) => {
  const { metrics, labels } = askedIn(query);
  expect(metrics.length).toBeGreaterThan(0);
  expect(metrics.filter((metric) => !offered.has(metric))).toEqual([]);
  const known = new Set([...SCRAPED, ...metrics.flatMap((metric) => [...(offered.get(metric) ?? [])])]);
  expect(labels.filter((label) => !known.has(label))).toEqual([]);
});

test.each(rules.map((rule): [string, Rule] => [rule.alert, rule]))(
  '%s says what, and what to do',
  (_alert, rule) => {
    expect(rule.annotations?.summary).toMatch(/\$labels\.instance/);
    expect(rule.annotations?.description).toMatch(/.{20}/);
    expect(['critical', 'warning']).toContain(rule.labels?.severity);
    // A label in the text must be one that the query keeps.
    const texts = `${rule.annotations?.summary} ${rule.annotations?.description}`;
    const named = [...texts.matchAll(/\$labels\.(\w+)/g)].map((match) => match[1] ?? '');
    const { metrics, labels } = askedIn(rule.expr);
    const grouped = /\bby\b/.test(rule.expr);
    const kept = grouped
      ? labels
      : [...SCRAPED, ...metrics.flatMap((metric) => [...(offered.get(metric) ?? [])])];
    expect(named.filter((label) => !kept.includes(label))).toEqual([]);
  },
);

test('reasons in alerts are reasons of the data plane', () => {
  const { DROP_REASONS } = jest.requireActual<{ DROP_REASONS: readonly string[] }>(
    '../../agent/abi/layout.gen',
  );
  const named = rules.flatMap(({ expr }) =>
    [...expr.matchAll(/reason=~"([^"]*)"/g)].flatMap(([, words = '']) => words.split('|')),
  );
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((reason) => !DROP_REASONS.includes(reason))).toEqual([]);
});

test('panels have numbers of their own and do not overlap', () => {
  const { panels } = dashboard;
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const overlap = (a: (typeof panels)[0], b: (typeof panels)[0]): boolean =>
    a.gridPos.x < b.gridPos.x + b.gridPos.w &&
    b.gridPos.x < a.gridPos.x + a.gridPos.w &&
    a.gridPos.y < b.gridPos.y + b.gridPos.h &&
    b.gridPos.y < a.gridPos.y + a.gridPos.h;
  expect(
    panels.flatMap((a) => panels.filter((b) => a.id < b.id && overlap(a, b)).map((b) => [a.title, b.title])),
  ).toEqual([]);
});

test.each([
  [
    'sum by (a, b) (rate(x_total{c="d_e",f=~"g|h"}[5m])) > 1 or time() - y_z',
    { metrics: ['x_total', 'y_z'], labels: ['c', 'f', 'a', 'b'] },
  ],
  ['vector(0)', { metrics: [], labels: [] }],
])('what is asked in %s', (query, expected) => expect(askedIn(query)).toEqual(expected));
