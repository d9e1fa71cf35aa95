// Whether a host can tell its power at all, and if not, why: for the sentences that people read.
import { accessSync, constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HostView } from '../protocol/api.ts';
import { formatDecimal } from './text.ts';

export interface PowerSources {
  /** Files with a power or an energy that this user may read. */
  readonly readable: readonly string[];
  readonly denied: readonly string[];
}

export function findPowerSources(sysRoot: string): PowerSources {
  const files = [
    ...filesBelow(join(sysRoot, 'class', 'powercap'), /^energy_uj$/),
    ...filesBelow(join(sysRoot, 'class', 'hwmon'), /^(power\d+_(input|average)|energy\d+_input)$/),
  ];
  const readable = files.filter(isReadable);
  return { readable, denied: files.filter((file) => !readable.includes(file)) };
}

const NO_SOURCE = 'it shows neither RAPL nor a hardware monitor with power';

/** A host's power for people: watts, or why there are none, from the reason code of its window. */
export function describePower(host: Pick<HostView, 'powerWatts' | 'absent'>): string {
  if (host.powerWatts !== null) return formatDecimal(host.powerWatts, 'W');
  const reason = host.absent.powerWatts ?? 'unknown';
  return reason === 'unsupported' ? `no power source: ${NO_SOURCE}` : `power unknown: ${reason}`;
}

/** Why there are no joules, or null where there is a source. */
export function whyNoPower({ readable, denied }: PowerSources): string | null {
  if (readable.length > 0) return null;
  if (denied.length > 0) return `this user may not read ${denied[0]}`;
  return NO_SOURCE;
}

function filesBelow(root: string, name: RegExp): string[] {
  return list(root).flatMap((folder) =>
    list(join(root, folder))
      .filter((file) => name.test(file))
      .map((file) => join(root, folder, file)),
  );
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
