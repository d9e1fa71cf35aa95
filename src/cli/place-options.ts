// Flags that say where nodes stand and what they are labelled.
import type { Command } from 'commander';
import { type Labels, labelsSchema, type Place, placeSchema } from '../protocol/place.ts';
import { usageFault } from './usage.ts';

export interface PlaceFlags {
  readonly jurisdiction?: string;
  readonly hub?: string;
  readonly cluster?: string;
  readonly city?: string;
}

export function addPlaceFlags(command: Command): Command {
  return command
    .option('--jurisdiction <CODE>', 'whose law holds there: CN, CN-GD, HK, SG (ISO 3166)')
    .option('--hub <NAME>', 'national hub')
    .option('--cluster <NAME>', 'cluster of the hub')
    .option('--city <NAME>', 'city');
}

/** The place of the flags; null where none of them is given. */
export function readPlace({ jurisdiction, hub, cluster, city }: PlaceFlags): Place | null {
  const given = { jurisdiction, hub, cluster, city };
  if (Object.values(given).every((value) => value === undefined)) return null;
  const parsed = placeSchema.safeParse(
    Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value ?? null])),
  );
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const flag = String(issue?.path[0] ?? '');
  throw usageFault(
    `--${flag}: ${JSON.stringify(given[flag as keyof PlaceFlags] ?? '')} ${issue?.message ?? 'does not fit'}`,
    flag === 'jurisdiction' ? 'write the code in capital letters' : 'write a short name',
  );
}

const LABELS_REMEDY =
  'names are lower-case words of at most 32 characters, values short words; at most 16 of them';

/** Labels from `K=V`, each of its own. */
export function readLabels(flag: string, entries: readonly string[]): Labels {
  const labels: Record<string, string> = {};
  for (const entry of entries) {
    const at = entry.indexOf('=');
    if (at < 1) throw usageFault(`${flag}: ${JSON.stringify(entry)} is no label`, 'write it as K=V');
    const [name, value] = [entry.slice(0, at), entry.slice(at + 1)];
    if (!labelsSchema.safeParse({ [name]: value }).success)
      throw usageFault(`${flag}: ${JSON.stringify(entry)} is no label`, LABELS_REMEDY);
    labels[name] = value;
  }
  const parsed = labelsSchema.safeParse(labels);
  if (parsed.success) return parsed.data;
  throw usageFault(`${flag}: they are too many`, LABELS_REMEDY);
}
