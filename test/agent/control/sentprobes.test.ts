import { SentProbes, type Size } from '../../../agent/control/sentprobes';
import { seeded } from '../core/random';

/** The same, in plain words. */
class Twin {
  private probes: { readonly id: number; readonly size: Size; readonly sentMs: number; answered: boolean }[] =
    [];

  sent(id: number, size: Size, sentMs: number): void {
    this.probes = [...this.probes, { id, size, sentMs, answered: false }].slice(-40);
  }

  answered(id: number): Size | undefined {
    const probe = this.probes.find((each) => each.id === id && !each.answered);
    if (probe !== undefined) probe.answered = true;
    return probe?.size;
  }

  loss(dueMs: number): number {
    const due = this.probes.filter(
      ({ size, answered, sentMs }) => size === 'small' && (answered || sentMs <= dueMs),
    );
    return due.length === 0 ? -1 : due.filter(({ answered }) => !answered).length / due.length;
  }
}

test('sent probes are those of a plain list, whatever is answered, twice, too late or never sent', () => {
  const random = seeded(3);
  const probes = new SentProbes();
  const twin = new Twin();
  let id = 0;
  const outcomes = new Set<string>();
  for (let nowMs = 0; nowMs < 3000; nowMs++) {
    if (random() < 0.5) {
      id += 1 + Math.floor(random() * 3);
      const size = random() < 0.5 ? 'small' : 'full';
      probes.sent(id, size, nowMs);
      twin.sent(id, size, nowMs);
    }
    const asked = random() < 0.1 ? -1 : id - Math.floor(random() * 120);
    const size = probes.answered(asked);
    expect(size).toBe(twin.answered(asked));
    const loss = probes.loss(nowMs - 20);
    expect(loss).toBe(twin.loss(nowMs - 20));
    outcomes.add(`${size}`).add(loss < 0 ? 'unknown' : loss === 0 ? 'none' : loss < 1 ? 'some' : 'all');
  }
  expect(outcomes.size).toBeGreaterThanOrEqual(6);
});
