// An OCI image made by hand: one layer with Debian's static busybox. Nothing is fetched.
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../lab/command';

export const IMAGE = 'vxseal.test/busybox:1';
/** Of Debian's package busybox-static. */
const BUSYBOX = '/bin/busybox';
const APPLETS = ['sh', 'sleep', 'nc', 'cat', 'echo', 'ping', 'ip', 'wget', 'httpd', 'true', 'dd', 'md5sum'];

const architecture = (): string => (process.arch === 'x64' ? 'amd64' : process.arch);

/** @returns the archive's path, for `ctr images import`. */
export function makeImage(dir: string): string {
  const root = join(dir, 'rootfs');
  const layout = join(dir, 'layout');
  const blobs = join(layout, 'blobs/sha256');
  for (const folder of [join(root, 'bin'), join(root, 'etc'), join(root, 'tmp'), blobs])
    mkdirSync(folder, { recursive: true });
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'));
  for (const applet of APPLETS) symlinkSync('busybox', join(root, 'bin', applet));

  const put = (bytes: Buffer, mediaType: string) => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

  const tar = join(dir, 'layer.tar');
  run(['tar', '-C', root, '--owner=0', '--group=0', '-cf', tar, '.']);
  const layer = put(readFileSync(tar), 'application/vnd.oci.image.layer.v1.tar');
  const config = put(
    json({
      architecture: architecture(),
      os: 'linux',
      config: { Cmd: ['/bin/sleep', '1000000'], Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    }),
    'application/vnd.oci.image.config.v1+json',
  );
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = put(
    json({ schemaVersion: 2, mediaType: manifestType, config, layers: [layer] }),
    manifestType,
  );
  const annotations = { 'io.containerd.image.name': IMAGE, 'org.opencontainers.image.ref.name': '1' };
  writeFileSync(
    join(layout, 'index.json'),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(layout, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  const archive = join(dir, 'image.tar');
  run(['tar', '-C', layout, '-cf', archive, '.']);
  return archive;
}
