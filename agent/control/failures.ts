// Tells of the steps of a pass that failed, one by one up to a number. What failed is tried again by the next pass,
// which plans it anew.
import { VxsealError } from '../errors';
import type { LinkInfo } from '../ports';
import { type Problems, reasonOf } from './problems';

/** Steps whose failure is told one by one; what lies behind is told as a number. */
const TOLD_FAILURES = 50;

/** @param failed object of the step -> what was thrown; what is not in it any more is well again */
export function tellFailures(
  problems: Problems,
  failed: ReadonlyMap<string, unknown>,
  links: readonly LinkInfo[],
): void {
  const objects = [...failed].slice(0, TOLD_FAILURES);
  problems.clearOthers('apply ', new Set(objects.map(([object]) => `apply ${object}`)));
  for (const [object, error] of objects)
    problems.report(
      `apply ${object}`,
      `${reasonOf(error)}${deviceOf(object, links)}`,
      (error instanceof VxsealError && error.remedy) ||
        'tried again at every pass; run `vxseal doctor` if it stays',
    );
  if (failed.size > TOLD_FAILURES)
    problems.report('apply', `${failed.size - TOLD_FAILURES} more steps failed`, 'see the first ones');
  else problems.clear('apply');
}

/** Users know devices by name, steps by number. */
function deviceOf(object: string, links: readonly LinkInfo[]): string {
  const link = links.find((each) => object.endsWith(` device ${each.ifindex}`));
  return link === undefined ? '' : ` (device ${link.ifindex} is ${link.name})`;
}
