// The registries that images come from, as the container executor asks about them: by the name servers of this host.
import { networkInterfaces } from 'node:os';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { createNames } from '../dial/names.ts';
import { proxyOfEnvironment } from '../dial/proxy.ts';
import type { RegistryRules } from '../job/executor/container-registry.ts';

export function openRegistryRules(registries: readonly string[], clock: Clock, log: Log): RegistryRules {
  const names = createNames({ clock, log });
  return { registries, resolve: names.resolve, isProxied, ownAddresses };
}

function isProxied(host: string): boolean {
  try {
    return proxyOfEnvironment(new URL(`https://${host}/`)) !== null;
  } catch {
    // A proxy that is no URL: the runtime's business, and no reason to believe a name.
    return false;
  }
}

function ownAddresses(): string[] {
  let found: ReturnType<typeof networkInterfaces>;
  try {
    found = networkInterfaces();
  } catch {
    // Without netlink sockets nobody tells them.
    return [];
  }
  return Object.values(found).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}
