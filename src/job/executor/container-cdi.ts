// Devices that the host describes for containers (Container Device Interface): files of JSON or YAML, each with a
// `kind` (vendor/class) and the names of its devices. Who finds his device there gets its driver's libraries too.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../base/fault.ts';

/** Static ones and those that a driver makes at boot, as the specification names them. */
export const cdiFolders: readonly string[] = ['/etc/cdi', '/var/run/cdi'];

/** Names as a runtime takes them: `vendor/class=name`. Unreadable files have none. */
export async function findCdiDevices(folders: readonly string[] = cdiFolders): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (const folder of folders)
    for (const file of filesIn(folder)) for (const name of await namesIn(join(folder, file))) names.add(name);
  return names;
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => /\.(?:json|ya?ml)$/.test(name));
  } catch (error) {
    if (errnoOf(error) === null) throw error;
    return [];
  }
}

async function namesIn(path: string): Promise<string[]> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === null) throw error;
    return [];
  }
  const { parse } = await import('yaml'); // of which JSON is a part
  try {
    return namesOf(parse(text));
  } catch {
    return [];
  }
}

function namesOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null || !('kind' in value) || !('devices' in value)) return [];
  const { kind, devices } = value;
  if (typeof kind !== 'string' || !Array.isArray(devices)) return [];
  return devices.flatMap((device: unknown) =>
    typeof device === 'object' && device !== null && 'name' in device
      ? [`${kind}=${String((device as { name: unknown }).name)}`]
      : [],
  );
}
