// The keys of files of jobs: the scheduler's store and the node's cache.
import type { ConfigKey } from './keys.ts';
import { formatDuration, parseBytes, parseDurationMs } from './value.ts';

const FILES_BYTES = { min: 1024 * 1024, max: Number.MAX_SAFE_INTEGER };
const DEFAULT_FILES_BYTES = 20 * 1024 ** 3;
const FILES_KEEP = { min: 60_000, max: 366 * 86_400_000 };
const DEFAULT_FILES_KEEP_MS = 7 * 86_400_000;

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

export const fileKeys = {
  'jobs.cacheBytes': key<number>({
    flag: '--job-cache',
    argument: 'SIZE',
    variable: 'FLOPD_JOBS_CACHE',
    help: 'disk that the node may use for inputs that jobs share, and for outputs on their way to the scheduler',
    defaultText: '20GiB',
    example: '20GiB',
    fallback: () => DEFAULT_FILES_BYTES,
    parse: (value) => parseBytes(value, FILES_BYTES),
    format: String,
  }),
  'files.quotaBytes': key<number>({
    flag: '--files-quota',
    argument: 'SIZE',
    variable: 'FLOPD_FILES_QUOTA',
    help: "disk that the scheduler's store of inputs and outputs may use",
    defaultText: '20GiB',
    example: '20GiB',
    fallback: () => DEFAULT_FILES_BYTES,
    parse: (value) => parseBytes(value, FILES_BYTES),
    format: String,
  }),
  'files.keepMs': key<number>({
    flag: '--files-keep',
    argument: 'DURATION',
    variable: 'FLOPD_FILES_KEEP',
    help: 'how long the scheduler keeps outputs after the end of their job, and inputs after their last use',
    defaultText: formatDuration(DEFAULT_FILES_KEEP_MS),
    example: formatDuration(DEFAULT_FILES_KEEP_MS),
    fallback: () => DEFAULT_FILES_KEEP_MS,
    parse: (value) => parseDurationMs(value, FILES_KEEP, true),
    format: formatDuration,
  }),
};
