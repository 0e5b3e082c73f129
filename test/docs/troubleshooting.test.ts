// docs/troubleshooting.md has an entry for every drop reason, peer state and blocker there is, and for no other; and
// what links to it, or from one page to another, finds something.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DROP_REASONS } from '../../agent/abi/layout.gen';
import { BLOCKER_NAMES, PEER_STATES } from '../../agent/control/status';

const ROOT = join(__dirname, '../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const page = read('docs/troubleshooting.md');

/** Words of the first column of the table below a heading. */
function entries(heading: string): string[] {
  const [, after = ''] = page.split(`\n## ${heading}\n`);
  const [section = ''] = after.split('\n## ');
  return [...section.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word),
  );
}

test('every drop reason, in the order of abi.h', () => {
  expect(entries('Drop reasons')).toEqual(DROP_REASONS.filter((reason) => reason !== 'none'));
});

test('every state of a peer', () => {
  expect(entries('States of a peer').sort()).toEqual([...PEER_STATES].sort());
});

test('every blocker of readiness', () => {
  expect(entries('The agent does not start, or is not ready').sort()).toEqual([...BLOCKER_NAMES].sort());
});

/** As GitHub makes them from headings. */
const anchors = (path: string): string[] =>
  [...readFileSync(path, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

const PAGES = ['README.md', ...readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'))].map(
  (name) => (name === 'README.md' ? name : `docs/${name}`),
);

test.each(PAGES)('links of %s lead somewhere', (path) => {
  const links = [...read(path).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  const dead = links
    .filter((link) => !/^https?:/.test(link))
    .filter((link) => {
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? join(ROOT, path) : join(ROOT, dirname(path), file);
      return !existsSync(target) || (anchor !== undefined && !anchors(target).includes(anchor));
    });
  expect(dead).toEqual([]);
});

test('README names every page', () => {
  const missing = PAGES.filter((path) => path !== 'README.md' && !read('README.md').includes(`(${path}`));
  expect(missing).toEqual([]);
});
