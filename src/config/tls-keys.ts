// The keys of the scheduler's TLS (scheduler/tls/).
import { isIP } from 'node:net';
import type { ConfigKey, ParseContext } from './keys.ts';
import { formatDuration, parseChoice, parseDurationMs, parseText, ValueProblem } from './value.ts';

export const tlsModes = ['auto', 'on', 'off'] as const;
export type TlsMode = (typeof tlsModes)[number];

const DAY_MS = 86_400_000;
const LIFETIME = { min: 10_000, max: 397 * DAY_MS };
const DEFAULT_LIFETIME_MS = 90 * DAY_MS;
const OVERLAP = { min: 1000, max: 366 * DAY_MS };
const DEFAULT_OVERLAP_MS = 7 * DAY_MS;
const MAX_NAMES = 64;
const NAME = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

/** `paths` reads a path as every other key does (keys.ts). */
export const tlsKeys = (paths: (value: unknown, context: ParseContext) => string) => ({
  'tls.mode': key<TlsMode>({
    flag: '--tls',
    argument: 'MODE',
    variable: 'FLOPD_TLS',
    help: 'whether the scheduler speaks TLS: auto (plain on loopback, TLS elsewhere or with own files), on or off',
    defaultText: 'auto',
    example: 'auto',
    fallback: () => 'auto',
    parse: (value) => parseChoice(value, tlsModes, 'a mode of TLS'),
    format: (value) => value,
  }),
  'tls.certFile': key<string | null>({
    flag: '--tls-cert',
    argument: 'PATH',
    variable: 'FLOPD_TLS_CERT',
    help: "the scheduler's certificate with its chain, PEM; read again when it changes",
    defaultText: 'one of a private authority in the state directory',
    example: '/etc/flopd/cert.pem',
    fallback: () => null,
    parse: paths,
    format: (value) => value ?? '',
  }),
  'tls.keyFile': key<string | null>({
    flag: '--tls-key',
    argument: 'PATH',
    variable: 'FLOPD_TLS_KEY',
    help: 'private key of --tls-cert, PEM, not encrypted',
    defaultText: 'none',
    example: '/etc/flopd/key.pem',
    fallback: () => null,
    parse: paths,
    format: (value) => value ?? '',
  }),
  'tls.names': key<readonly string[]>({
    flag: '--tls-name',
    argument: 'NAMES',
    variable: 'FLOPD_TLS_NAMES',
    help: 'further DNS names and addresses that the scheduler is reached by, separated by commas',
    defaultText: "this host's name and addresses",
    example: 'scheduler.example,10.0.0.5',
    fallback: () => [],
    parse: parseNames,
    format: (value) => value.join(','),
  }),
  'tls.lifetimeMs': key<number>({
    flag: '--tls-lifetime',
    argument: 'DURATION',
    variable: 'FLOPD_TLS_LIFETIME',
    help: 'how long certificates of the private authority are good; they are renewed before half of it is over',
    defaultText: formatDuration(DEFAULT_LIFETIME_MS),
    example: formatDuration(DEFAULT_LIFETIME_MS),
    fallback: () => DEFAULT_LIFETIME_MS,
    parse: (value) => parseDurationMs(value, LIFETIME, true),
    format: formatDuration,
  }),
  'tls.overlapMs': key<number>({
    flag: '--tls-overlap',
    argument: 'DURATION',
    variable: 'FLOPD_TLS_OVERLAP',
    help: 'how long a next private authority is made known before it signs, and the last one is trusted after that',
    defaultText: formatDuration(DEFAULT_OVERLAP_MS),
    example: formatDuration(DEFAULT_OVERLAP_MS),
    fallback: () => DEFAULT_OVERLAP_MS,
    parse: (value) => parseDurationMs(value, OVERLAP, true),
    format: formatDuration,
  }),
});

/** DNS names and addresses in lower case, from a list or one text with commas. */
function parseNames(value: unknown): readonly string[] {
  const items = Array.isArray(value)
    ? value
    : parseText(value, 'names with commas between them', 16_384).split(',');
  const names = items.map((item) => parseText(item, 'a name', 253).trim().toLowerCase());
  const wrong = names.find((name) => isIP(name) === 0 && (!NAME.test(name) || /^[\d.]+$/.test(name)));
  if (wrong !== undefined)
    throw new ValueProblem(
      'not a DNS name or an address',
      'write names and addresses without ports, for example scheduler.example,10.0.0.5',
    );
  if (names.length > MAX_NAMES) throw new ValueProblem('too many names', `write at most ${MAX_NAMES}`);
  return [...new Set(names)];
}
