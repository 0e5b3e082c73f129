// Who may ask over TCP. Any web page that a browser on this machine shows can send requests to loopback, and by
// rebinding a name to 127.0.0.1 (DNS rebinding) read the answers: so the Host header must be the address that was
// really connected to, or localhost, and an Origin must be the same. Decides nothing else.
import { isIP } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { VxsealError } from '../errors';

/** The host of a Host header without its port and brackets; undefined when it is not one. */
export function hostOf(header: string): string | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/@]+))(?::\d{1,5})?$/.exec(header);
  return (match?.[1] ?? match?.[2])?.toLowerCase();
}

/** @param connectedTo our side's address of the connection; IPv4 may come IPv4-mapped. */
export function isOwnHost(header: string | undefined, connectedTo: string): boolean {
  const host = header === undefined ? undefined : hostOf(header);
  if (host === undefined) return false;
  if (host === 'localhost') return true;
  const address = connectedTo.replace(/^::ffff:(?=\d+\.)/, '');
  return isIP(host) !== 0 && host === address;
}

/** A request without Origin is no script's; one with it must come from our own page. */
export function isOwnOrigin(origin: string | undefined, host: string): boolean {
  return origin === undefined || origin.toLowerCase() === `http://${host.toLowerCase()}`;
}

/** Refuses with 403 before anything is looked at. For TCP listeners; a unix socket has its mode. */
export function refuseForeign(server: FastifyInstance): void {
  server.addHook('onRequest', async (request) => {
    const { host, origin } = request.headers;
    if (!isOwnHost(host, request.socket.localAddress ?? '')) {
      throw new VxsealError(
        'forbidden',
        `Host ${JSON.stringify((host ?? '').slice(0, 100))} is not the address of this agent`,
        'Ask by address: http://127.0.0.1:9477, or through localhost.',
      );
    }
    if (!isOwnOrigin(origin, host ?? '')) {
      const message = `Origin ${JSON.stringify(String(origin).slice(0, 100))} is not this page`;
      throw new VxsealError('forbidden', message, "Open the agent's own page.");
    }
  });
}
