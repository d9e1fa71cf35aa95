// How the keys of a scheduler are told to a person.
import type { SchedulerKeysView } from '../protocol/api.ts';
import { REVOKED_MS } from '../protocol/keys.ts';
import { renderTable, type TableColumn } from './table.ts';

type Key = SchedulerKeysView['keys'][number];

const at = (ms: number): string => new Date(ms).toISOString();

const columns: readonly TableColumn<Key>[] = [
  { title: 'KEY', cell: ({ keyId }) => keyId },
  { title: 'SIGNS FROM', cell: ({ signsFromMs }) => (signsFromMs === 0 ? 'the start' : at(signsFromMs)) },
  {
    title: 'ITS ORDERS ARE GOOD UNTIL',
    cell: ({ notAfterMs }) =>
      notAfterMs === null
        ? 'it is replaced'
        : notAfterMs === REVOKED_MS
          ? 'never more (revoked)'
          : at(notAfterMs),
  },
];

export function keyLines({ keys }: SchedulerKeysView): string[] {
  return renderTable(columns, keys, { width: null, colour: false, wide: false });
}
