// A short slice of scripts/fuzz with a fixed seed, and that the targets would notice.
import { fireAt, type Target } from './target';
import { PURE_TARGETS } from './targets';

const SEED = 9;
const INPUTS = 1500;

test.each(Object.entries(PURE_TARGETS))(
  '%s: nothing breaks, nothing forged is accepted',
  async (name, make) => {
    const target = await make();
    try {
      const { inputs, verdicts } = await fireAt(target, SEED, { inputs: INPUTS });
      expect([name, inputs]).toEqual([name, INPUTS]);
      // One verdict for all would mean that the inputs die at the door.
      expect(verdicts.size).toBeGreaterThan(1);
    } finally {
      await target.close?.();
    }
  },
);

test('the first input that breaks is named with the command that runs it again', async () => {
  let fired = 0;
  const fragile: Target = {
    name: 'fragile',
    fire: (random) => {
      fired++;
      if (random() < 0.01) throw new Error('broken');
      return 'refused';
    },
  };
  const failure = await fireAt(fragile, 1, { inputs: 10_000 }).catch((error: Error) => error.message);
  const again = Number(/--seed (\d+) /.exec(String(failure))?.[1]);
  expect(failure).toBe(
    `fragile, input ${fired - 1}: broken. Again: scripts/fuzz --seed ${again} --inputs 1 fragile`,
  );
  await expect(fireAt(fragile, again, { inputs: 1 })).rejects.toThrow('input 0: broken');
});
