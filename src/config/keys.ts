// Every configuration key once: its flag, its environment variable, how it is read, what it is for. Loading,
// `--help`, `flopd config init` and the README's table all come from here.
import { isAbsolute, join } from 'node:path';
import { auditKeys } from './audit-keys.ts';
import { dialKeys } from './dial-keys.ts';
import { fileKeys } from './file-keys.ts';
import { historyKeys } from './history-keys.ts';
import { jobKeys } from './job-keys.ts';
import { orderKeys } from './order-keys.ts';
import { homeFolder, parsePath } from './path.ts';
import { formatPeakFlops, type PeakFlops, parsePeakFlops } from './peak-flops.ts';
import { placeKeys } from './place-keys.ts';
import { policyKeys } from './policy-keys.ts';
import { runnerKeys } from './runner-keys.ts';
import { tlsKeys } from './tls-keys.ts';
import {
  type Address,
  type DeviceBackend,
  deviceBackends,
  formatAddress,
  formatDuration,
  type LogLevel,
  logLevels,
  parseAddress,
  parseBytes,
  parseChoice,
  parseDurationMs,
  parseNumber,
  parseSchedulerUrl,
  parseText,
} from './value.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a parser may need to know about where the value stands. */
export interface ParseContext {
  /** Folder that relative paths start from. */
  readonly folder: string;
  readonly environment: Environment;
}

export interface ConfigKey<T> {
  readonly flag: string;
  /** Placeholder of the flag's value in help. */
  readonly argument: string;
  readonly variable: string;
  readonly help: string;
  /** The default in words, for help and for the commented example. */
  readonly defaultText: string;
  /** An example for `config init`, as YAML writes it. */
  readonly example: string;
  fallback(environment: Environment): T;
  parse(value: unknown, context: ParseContext): T;
  /** The value as a person would write it. */
  format(value: T): string;
}

const DEFAULT_LISTEN: Address = { host: '127.0.0.1', port: 7070 };
const DEFAULT_METRICS_LISTEN: Address = { host: '127.0.0.1', port: 9471 };
const PERIOD = { min: 10, max: 10_000 };
const WINDOW = { min: 100, max: 600_000 };
const DEFAULT_PERIOD_MS = 100;
const DEFAULT_WINDOW_MS = 1000;
const TOOL_PERIOD = { min: 1000, max: 600_000 };
const DEFAULT_TOOL_PERIOD_MS = 5000;
const RETEST = { min: 1000, max: 86_400_000 };
const DEFAULT_RETEST_MS = 60_000;
const KEEP = { min: 1000, max: 3650 * 86_400_000 };
const DEFAULT_KEEP_MS = 30 * 86_400_000;
const DEFAULT_KERNEL_LOG = '/dev/kmsg';

const text = (value: string | null): string => value ?? '';
const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

const optionalPath = (
  entry: Pick<ConfigKey<string | null>, 'flag' | 'variable' | 'help' | 'defaultText' | 'example'>,
) => key<string | null>({ ...entry, argument: 'PATH', fallback: () => null, parse: parsePath, format: text });

