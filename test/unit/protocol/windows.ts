// Windows for the tests: made by hand, and made up at random.
import fc from 'fast-check';
import type { AbsentReason, Column, ColumnFamilyName, Window } from '../../../src/protocol/columns.ts';
import { absentReasons, columnFamilies, windowStatistics } from '../../../src/protocol/columns.ts';

export const families = Object.keys(columnFamilies) as ColumnFamilyName[];

/** A column's value: a number stands in all statistics, four numbers are min, mean, max and last. */
export type Cell = number | readonly [number, number, number, number] | AbsentReason;

export function column(name: ColumnFamilyName | `${ColumnFamilyName}{${string}}`): Column {
  const match = /^([^{]+)(?:\{(.*)\})?$/s.exec(name);
  return { family: match?.[1] as ColumnFamilyName, owner: 'host', label: match?.[2] ?? null };
}

export function makeWindow(
  columns: readonly Column[],
  cells: readonly Cell[],
  head: Partial<Pick<Window, 'generation' | 'sequence' | 'endMs' | 'durationMs' | 'ticks'>> = {},
): Window {
  const values = new Float64Array(columns.length * windowStatistics).fill(Number.NaN);
  const reasons = new Uint8Array(columns.length);
  cells.forEach((cell, at) => {
    const isGauge = columnFamilies[columns[at]?.family ?? 'cpu.load1'].kind === 'gauge';
    if (typeof cell === 'string') reasons[at] = absentReasons.indexOf(cell);
    else if (typeof cell !== 'number') values.set(cell, at * windowStatistics);
    else if (isGauge) values.fill(cell, at * windowStatistics, (at + 1) * windowStatistics);
    else values[at * windowStatistics + 3] = cell;
  });
  return {
    generation: 1,
    sequence: 1,
    endMs: 1_795_000_000_000,
    durationMs: 1000,
    ticks: 10,
    ...head,
    columns,
    values,
    reasons,
  };
}

/** What a value of this family may be, extremes and nonsense included. */
function cellOf(family: ColumnFamilyName): fc.Arbitrary<Cell> {
  const { kind, resolution, unit } = columnFamilies[family];
  const one =
    unit === 'ratio'
      ? fc.double({ min: 0, max: 1, noNaN: true })
      : fc.oneof(
          { weight: 6, arbitrary: fc.integer({ min: 0, max: 100_000 }).map((steps) => steps * resolution) },
          { weight: 2, arbitrary: fc.maxSafeInteger() },
          { weight: 1, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
          { weight: 1, arbitrary: fc.constantFrom(0, -1, 2 ** 52, 2 ** 53, 1e300, -1e300, 5e-324) },
        );
  const reason = fc.constantFrom(...absentReasons.slice(1));
  if (kind === 'counter') return fc.oneof({ weight: 8, arbitrary: one }, { weight: 1, arbitrary: reason });
  return fc.oneof(
    { weight: 8, arbitrary: fc.tuple(one, one, one, one) },
    { weight: 3, arbitrary: one },
    { weight: 1, arbitrary: reason },
  );
}

/** A run of windows over the same columns, with jumps of clock and sequence. */
export const windowRun: fc.Arbitrary<Window[]> = fc
  .array(fc.tuple(fc.constantFrom(...families), fc.integer({ min: 0, max: 3 })), {
    minLength: 1,
    maxLength: 24,
  })
  .chain((picked) => {
    const columns = picked.map(([family, number], at): Column => {
      return { family, owner: number === 0 ? 'host' : number, label: `l${at}` };
    });
    const cells = fc.tuple(...columns.map(({ family }) => cellOf(family)));
    const window = fc.record({
      cells: fc.oneof({ weight: 2, arbitrary: cells }, { weight: 1, arbitrary: fc.constant(null) }),
      step: fc.oneof(
        { weight: 9, arbitrary: fc.constant(1) },
        { weight: 1, arbitrary: fc.integer({ min: 1, max: 600 }) },
      ),
      endMs: fc.integer({ min: 0, max: 4e12 }),
      durationMs: fc.integer({ min: 0, max: 1e7 }),
      ticks: fc.nat(),
    });
    return fc.array(window, { minLength: 1, maxLength: 12 }).map((list) => {
      let sequence = 0;
      let last: readonly Cell[] = columns.map(() => 'notYet' as const);
      return list.map(({ cells: next, step, ...head }) => {
        sequence += step;
        last = next ?? last;
        return makeWindow(columns, last, { ...head, sequence });
      });
    });
  });
