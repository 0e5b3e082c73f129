// The Kafka broker of a lab: in the namespace of the wire, at an address of the underlay, as a machine of its own would
// be. Its records are signed; its traffic is not the overlay's, and crosses the wire in clear.
import { join } from 'node:path';
import { ipBatch, run, tryRun } from './command';
import { BROKER_ADDRESS, BROKER_PORT, type LabLayout, packageRoot } from './layout';

const START_TIMEOUT_MS = 180_000;

const script = (): string => join(packageRoot(), 'scripts/kafka');
const folder = (lab: LabLayout): string => join(lab.dir, 'kafka');

/** Also one that was stopped: it has its records still. Throws CommandError. */
export function startBroker(lab: LabLayout): void {
  if (tryRun(['ip', '-n', lab.wireNetns, 'addr', 'show', 'to', BROKER_ADDRESS]).stdout === '')
    ipBatch(lab.wireNetns, [`addr add ${BROKER_ADDRESS}/24 dev wire`]);
  const place = ['--dir', folder(lab), '--netns', lab.wireNetns, '--host', BROKER_ADDRESS];
  run([script(), 'start', ...place, '--port', String(BROKER_PORT)], '', START_TIMEOUT_MS);
}

/** As a crash. */
export function killBroker(lab: LabLayout): void {
  run([script(), 'stop', '--dir', folder(lab), '--kill']);
}