export const configKeys = {
  stateDir: key<string>({
    flag: '--state-dir',
    argument: 'DIR',
    variable: 'FLOPD_STATE_DIR',
    help: 'folder for everything that must survive a restart',
    defaultText: '$STATE_DIRECTORY under systemd, else flopd below $XDG_STATE_HOME or ~/.local/state',
    example: '/var/lib/flopd',
    fallback: defaultStateDir,
    parse: parsePath,
    format: (value) => value,
  }),
  listen: key<Address>({
    flag: '--listen',
    argument: 'HOST:PORT',
    variable: 'FLOPD_LISTEN',
    help: 'where the scheduler listens; port 0 picks one',
    defaultText: formatAddress(DEFAULT_LISTEN),
    example: formatAddress(DEFAULT_LISTEN),
    fallback: () => DEFAULT_LISTEN,
    parse: (value) => parseAddress(value, formatAddress(DEFAULT_LISTEN)),
    format: formatAddress,
  }),
  metricsListen: key<Address>({
    flag: '--metrics-listen',
    argument: 'HOST:PORT',
    variable: 'FLOPD_METRICS_LISTEN',
    help: "where the agent's /metrics listens; port 0 picks one",
    defaultText: formatAddress(DEFAULT_METRICS_LISTEN),
    example: formatAddress(DEFAULT_METRICS_LISTEN),
    fallback: () => DEFAULT_METRICS_LISTEN,
    parse: (value) => parseAddress(value, formatAddress(DEFAULT_METRICS_LISTEN)),
    format: formatAddress,
  }),
  scheduler: key<string | null>({
    flag: '--scheduler',
    argument: 'URL',
    variable: 'FLOPD_SCHEDULER',
    help: 'which scheduler to talk to',
    defaultText: 'the one that "flopd up" runs on this machine',
    example: formatUrl(DEFAULT_LISTEN),
    fallback: () => null,
    parse: (value) => parseSchedulerUrl(value),
    format: text,
  }),
  tokenFile: optionalPath({
    flag: '--token-file',
    variable: 'FLOPD_TOKEN_FILE',
    help: 'file with the token for the scheduler',
    defaultText: 'scheduler/token in the state directory',
    example: '/etc/flopd/token',
  }),
  readyFile: optionalPath({
    flag: '--ready-file',
    variable: 'FLOPD_READY_FILE',
    help: 'file that a daemon writes when it is ready: {"url", "metricsUrl", "pid", "stateDir"}',
    defaultText: 'none',
    example: '/run/flopd/ready.json',
  }),
  'node.name': key<string | null>({
    flag: '--node-name',
    argument: 'NAME',
    variable: 'FLOPD_NODE_NAME',
    help: 'name of this host in the network',
    defaultText: 'the host name',
    example: 'rack1-07',
    fallback: () => null,
    parse: (value) => parseText(value, 'a name', 253),
    format: text,
  }),
  'node.cpus': key<number | null>({
    flag: '--node-cpus',
    argument: 'N',
    variable: 'FLOPD_NODE_CPUS',
    help: 'CPU cores that jobs may use; more than there are lets more jobs in that mostly wait',
    defaultText: 'all that the machine or its cgroup grants',
    example: '8',
    fallback: () => null,
    parse: (value) => parseNumber(value, { min: 0.01, max: 4096 }, '8'),
    format: (value) => (value === null ? '' : String(value)),
  }),
  'node.memoryBytes': key<number | null>({
    flag: '--node-memory',
    argument: 'SIZE',
    variable: 'FLOPD_NODE_MEMORY',
    help: 'memory that jobs may use',
    defaultText: 'all that the machine or its cgroup grants',
    example: '64GiB',
    fallback: () => null,
    parse: (value) => parseBytes(value, { min: 1024 * 1024, max: Number.MAX_SAFE_INTEGER }),
    format: (value) => (value === null ? '' : String(value)),
  }),
  'node.peakFlops': key<PeakFlops>({
    flag: '--peak-flops',
    argument: 'PEAKS',
    variable: 'FLOPD_NODE_PEAK_FLOPS',
    help: 'peaks of accelerators that you know better, by name or id and precision, dense, in FLOP/s; in the file also as sections',
    defaultText: 'the published figures, else units × rate × clock',
    example: 'NVIDIA H20=bf16:148T,fp8:296T; MTT S5000=bf16:500T',
    fallback: () => new Map(),
    parse: parsePeakFlops,
    format: formatPeakFlops,
  }),
  'telemetry.periodMs': key<number>({
    flag: '--telemetry-period',
    argument: 'DURATION',
    variable: 'FLOPD_TELEMETRY_PERIOD',
    help: 'time between two readings of the hardware',
    defaultText: formatDuration(DEFAULT_PERIOD_MS),
    example: formatDuration(DEFAULT_PERIOD_MS),
    fallback: () => DEFAULT_PERIOD_MS,
    parse: (value) => parseDurationMs(value, PERIOD, true),
    format: formatDuration,
  }),
  'telemetry.windowMs': key<number>({
    flag: '--telemetry-window',
    argument: 'DURATION',
    variable: 'FLOPD_TELEMETRY_WINDOW',
    help: 'time over which readings are summed up before they are sent and exported',
    defaultText: formatDuration(DEFAULT_WINDOW_MS),
    example: formatDuration(DEFAULT_WINDOW_MS),
    fallback: () => DEFAULT_WINDOW_MS,
    parse: (value) => parseDurationMs(value, WINDOW, true),
    format: formatDuration,
  }),
  simulate: key<string | null>({
    flag: '--simulate',
    argument: 'FLEET',
    variable: 'FLOPD_SIMULATE',
    help: 'show accelerators that do not exist, marked as simulated, instead of those of this host',
    defaultText: 'none',
    example: '8xH100,8xAscend910B3',
    fallback: () => null,
    // Models are known where devices are (device/simulated.ts).
    parse: (value) => parseText(value, 'a fleet like 8xH100', 1024),
    format: text,
  }),
  'devices.backend': key<DeviceBackend>({
    flag: '--backend',
    argument: 'BACKEND',
    variable: 'FLOPD_DEVICES_BACKEND',
    help: "how accelerators are read: native (the vendor's library), cli (its tool), or auto (native where it is here)",
    defaultText: 'auto',
    example: 'auto',
    fallback: () => 'auto',
    parse: (value) => parseChoice(value, deviceBackends, 'a backend'),
    format: (value) => value,
  }),
  'devices.toolPeriodMs': key<number>({
    flag: '--tool-period',
    argument: 'DURATION',
    variable: 'FLOPD_DEVICES_TOOL_PERIOD',
    help: "time between two calls of a vendor's tool, where accelerators are read through one",
    defaultText: formatDuration(DEFAULT_TOOL_PERIOD_MS),
    example: formatDuration(DEFAULT_TOOL_PERIOD_MS),
    fallback: () => DEFAULT_TOOL_PERIOD_MS,
    parse: (value) => parseDurationMs(value, TOOL_PERIOD, true),
    format: formatDuration,
  }),
  'devices.retestMs': key<number>({
    flag: '--retest',
    argument: 'DURATION',
    variable: 'FLOPD_DEVICES_RETEST',
    help: 'how long an accelerator that was at fault must read well before it takes jobs again',
    defaultText: formatDuration(DEFAULT_RETEST_MS),
    example: formatDuration(DEFAULT_RETEST_MS),
    fallback: () => DEFAULT_RETEST_MS,
    parse: (value) => parseDurationMs(value, RETEST, true),
    format: formatDuration,
  }),
  'devices.kernelLog': key<string | null>({
    flag: '--kernel-log',
    argument: 'PATH',
    variable: 'FLOPD_DEVICES_KERNEL_LOG',
    help: 'where kernel messages about accelerators are read from; "none" reads none',
    defaultText: DEFAULT_KERNEL_LOG,
    example: DEFAULT_KERNEL_LOG,
    fallback: () => DEFAULT_KERNEL_LOG,
    parse: (value, context) => (value === 'none' ? null : parsePath(value, context)),
    format: (value) => value ?? 'none',
  }),
  ...dialKeys,
  ...jobKeys,
  ...fileKeys,
  ...auditKeys,
  ...historyKeys,
  ...orderKeys,
  ...runnerKeys,
  ...placeKeys,
  ...policyKeys,
  ...tlsKeys(parsePath),
  'output.keepMs': key<number>({
    flag: '--output-keep',
    argument: 'DURATION',
    variable: 'FLOPD_OUTPUT_KEEP',
    help: 'how long the scheduler keeps the output of a job after its end',
    defaultText: formatDuration(DEFAULT_KEEP_MS),
    example: formatDuration(DEFAULT_KEEP_MS),
    fallback: () => DEFAULT_KEEP_MS,
    parse: (value) => parseDurationMs(value, KEEP, true),
    format: formatDuration,
  }),
  'output.quotaBytes': key<number | null>({
    flag: '--output-total',
    argument: 'SIZE',
    variable: 'FLOPD_OUTPUT_TOTAL',
    help: 'most output that the scheduler keeps of all jobs together; that of the job that ended first goes first',
    defaultText: 'no limit but the disk',
    example: '100GiB',
    fallback: () => null,
    parse: (value) => parseBytes(value, { min: 1024 * 1024, max: Number.MAX_SAFE_INTEGER }),
    format: (value) => (value === null ? '' : String(value)),
  }),
  'log.level': key<LogLevel>({
    flag: '--log-level',
    argument: 'LEVEL',
    variable: 'FLOPD_LOG_LEVEL',
    help: 'what the daemons log: debug, info, warn, error or silent',
    defaultText: 'info',
    example: 'info',
    fallback: () => 'info',
    parse: (value) => parseChoice(value, logLevels, 'a log level'),
    format: (value) => value,
  }),
};

export type ConfigKeyName = keyof typeof configKeys;
export type ConfigValue<Name extends ConfigKeyName> = ReturnType<(typeof configKeys)[Name]['fallback']>;
export const configKeyNames = Object.keys(configKeys) as ConfigKeyName[];

export function isConfigKeyName(name: string): name is ConfigKeyName {
  return Object.hasOwn(configKeys, name);
}

/** State directories of the system's services (systemd/), where client verbs also look for a running scheduler. */
export const SERVICE_STATE_DIRS: readonly string[] = ['/var/lib/flopd-scheduler', '/var/lib/flopd'];

function defaultStateDir(environment: Environment): string {
  // systemd gives a list separated by colons; the unit names one folder.
  const granted = environment.STATE_DIRECTORY?.split(':')[0];
  if (granted !== undefined && isAbsolute(granted)) return granted;
  const state = environment.XDG_STATE_HOME;
  // The XDG base directory specification tells to ignore relative paths.
  if (state !== undefined && isAbsolute(state)) return join(state, 'flopd');
  return join(homeFolder(environment), '.local', 'state', 'flopd');
}

function formatUrl(address: Address): string {
  return `http://${formatAddress(address)}`;
}
