// Which proofs there are, in the order in which they are shown.
import type { ProofOf } from '../context';
import type { LabShape } from '../layout';
import { FORGERIES } from './forged';
import { hostileHost, serviceAddress } from './hostile';
import { attachLowersMtu, tcpWithoutIcmp, tooBigIsTold } from './mtu';
import { madeAnew, overtaken } from './overtaken';
import { clearIsSeen, reachUnseen } from './reach';
import { killedAgent, rotatedKeys } from './restart';
import { speed } from './speed';
import { tenantsApart, tenantsShut, tenantsSilent } from './tenants';
import { nothingAstray } from './uplink';

/** For labs of several tenants: where there is one they would hold whatever happens. */
export const TENANT_PROOFS: readonly ProofOf[] = [tenantsApart, tenantsShut, tenantsSilent];

const ALL_PROOFS: readonly ProofOf[] = [
  attachLowersMtu,
  reachUnseen,
  clearIsSeen,
  tooBigIsTold,
  tcpWithoutIcmp,
  ...TENANT_PROOFS,
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

export const proofsFor = ({ tenants }: LabShape): readonly ProofOf[] =>
  ALL_PROOFS.filter((proof) => tenants > 1 || !TENANT_PROOFS.includes(proof));

/** Once more for each further family of the pods' addresses: what does not depend on it is left out. */
export const FAMILY_PROOFS: readonly ProofOf[] = ALL_PROOFS.filter(
  (proof) => ![rotatedKeys, killedAgent, speed].includes(proof),
);

/** What a first look at the lab is worth waiting for. */
export const QUICK_PROOFS: readonly ProofOf[] = [reachUnseen, clearIsSeen, speed];
