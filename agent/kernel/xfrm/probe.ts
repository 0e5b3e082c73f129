// Whether this kernel's IPsec can be the cipher, found by making an SA of a throw-away key between dummy addresses,
// which is removed at once.
import { randomBytes } from 'node:crypto';
import type { IpAddress, Spi } from '../../core/ids';
import { KernelError } from '../../errors';
import { kernelError } from '../fault';
import type { XfrmSocket } from './socket';

export const ESP_REMEDY = 'load xfrm_user, esp4, esp6 and chacha20poly1305, or set overlay.engine to bpf';

/** Nobody's (RFC 7600 §4.8, RFC 6666). */
const DUMMIES = { 4: '192.0.0.8', 6: '100::1' } as const;
const LEAST_SPI = 256;
const PORT = 9;

/** @returns undefined when it can, or why not. */
export function tryEsp(socket: XfrmSocket, family: 4 | 6): string | undefined {
  const address = DUMMIES[family] as IpAddress;
  const id = { destination: address, spi: Math.max(LEAST_SPI, randomBytes(4).readUInt32LE()) as Spi };
  const keys = { key: randomBytes(32), salt: randomBytes(4) };
  try {
    socket.addState('try ESP', { ...id, ...keys, source: address, port: PORT, setMark: 0 });
    socket.removeState(id);
    return undefined;
  } catch (cause) {
    return kernelError('try ESP', cause).message;
  }
}

/** @throws KernelError with the remedy when neither family can. */
export function requireEsp(socket: XfrmSocket): void {
  const reason = tryEsp(socket, 4);
  if (reason === undefined || tryEsp(socket, 6) === undefined) return;
  throw new KernelError('use the IPsec of the kernel', 95, 'EOPNOTSUPP', `${reason}: ${ESP_REMEDY}`);
}
