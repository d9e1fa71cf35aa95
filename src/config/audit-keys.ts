// The keys of the scheduler's audit log (audit/). A node keeps 256 MiB of its own, whatever they say.
import type { ConfigKey } from './keys.ts';
import { formatDuration, parseBytes, parseDurationMs } from './value.ts';

const DAY_MS = 86_400_000;
const KEEP = { min: DAY_MS, max: 36_500 * DAY_MS };
const DEFAULT_KEEP_MS = 1096 * DAY_MS;
const QUOTA = { min: 64 * 1024 * 1024, max: Number.MAX_SAFE_INTEGER };
const DEFAULT_QUOTA_BYTES = 10 * 1024 ** 3;

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

export const auditKeys = {
  'audit.keepMs': key<number>({
    flag: '--audit-keep',
    argument: 'DURATION',
    variable: 'FLOPD_AUDIT_KEEP',
    help: 'how long the scheduler keeps records of its audit log, in whole files',
    defaultText: formatDuration(DEFAULT_KEEP_MS),
    example: formatDuration(DEFAULT_KEEP_MS),
    fallback: () => DEFAULT_KEEP_MS,
    parse: (value) => parseDurationMs(value, KEEP, true),
    format: formatDuration,
  }),
  'audit.quotaBytes': key<number>({
    flag: '--audit-quota',
    argument: 'SIZE',
    variable: 'FLOPD_AUDIT_QUOTA',
    help: "disk that the scheduler's audit log may use; the oldest files go first",
    defaultText: '10GiB',
    example: '10GiB',
    fallback: () => DEFAULT_QUOTA_BYTES,
    parse: (value) => parseBytes(value, QUOTA),
    format: String,
  }),
};
