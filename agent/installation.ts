// Where this program is installed, and as which version. Works from the compiled tree and from the sources: the
// installation is the nearest folder above with a package.json.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export function installationFolder(): string {
  let folder = __dirname;
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder) throw new Error(`no package.json in or above ${__dirname}`);
    folder = above;
  }
  return folder;
}

/** "0.1.0" */
export function installedVersion(): string {
  const text = readFileSync(join(installationFolder(), 'package.json'), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}
