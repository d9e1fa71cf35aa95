// The numbers that a tool told of its devices, as slow columns of telemetry. A device that cannot be read keeps its
// columns, absent with the reason, so that nobody sees them vanish.
import type { AbsentReason, ColumnFamilyName } from '../protocol/columns.ts';
import { type DeviceNumbers, deviceNumbers, type ExtraNumber, type Measured } from './accelerator.ts';
import type { SlowColumn } from './device.ts';
import type { Member } from './roster.ts';

const extraNumbers = [
  'fanRatio',
  'pcieReplaysTotal',
  'pcieReceiveBytesPerSecond',
  'pcieTransmitBytesPerSecond',
  'linkReceiveBytesTotal',
  'linkTransmitBytesTotal',
] as const satisfies readonly ExtraNumber[];

/** Columns of the devices that were told with numbers, in their order. */
export function toolColumns(members: readonly Member[]): SlowColumn[] {
  return members.flatMap(({ slot, reading, unread }) =>
    'numbers' in reading ? columnsOf(slot, reading.numbers as DeviceNumbers, unread?.reason ?? null) : [],
  );
}

function columnsOf(owner: number, numbers: DeviceNumbers, unread: AbsentReason | null): SlowColumn[] {
  const columns: SlowColumn[] = [];
  const add = (name: string, label: string | null, measured: Measured): void => {
    const family = `accelerator.${name}` as ColumnFamilyName;
    const isNumber = typeof measured === 'number' && Number.isFinite(measured);
    const reason = isNumber ? 'present' : typeof measured === 'number' ? 'error' : measured;
    columns.push({
      column: { family, owner, label },
      value: isNumber && unread === null ? measured : Number.NaN,
      reason: unread ?? reason,
    });
  };
  for (const name of deviceNumbers) add(name, null, numbers.values[name] ?? 'unsupported');
  for (const name of extraNumbers) {
    const measured = numbers.values[name];
    if (measured !== undefined) add(name, null, measured);
  }
  for (const name of ['engineBusyRatio', 'throttledRatio'] as const)
    for (const [label, measured] of Object.entries(numbers[name] ?? {})) add(name, label, measured);
  return columns;
}
