// Services shared between tenants, as the status shows them. Reads, decides nothing.
import type { OverlayConfig } from '../core/peers';
import { outOfReach } from '../core/shared';
import type { SharedStatus } from './status';

export function sharedView({
  shared = [],
  prefixes,
}: Pick<OverlayConfig, 'shared' | 'prefixes'>): SharedStatus[] {
  return shared.map((service) => ({
    name: service.name,
    vni: service.vni,
    prefixes: service.prefixes,
    clients: service.clients.flatMap((client) => client.prefixes.map((prefix) => `${client.vni}=${prefix}`)),
    why: outOfReach(service, prefixes) ?? '',
  }));
}
