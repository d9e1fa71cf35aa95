// The keys of how long the scheduler keeps jobs that have ended (scheduler/job-retention.ts).
import type { ConfigKey } from './keys.ts';
import { formatDuration, parseDurationMs, parseInteger } from './value.ts';

const KEEP = { min: 1000, max: 36_500 * 86_400_000 };
const DEFAULT_KEEP_MS = 90 * 86_400_000;
const DEFAULT_JOBS = 1_000_000;

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

export const historyKeys = {
  'history.keepMs': key<number>({
    flag: '--history-keep',
    argument: 'DURATION',
    variable: 'FLOPD_HISTORY_KEEP',
    help: 'how long the scheduler keeps a job after its end; at least as long as output.keepMs',
    defaultText: formatDuration(DEFAULT_KEEP_MS),
    example: formatDuration(DEFAULT_KEEP_MS),
    fallback: () => DEFAULT_KEEP_MS,
    parse: (value) => parseDurationMs(value, KEEP, true),
    format: formatDuration,
  }),
  'history.jobs': key<number>({
    flag: '--history-jobs',
    argument: 'N',
    variable: 'FLOPD_HISTORY_JOBS',
    help: 'ended jobs that the scheduler keeps at most; those that were submitted first go first, with their output',
    defaultText: String(DEFAULT_JOBS),
    example: String(DEFAULT_JOBS),
    fallback: () => DEFAULT_JOBS,
    parse: (value) => parseInteger(value, { min: 1, max: 100_000_000 }, String(DEFAULT_JOBS)),
    format: String,
  }),
};
