// The bill of materials of the image, made from what npm really says of this installation.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { imageSbom, type Spdx } from '../../scripts/sbom';

const ROOT = join(__dirname, '../..');
const DEBIAN = [
  'zlib1g 1:1.2.13.dfsg-1 amd64',
  'libbpf1 1:1.1.2-0+deb12u1 amd64',
  'libstdc++6 12.2.0-14 amd64',
];
const args = ['sbom', '--omit=dev', '--sbom-format=spdx', '--package-lock-only'];
const npm = JSON.parse(execFileSync('npm', args, { cwd: ROOT, encoding: 'utf8' })) as Spdx;
const made = imageSbom(npm, DEBIAN, '20.20.2', 1_700_000_000);

const purls = (spdx: Spdx): string[] =>
  spdx.packages.flatMap(({ externalRefs }) =>
    (externalRefs as { referenceLocator: string }[]).map((each) => each.referenceLocator),
  );

test('holds our packages, Node.js and those of Debian, and nothing that only building needs', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };
  const npmPurl = ([name, version]: [string, string]): string =>
    `pkg:npm/${name.replace('@', '%40')}@${version}`;
  expect(purls(made)).toEqual(expect.arrayContaining(Object.entries(dependencies).map(npmPurl)));
  for (const each of Object.entries(devDependencies)) expect(purls(made)).not.toContain(npmPurl(each));
  expect(purls(made)).toEqual(
    expect.arrayContaining([
      'pkg:generic/node@20.20.2',
      'pkg:deb/debian/libbpf1@1%3A1.1.2-0%2Bdeb12u1?arch=amd64',
    ]),
  );
});

test('is well formed: identifiers are unique, of the allowed characters, and every relationship has both ends', () => {
  const ids = made.packages.map(({ SPDXID }) => SPDXID);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(/^SPDXRef-[A-Za-z0-9.-]+$/);
  const known = new Set([...ids, 'SPDXRef-DOCUMENT']);
  for (const { spdxElementId, relatedSpdxElement } of made.relationships)
    expect([known.has(spdxElementId), known.has(relatedSpdxElement)]).toEqual([true, true]);
});

test('is the same for the same content, whenever npm was asked and in whatever order Debian lists', () => {
  const later = { ...npm, creationInfo: { created: 'later' }, documentNamespace: 'http://another' };
  const again = imageSbom(later, [...DEBIAN].reverse(), '20.20.2', 1_700_000_000);
  expect(JSON.stringify(again)).toBe(JSON.stringify(made));
  expect(imageSbom(npm, DEBIAN.slice(1), '20.20.2', 1).documentNamespace).not.toBe(made.documentNamespace);
  expect(made.creationInfo).toMatchObject({ created: '2023-11-14T22:13:20Z' });
});

test('refuses a line that names no package', () => {
  expect(() => imageSbom(npm, ['libbpf1'], '20.20.2', 0)).toThrow('no package: "libbpf1"');
});
