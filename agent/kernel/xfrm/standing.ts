// The policies that stand for all peers: VXLAN arrives as ESP of ours or not at all, and leaves under a policy of its
// own or not at all. They stand before the first key and go last.

import { AF_INET, AF_INET6 } from './messages';
import type { Policy } from './policy';
import type { XfrmSocket } from './socket';

/** @param port of VXLAN */
export const guardPolicies = (port: number): Policy[] =>
  [AF_INET, AF_INET6].flatMap((family): Policy[] => {
    const selector = { family, ends: undefined, port };
    return [
      { direction: 'out', selector, mark: undefined, rule: 'refuse' },
      { direction: 'in', selector, mark: undefined, rule: { spi: undefined } },
    ];
  });

export function putGuards(socket: XfrmSocket, port: number): void {
  for (const policy of guardPolicies(port)) socket.putPolicy(`keep VXLAN port ${port} for ESP`, policy);
}

/** All of them are there. */
export function guardsStand(socket: XfrmSocket, port: number): boolean {
  const found = new Set(socket.policies().map(describe));
  return guardPolicies(port).every((policy) => found.has(describe(policy)));
}

/** States first: without one, a policy lets nothing out. */
export function removeOurs(socket: XfrmSocket): void {
  for (const state of socket.states()) socket.removeState(state);
  for (const policy of socket.policies()) socket.removePolicy(policy);
}

const describe = (policy: Policy): string => JSON.stringify(policy);
