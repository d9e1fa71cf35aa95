// Prometheus names of the host's columns. One rule makes them all from the list of families: the prefix, the parts of
// the family's name in snake case, units and `_total` as they already stand at its end. Exceptions are few and here.
import type { ColumnFamilyName } from '../protocol/columns.ts';
import { columnFamilies } from '../protocol/columns.ts';

const PREFIX = 'compute_node';

/** Where the rule would say a thing twice. */
const exceptions: Partial<Record<ColumnFamilyName, string>> = {
  'power.energyJoulesTotal': 'energyJoulesTotal',
};

/** E.g. `compute_node_disk_read_bytes_total` for `disk.readBytesTotal`. */
export function metricName(family: ColumnFamilyName): string {
  const snake = (exceptions[family] ?? family)
    .replaceAll('.', '_')
    .replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return `${PREFIX}_${snake}`;
}

/** `# HELP` and `# TYPE` of a family. */
export function metricHead(family: ColumnFamilyName): string {
  const { kind, help } = columnFamilies[family];
  return headOf(metricName(family), kind, help);
}

export function headOf(name: string, kind: 'gauge' | 'counter', help: string): string {
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${kind}\n`;
}

/** A series' name with its labels in the given order; values are escaped. */
export function seriesName(name: string, labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? name : `${name}{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
