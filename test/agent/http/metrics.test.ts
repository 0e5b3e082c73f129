// The metrics: the names of the design, that they say what the status says, and that they go when their object goes.
import { Metrics } from '../../../agent/http/metrics';
import { NOW_MS, samplePeer, sampleStatus } from '../../fakes/status';

/** "name{labels} value" lines. */
const lines = (text: string): string[] =>
  text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test.each([
  'peers{state}',
  'drops_total{reason,direction}',
  'sealed_packets_total{peer}',
  'sealed_bytes_total{peer}',
  'opened_packets_total{peer}',
  'opened_bytes_total{peer}',
  'peer_rtt_seconds{peer}',
  'peer_last_opened_timestamp_seconds{peer}',
  'sa_packets_remaining{peer}',
  'epoch',
  'rotations_total{result}',
  'rotation_duration_seconds_sum',
  'bus_connected',
  'bus_staleness_seconds',
  'records_total{kind,result}',
  'reconcile_duration_seconds_count',
  'desired_drift',
  'bpf_map_entries{map}',
  'bpf_map_capacity{map}',
  'bpf_map_evictions_total{map}',
  'program_attached{hook,device,mode}',
  'cni_duration_seconds_count{command}',
  'nri_connected',
  'nri_refused_total{reason}',
  'certificate_expiry_timestamp_seconds',
])('there is vxseal_%s', async (name) => {
  const metrics = new Metrics();
  metrics.answeredCni('ADD', 12);
  const [bare = '', labels] = name.replace('}', '').split('{');
  const line = lines(await metrics.text(sampleStatus())).find(
    (each) => each.split(/[{ ]/)[0] === `vxseal_${bare}`,
  );
  const found = [...(line ?? '').matchAll(/(\w+)="/g)].map((match) => match[1]);
  expect([line !== undefined, found]).toEqual([true, labels?.split(',') ?? []]);
});

test('default metrics of Node.js are there too', async () => {
  expect(await new Metrics().text(sampleStatus())).toMatch(/^process_resident_memory_bytes \d+$/m);
});

test('values are those of the status, in base units', async () => {
  const metrics = new Metrics();
  metrics.reconciled(250);
  metrics.drifted(3);
  metrics.rotated('published', 1500);
  metrics.rotated('failed', 99);
  const text = await metrics.text(sampleStatus({ peers: [samplePeer({ rttMs: 250 })] }));
  for (const line of [
    'vxseal_build_info{version="0.1.0"} 1',
    'vxseal_bpf_map_entries{map="connections"} 7',
    'vxseal_bpf_map_capacity{map="connections"} 131072',
    'vxseal_bpf_map_evictions_total{map="connections"} 2',
    'vxseal_bpf_map_evictions_total{map="peers"} 0',
    'vxseal_ready 1',
    'vxseal_peers{state="up"} 1',
    'vxseal_peers{state="stalled"} 0',
    'vxseal_peers{state="revoked"} 0',
    'vxseal_peer_rtt_seconds{peer="node2"} 0.25',
    'vxseal_sealed_packets_total{peer="node2"} 12345',
    'vxseal_opened_bytes_total{peer="node2"} 7654321',
    'vxseal_drops_total{reason="replay",direction="ingress"} 3',
    'vxseal_bus_staleness_seconds 2',
    'vxseal_records_total{kind="topology",result="accepted"} 8',
    'vxseal_records_total{kind="topology",result="bad-signature"} 2',
    'vxseal_records_total{kind="policy",result="accepted"} 1',
    'vxseal_program_attached{hook="seal",device="eth0",mode="tcx"} 1',
    'vxseal_bpf_map_capacity{map="peers"} 16384',
    `vxseal_certificate_expiry_timestamp_seconds ${(NOW_MS + 20 * 86_400_000) / 1000}`,
    'vxseal_reconcile_duration_seconds_sum 0.25',
    'vxseal_desired_drift 3',
    'vxseal_rotations_total{result="published"} 1',
    'vxseal_rotations_total{result="failed"} 1',
    'vxseal_rotation_duration_seconds_sum 1.5',
  ])
    expect(lines(text)).toContain(line);
});

test('what is gone or not known has no sample; counters do not add up from scrape to scrape', async () => {
  const metrics = new Metrics();
  await metrics.text(sampleStatus());
  const unknown = samplePeer({
    node: 'node3',
    rttMs: -1,
    loss: -1,
    lastOpenedAgeMs: -1,
    saPacketsRemaining: -1,
  });
  const text = await metrics.text(
    sampleStatus({ peers: [unknown], hooks: [{ program: 'seal', device: 'eth0', ifindex: 2, mode: '' }] }),
  );
  expect(text).not.toContain('node2');
  const ofPeer = lines(text).filter((line) => line.includes('node3'));
  expect(ofPeer.map((line) => line.split('{')[0]).sort()).toEqual([
    'vxseal_opened_bytes_total',
    'vxseal_opened_packets_total',
    'vxseal_sealed_bytes_total',
    'vxseal_sealed_packets_total',
  ]);
  expect(text).toContain('vxseal_program_attached{hook="seal",device="eth0",mode="none"} 0');
  const again = await metrics.text(sampleStatus());
  expect(again).toContain('vxseal_sealed_packets_total{peer="node2"} 12345\n');
});

test('drops of one reason over many peers are one sum', async () => {
  const drop = { reason: 'replay', direction: 'ingress' as const, bytes: 1 };
  const drops = [
    { ...drop, node: 'a', packets: 2 },
    { ...drop, node: 'b', packets: 5 },
  ];
  const text = await new Metrics().text(sampleStatus({ drops }));
  expect(text).toContain('vxseal_drops_total{reason="replay",direction="ingress"} 7\n');
});
