// A short slice of the packets of scripts/fuzz, with a fixed seed.
import { packetTarget } from '../fuzz/packets';
import { fireAt } from '../fuzz/target';

test('no altered packet is opened, nothing to a remote pod leaves in clear', async () => {
  const target = packetTarget();
  try {
    const { verdicts } = await fireAt(target, 9, { inputs: 20_000 });
    // The oracle must have had something to say.
    expect(verdicts.get('seal dropped')).toBeGreaterThan(100);
    expect(verdicts.get('open_xdp dropped')).toBeGreaterThan(100);
    expect(verdicts.get('open_xdp opened what is genuine')).toBeGreaterThan(10);
    expect(verdicts.get('open_tc opened what is genuine')).toBeGreaterThan(10);
  } finally {
    await target.close?.();
  }
});
