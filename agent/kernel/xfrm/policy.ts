// Policies of the kernel's IPsec as messages (struct xfrm_userpolicy_info and its attributes): which packets must be
// ESP, and under which SPI they leave. Bytes only.
import type { Spi } from '../../core/ids';
import {
  Attribute,
  type Attributes,
  decodeMessage,
  decodeSelector,
  encodeLifetime,
  encodeRequest,
  encodeSelector,
  IPPROTO_ESP,
  MessageType,
  SELECTOR_BYTES,
  type Selector,
  writeAddress,
} from './messages';
import { REQID } from './state';

const POLICY_BYTES = 168;
const POLICY_ID_BYTES = 64;
const TEMPLATE_BYTES = 64;
const DIRECTIONS = ['in', 'out'] as const;
const ACTION_BLOCK = 1;
/** Of struct xfrm_userpolicy_info. */
const AT = { lifetime: 56, priority: 152, direction: 160, action: 161 } as const;
const ANY_ALGORITHM = 0xffff_ffff;

/** Lower goes first. The refusal gives way to every policy, and no other program has it by chance. */
export const SEAL_PRIORITY = 256;
export const REFUSE_PRIORITY = 0xfffe_7673;

export interface PolicyId {
  readonly direction: 'in' | 'out';
  readonly selector: Selector;
  /** skb->mark that it is for; undefined: any. */
  readonly mark: { readonly value: number; readonly mask: number } | undefined;
}

export interface Policy extends PolicyId {
  /** 'refuse', or: must be ESP of ours; `spi` undefined: any of ours. */
  readonly rule: 'refuse' | { readonly spi: Spi | undefined };
}

export function encodePolicy(policy: Policy): Buffer {
  const { direction, selector, mark, rule } = policy;
  const body = Buffer.alloc(POLICY_BYTES);
  encodeSelector(selector).copy(body);
  encodeLifetime().copy(body, AT.lifetime);
  body.writeUInt32LE(rule === 'refuse' ? REFUSE_PRIORITY : SEAL_PRIORITY, AT.priority);
  body.writeUInt8(DIRECTIONS.indexOf(direction), AT.direction);
  body.writeUInt8(rule === 'refuse' ? ACTION_BLOCK : 0, AT.action);
  // Replaces the policy of the same selector and mark, in one step.
  return encodeRequest(MessageType.UPDPOLICY, body, [
    ...(rule === 'refuse' ? [] : [[Attribute.TMPL, encodeTemplate(selector, rule.spi)] as const]),
    ...encodeMark(mark),
  ]);
}

/** For one policy: to read or to remove it. */
export function encodePolicyRequest(type: 'GETPOLICY' | 'DELPOLICY', id: PolicyId): Buffer {
  const body = Buffer.alloc(POLICY_ID_BYTES);
  encodeSelector(id.selector).copy(body);
  body.writeUInt8(DIRECTIONS.indexOf(id.direction), SELECTOR_BYTES + 4);
  return encodeRequest(MessageType[type], body, encodeMark(id.mark));
}

/** Undefined for a policy that is not ours. */
export function decodePolicy(message: Buffer): Policy | undefined {
  const received = decodeMessage(message, POLICY_BYTES);
  if (received?.type !== MessageType.NEWPOLICY) return undefined;
  const { body, attributes } = received;
  const selector = decodeSelector(body.subarray(0, SELECTOR_BYTES));
  const direction = DIRECTIONS[body.readUInt8(AT.direction)];
  const rule = decodeAction(body, attributes.get(Attribute.TMPL));
  if (selector === undefined || direction === undefined || rule === undefined) return undefined;
  const mark = attributes.get(Attribute.MARK);
  return {
    direction,
    selector,
    mark: mark === undefined ? undefined : { value: mark.readUInt32LE(), mask: mark.readUInt32LE(4) },
    rule,
  };
}

function decodeAction(body: Buffer, template: Buffer | undefined): Policy['rule'] | undefined {
  const priority = body.readUInt32LE(AT.priority);
  if (body.readUInt8(AT.action) === ACTION_BLOCK) return priority === REFUSE_PRIORITY ? 'refuse' : undefined;
  if (template?.length !== TEMPLATE_BYTES || template.readUInt32LE(44) !== REQID) return undefined;
  const spi = template.readUInt32BE(16);
  return { spi: spi === 0 ? undefined : (spi as Spi) };
}

/** struct xfrm_user_tmpl, transport mode. */
function encodeTemplate({ family, ends }: Selector, spi: Spi | undefined): Buffer {
  const bytes = Buffer.alloc(TEMPLATE_BYTES);
  if (ends !== undefined) {
    writeAddress(bytes, 0, ends.destination);
    writeAddress(bytes, 28, ends.source);
  }
  bytes.writeUInt32BE(spi ?? 0, 16);
  bytes.writeUInt8(IPPROTO_ESP, 20);
  bytes.writeUInt16LE(family, 24);
  bytes.writeUInt32LE(REQID, 44);
  for (const at of [52, 56, 60]) bytes.writeUInt32LE(ANY_ALGORITHM, at);
  return bytes;
}

function encodeMark(mark: PolicyId['mark']): Attributes {
  if (mark === undefined) return [];
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(mark.value, 0);
  bytes.writeUInt32LE(mark.mask, 4);
  return [[Attribute.MARK, bytes]];
}
