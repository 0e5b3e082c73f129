// The software bill of materials of the image, SPDX 2.3: what `npm sbom` says of our packages, and beside it Debian's
// packages and Node.js itself. Made inside the image: `dpkg-query … | node sbom.js NPM_SPDX SECONDS`. Two builds of
// the same content give the same text, so times and names that `npm sbom` draws are replaced.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

interface SpdxPackage {
  readonly name: string;
  readonly SPDXID: string;
  readonly versionInfo: string;
  readonly [field: string]: unknown;
}

interface Relationship {
  readonly spdxElementId: string;
  readonly relatedSpdxElement: string;
  readonly relationshipType: string;
}

export interface Spdx {
  readonly name: string;
  readonly documentDescribes: readonly string[];
  readonly packages: readonly SpdxPackage[];
  readonly relationships: readonly Relationship[];
  readonly [field: string]: unknown;
}

/** @param lines "name version architecture", as dpkg-query writes them. @param node "20.20.2". */
export function imageSbom(npm: Spdx, lines: readonly string[], node: string, atSeconds: number): Spdx {
  const [described = 'SPDXRef-DOCUMENT'] = npm.documentDescribes;
  const below = [...lines].sort().map(debianPackage);
  const all = [nodePackage(node), ...below];
  const packages = [...npm.packages, ...all];
  const relationships = [
    ...npm.relationships,
    ...all.map(({ SPDXID }) => ({
      spdxElementId: described,
      relatedSpdxElement: SPDXID,
      relationshipType: 'DEPENDS_ON',
    })),
  ];
  const digest = createHash('sha256').update(JSON.stringify({ packages, relationships })).digest('hex');
  return {
    ...npm,
    documentNamespace: `https://spdx.org/spdxdocs/${npm.name}-${digest}`,
    creationInfo: {
      created: new Date(atSeconds * 1000).toISOString().replace('.000', ''),
      creators: ['Tool: vxseal scripts/image'],
    },
    packages,
    relationships,
  };
}

function debianPackage(line: string): SpdxPackage {
  const [name = '', version = '', architecture = ''] = line.split(' ');
  if (name === '' || version === '' || architecture === '') throw new Error(`no package: "${line}"`);
  const locator = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`;
  return outsider(`SPDXRef-Debian-${name.replaceAll(/[^A-Za-z0-9.-]/g, '-')}`, name, version, locator);
}

const nodePackage = (version: string): SpdxPackage =>
  outsider('SPDXRef-Nodejs', 'node', version, `pkg:generic/node@${version}`);

const outsider = (id: string, name: string, versionInfo: string, locator: string): SpdxPackage => ({
  name,
  SPDXID: id,
  versionInfo,
  downloadLocation: 'NOASSERTION',
  filesAnalyzed: false,
  externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: locator }],
});

if (require.main === module) {
  const [file = '', seconds = ''] = process.argv.slice(2);
  const npm = JSON.parse(readFileSync(file, 'utf8')) as Spdx;
  const lines = readFileSync(0, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  process.stdout.write(
    `${JSON.stringify(imageSbom(npm, lines, process.versions.node, Number(seconds)), null, 1)}\n`,
  );
}
