// Inside a test machine: runs the commands that the host sends through a virtio-serial port, one JSON line each, and
// answers with their outcome. Several may run at once. Ends with the request "off".
import { closeSync, openSync, read, readdirSync, readFileSync, writeSync } from 'node:fs';
import { start } from '../lab/command';
import type { GuestAnswer, GuestRequest } from './machine';

const PORTS = '/sys/class/virtio-ports';

/** The kernel numbers ports; sysfs knows their names. There is no udev here to make links of them. */
function findPort(name: string): string {
  for (const port of readdirSync(PORTS)) {
    if (readFileSync(`${PORTS}/${port}/name`, 'utf8').trim() === name) return `/dev/${port}`;
  }
  throw new Error(`no virtio port ${name}`);
}

function main(): void {
  // A port can be opened once: the same descriptor reads and writes.
  const port = openSync(findPort('vxseal'), 'r+');
  const answer = (body: GuestAnswer): void => {
    const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
    for (let at = 0; at < bytes.length; ) at += writeSync(port, bytes, at);
  };
  let rest = '';
  const chunk = Buffer.alloc(65536);

  const take = (line: string): boolean => {
    const request = JSON.parse(line) as GuestRequest;
    if (request.argv.length === 0) return false;
    start(request.argv, request.timeoutMs).then((outcome) => answer({ id: request.id, ...outcome }));
    return true;
  };
  const next = (): void =>
    read(port, chunk, 0, chunk.length, null, (error, length) => {
      // 0: the host has not connected yet, or went away.
      if (error !== null || length === 0) {
        setTimeout(next, 100);
        return;
      }
      rest += chunk.toString('utf8', 0, length);
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      if (lines.every(take)) next();
      else closeSync(port);
    });
  next();
}

main();
