// How much longer than on a processor of its own everything may take: a factor that test machines set, whose processors
// are emulated. Limits of waiting are multiplied by it, rates of traffic divided; what must hold stays the same.

const factor = Number(process.env.LAB_PATIENCE ?? 1);
if (!(factor >= 1)) throw new Error(`LAB_PATIENCE=${process.env.LAB_PATIENCE}: a factor from 1 on`);

/** A limit of waiting. */
export const patient = (ms: number): number => ms * factor;

/** A rate of traffic that the processor can keep up with. */
export const unhurried = (packetsPerSecond: number): number => packetsPerSecond / factor;
