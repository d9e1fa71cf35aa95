// Size and free space of the file systems that jobs use: the root and the one of the state directory. Asked outside
// the tick, with a deadline: a dead network file system makes its own columns late and nothing else.
import { readFileSync, statfs as statfsOfNode } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { errnoOf } from '../base/fault.ts';
import type { AbsentReason, ColumnFamilyName } from '../protocol/columns.ts';
import type { SlowColumn, SlowDevice } from './device.ts';
import { mountOf, parseMountinfo } from './mountinfo.ts';

const PERIOD_MS = 10_000;
const DEADLINE_MS = 3000;

export interface Space {
  readonly blocks: number;
  readonly bavail: number;
  readonly bsize: number;
}

export interface StorageOptions {
  readonly stateDir: string;
  readonly procRoot: string;
  readonly clock: Clock;
  readonly statfs?: (path: string) => Promise<Space>;
}

export function createStorage({
  stateDir,
  procRoot,
  clock,
  statfs = promisify(statfsOfNode),
}: StorageOptions): SlowDevice {
  // One question per file system at a time: each that hangs keeps a thread of the pool.
  const waiting = new Map<string, Promise<Space | AbsentReason>>();
  return {
    name: 'storage',
    periodMs: PERIOD_MS,
    async read() {
      const points = findPoints(procRoot, stateDir);
      const answers = await Promise.all(
        points.map((point) => withinDeadline(clock, ask(waiting, point, statfs))),
      );
      return points.flatMap((point, at) => columnsOf(point, answers[at] ?? 'error'));
    },
  };
}

/** Mount points of the file systems that hold `/` and the state directory, each file system once. */
function findPoints(procRoot: string, stateDir: string): readonly string[] {
  try {
    const mounts = parseMountinfo(readFileSync(join(procRoot, 'self', 'mountinfo'), 'utf8'));
    const [root, state] = [mountOf(mounts, '/'), mountOf(mounts, stateDir)];
    if (state === null || root?.device === state.device) return ['/'];
    return ['/', state.point];
  } catch {
    return ['/'];
  }
}

function ask(
  waiting: Map<string, Promise<Space | AbsentReason>>,
  point: string,
  statfs: (path: string) => Promise<Space>,
): Promise<Space | AbsentReason> {
  const earlier = waiting.get(point);
  if (earlier !== undefined) return earlier;
  const answer = statfs(point)
    .catch((error: unknown) => reasonOf(error))
    .finally(() => waiting.delete(point));
  waiting.set(point, answer);
  return answer;
}

function withinDeadline(clock: Clock, answer: Promise<Space | AbsentReason>): Promise<Space | AbsentReason> {
  return new Promise((resolve) => {
    const timer = clock.after(DEADLINE_MS, () => resolve('late'));
    void answer.then((one) => {
      timer.cancel();
      resolve(one);
    });
  });
}

function reasonOf(error: unknown): AbsentReason {
  const code = errnoOf(error);
  if (code === 'EACCES' || code === 'EPERM') return 'denied';
  return code === 'ENOENT' || code === 'ESTALE' || code === 'ENODEV' ? 'lost' : 'error';
}

function columnsOf(point: string, answer: Space | AbsentReason): readonly SlowColumn[] {
  const column = (family: ColumnFamilyName, value: number, reason: AbsentReason): SlowColumn => ({
    column: { family, owner: 'host', label: point },
    value,
    reason,
  });
  if (typeof answer === 'string') {
    return [
      column('storage.totalBytes', Number.NaN, answer),
      column('storage.freeBytes', Number.NaN, answer),
    ];
  }
  return [
    column('storage.totalBytes', answer.blocks * answer.bsize, 'present'),
    column('storage.freeBytes', answer.bavail * answer.bsize, 'present'),
  ];
}
