// The order statistic that the benchmarks print.

/** @param part 0.5 is the median, 1 the largest; NaN of no values */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
