// Marks of packets (skb->mark) between our programs and the kernel's IPsec: which VNI a packet is of, and that a state
// of ours has sealed it. bpf/xfrm.h has the same. Bits 14 and 15, which kube-proxy masquerades and drops by, stay 0.
import { CONSTANTS } from '../../abi/layout.gen';
import type { Vni } from '../../core/ids';

const LOW_BITS = 14;
const LOW_MASK = (1 << LOW_BITS) - 1;
const HIGH_SHIFT = 16;
const VNI_MASK = 0x03ff_3fff;

export const SEALED_MARK = CONSTANTS.XFRM_MARK_SEALED;
export const MARK_MASK = CONSTANTS.XFRM_MARK_MASK;

/** Before sealing, and after opening. */
export const markOf = (vni: Vni): number =>
  (CONSTANTS.XFRM_MARK_VNI | (vni & LOW_MASK) | ((vni >> LOW_BITS) << HIGH_SHIFT)) >>> 0;

/** Undefined for a mark that names no VNI. */
export function vniOf(mark: number): Vni | undefined {
  if ((mark & ~VNI_MASK) >>> 0 !== CONSTANTS.XFRM_MARK_VNI) return undefined;
  return ((mark & LOW_MASK) | (((mark >>> HIGH_SHIFT) & 0x3ff) << LOW_BITS)) as Vni;
}
