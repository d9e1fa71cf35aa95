// The columns that come from slow devices: each device is asked at its own pace, never twice at once, and what it
// said last stands in every window until it says something new, or for so long that it counts as late.
import type { Clock, Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { SlowColumn, SlowDevice } from '../device/device.ts';
import type { Column } from '../protocol/columns.ts';
import { absentReasons, columnFamilies, windowStatistics } from '../protocol/columns.ts';

/** An answer older than this many periods of its device is late. */
const LATE_PERIODS = 3;

export interface SlowRow {
  /** The present columns; another list whenever they change. */
  columns(): readonly Column[];
  /** Writes the present values behind `from` columns of a window. */
  writeInto(values: Float64Array, reasons: Uint8Array, from: number): void;
  close(): void;
}

interface Part {
  readonly device: SlowDevice;
  answer: readonly SlowColumn[];
  answeredMs: number;
  asking: boolean;
  timer: Timer;
}

export function createSlowRow(devices: readonly SlowDevice[], clock: Clock, log: Log): SlowRow {
  let columns: readonly Column[] = [];
  let closed = false;
  const parts = devices.map((device): Part => {
    const idle = { cancel() {} };
    return { device, answer: [], answeredMs: clock.monotonicMs(), asking: false, timer: idle };
  });
  for (const part of parts) ask(part);

  function ask(part: Part): void {
    if (closed) return;
    part.timer = clock.after(part.device.periodMs, () => ask(part));
    if (part.asking) return;
    part.asking = true;
    part.device
      .read()
      .then((answer) => keep(part, answer))
      .catch((error: unknown) =>
        log.error({ device: part.device.name, error }, 'a slow device broke its promise'),
      )
      .finally(() => {
        part.asking = false;
      });
  }

  function keep(part: Part, answer: readonly SlowColumn[]): void {
    const same =
      answer.length === part.answer.length && answer.every((one, at) => isSame(one, part.answer[at]));
    part.answer = answer;
    part.answeredMs = clock.monotonicMs();
    if (!same) columns = parts.flatMap((each) => each.answer.map(({ column }) => column));
  }

  return {
    columns: () => columns,
    writeInto(values, reasons, from) {
      const nowMs = clock.monotonicMs();
      let column = from;
      for (const { answer, answeredMs, device } of parts) {
        const isLate = nowMs - answeredMs > LATE_PERIODS * device.periodMs;
        for (const {
          column: { family },
          value,
          reason,
        } of answer) {
          const isPresent = !isLate && reason === 'present' && Number.isFinite(value);
          const at = column * windowStatistics;
          values.fill(Number.NaN, at, at + windowStatistics);
          if (isPresent && columnFamilies[family].kind === 'gauge')
            values.fill(value, at, at + windowStatistics);
          else if (isPresent) values[at + windowStatistics - 1] = value;
          const absent = isLate ? 'late' : reason === 'present' ? 'error' : reason;
          reasons[column] = absentReasons.indexOf(isPresent ? 'present' : absent);
          column += 1;
        }
      }
    },
    close() {
      closed = true;
      for (const part of parts) part.timer.cancel();
    },
  };
}

function isSame(one: SlowColumn, other: SlowColumn | undefined): boolean {
  const [a, b] = [one.column, other?.column];
  return a.family === b?.family && a.label === b.label && a.owner === b.owner;
}
