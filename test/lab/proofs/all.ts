// Which proofs there are, in the order in which they are shown.
import type { ProofOf } from '../context';
import { FORGERIES } from './forged';
import { hostileHost, serviceAddress } from './hostile';
import { attachLowersMtu, tcpWithoutIcmp, tooBigIsTold } from './mtu';
import { madeAnew, overtaken } from './overtaken';
import { clearIsSeen, reachUnseen } from './reach';
import { killedAgent, rotatedKeys } from './restart';
import { speed } from './speed';
import { tenantsApart, tenantsShut } from './tenants';
import { nothingAstray } from './uplink';

export const ALL_PROOFS: readonly ProofOf[] = [
  attachLowersMtu,
  reachUnseen,
  clearIsSeen,
  tooBigIsTold,
  tcpWithoutIcmp,
  tenantsApart,
  tenantsShut,
  ...FORGERIES,
  serviceAddress,
  hostileHost,
  overtaken,
  madeAnew,
  nothingAstray,
  rotatedKeys,
  killedAgent,
  speed,
];

/** Once more for each further family of the pods' addresses: what does not depend on it is left out. */
export const FAMILY_PROOFS: readonly ProofOf[] = ALL_PROOFS.filter(
  (proof) => ![rotatedKeys, killedAgent, speed].includes(proof),
);

/** What a first look at the lab is worth waiting for. */
export const QUICK_PROOFS: readonly ProofOf[] = [reachUnseen, clearIsSeen, speed];
