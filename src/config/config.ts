// The configuration: read once at start, checked completely, then trusted. Per key: flag > FLOPD_* variable > file >
// default. Every mistake becomes one Fault (CONFIG_*) that names the key, where the value came from, what is wrong
// and the remedy; bin/ turns those codes into exit code 2.
import { dirname, resolve } from 'node:path';
import { Fault } from '../base/fault.ts';
import type { DataClass } from '../protocol/jurisdiction.ts';
import type { Place } from '../protocol/place.ts';
import { type FileEntry, findFile, readConfigFile } from './file.ts';
import type { LimitMode, PullPolicy, SandboxMode, SeccompMode, UserMode, UserRange } from './jobs.ts';
import {
  type ConfigKeyName,
  type ConfigValue,
  configKeyNames,
  configKeys,
  type Environment,
  isConfigKeyName,
  type ParseContext,
} from './keys.ts';
import { nearestWord } from './nearest.ts';
import type { ChannelBinding, SignatureMode } from './order-keys.ts';
import type { PeakFlops } from './peak-flops.ts';
import type { OwnCorridors } from './policy-keys.ts';
import type { TlsMode } from './tls-keys.ts';
import { type Address, type DeviceBackend, type LogLevel, ValueProblem } from './value.ts';

/** Where a value came from: `flag --listen`, `environment FLOPD_LISTEN`, `file /etc/flopd/flopd.yaml:3:9`, `default`. */
export interface Source {
  readonly kind: 'flag' | 'environment' | 'file' | 'default';
  /** The flag, the variable or the place; empty for a default. */
  readonly place: string;
}

export interface Config {
  readonly stateDir: string;
  readonly listen: Address;
  readonly metricsListen: Address;
  /** Base URL, or null where none is named. */
  readonly scheduler: string | null;
  readonly tokenFile: string | null;
  /** Authorities of the scheduler (PEM), or null. */
  readonly caFile: string | null;
  readonly readyFile: string | null;
  readonly node: {
    readonly name: string | null;
    readonly cpus: number | null;
    readonly memoryBytes: number | null;
    /** Peaks that the operator states, by name or id of a device in lower case. */
    readonly peakFlops: PeakFlops;
  };
  readonly telemetry: { readonly periodMs: number; readonly windowMs: number };
  /** Accelerators to make up, as written; null for those of the host. */
  readonly simulate: string | null;
  readonly devices: {
    readonly backend: DeviceBackend;
    readonly toolPeriodMs: number;
    readonly retestMs: number;
    /** Null: kernel messages are not read. */
    readonly kernelLog: string | null;
  };
  /** The scheduler's store of files. */
  readonly files: { readonly quotaBytes: number; readonly keepMs: number };
  /** What the node lets itself be ordered, and by whom. */
  readonly orders: { readonly signatures: SignatureMode; readonly submitters: string | null };
  /** Oldest version of the protocol that is spoken. */
  readonly protocol: { readonly least: number; readonly channelBinding: ChannelBinding };
  /** What holds for every job of the node (job/containment/). */
  readonly jobs: {
    readonly sandbox: SandboxMode;
    readonly seccomp: SeccompMode;
    readonly limits: LimitMode;
    readonly user: UserMode;
    readonly userRange: UserRange;
    readonly processes: number;
    readonly readPaths: readonly string[];
    readonly writePaths: readonly string[];
    readonly outputQuotaBytes: number;
    readonly cacheBytes: number;
    /** `auto`, `podman`, `docker`, `none`, or the absolute path of a client. */
    readonly containerRuntime: string;
    readonly pull: PullPolicy;
    /** `public`, and `HOST[:PORT][/PATH]`. */
    readonly registries: readonly string[];
    readonly pullTimeoutMs: number;
  };
  /** The job runner (runner/): its socket, or null where the agent runs jobs itself; its agent's user. */
  readonly runner: { readonly socket: string | null; readonly user: string | null };
  /** Where the scheduler stands. */
  readonly place: Place;
  /** What data the node takes, and the operator's corridors. */
  readonly policy: { readonly classes: readonly DataClass[]; readonly corridors: OwnCorridors };
  /** The scheduler's TLS (scheduler/tls/). */
  readonly tls: {
    readonly mode: TlsMode;
    readonly certFile: string | null;
    readonly keyFile: string | null;
    readonly names: readonly string[];
    readonly lifetimeMs: number;
    readonly overlapMs: number;
  };
  /** How long, and how much, of the output of jobs the scheduler keeps. */
  readonly output: { readonly keepMs: number; readonly quotaBytes: number | null };
  /** How long, and how much, of its audit log the scheduler keeps. */
  readonly audit: { readonly keepMs: number; readonly quotaBytes: number };
  /** How long, and how many, ended jobs the scheduler keeps. */
  readonly history: { readonly keepMs: number; readonly jobs: number };
  readonly log: { readonly level: LogLevel };
  /** The file that was read, or null. */
  readonly file: string | null;
  readonly sources: Readonly<Record<ConfigKeyName, Source>>;
}

export interface ConfigInput {
  /** Values of flags by key, as typed; undefined where not given. */
  readonly flags: Readonly<Partial<Record<ConfigKeyName, string | undefined>>>;
  readonly environment: Environment;
  /** The file named by --config; FLOPD_CONFIG and the search are looked at without it. */
  readonly file?: string | undefined;
  /** Folder that relative paths of flags and variables start from. */
  readonly folder: string;
}

export async function loadConfig({ flags, environment, file, folder }: ConfigInput): Promise<Config> {
  const named = file ?? nonEmpty(environment.FLOPD_CONFIG);
  const path = named === undefined ? findFile(environment) : resolve(folder, named);
  const entries = path === null ? new Map<ConfigKeyName, FileEntry>() : checkKeys(await readConfigFile(path));
  const sources: Partial<Record<ConfigKeyName, Source>> = {};

  function take<Name extends ConfigKeyName>(name: Name): ConfigValue<Name> {
    const entry = configKeys[name];
    const context: ParseContext = { folder, environment };
    // The file is checked even where a flag wins, so that a mistake does not lie in wait.
    const inFile = entries.get(name);
    const fromFile =
      inFile === undefined || path === null
        ? undefined
        : parseAs(name, inFile.value, inFile.place, { folder: dirname(path), environment });
    const flag = flags[name];
    const variable = nonEmpty(environment[entry.variable]);
    let value: unknown;
    if (flag !== undefined) {
      value = parseAs(name, flag, entry.flag, context);
      sources[name] = { kind: 'flag', place: entry.flag };
    } else if (variable !== undefined) {
      value = parseAs(name, variable, entry.variable, context);
      sources[name] = { kind: 'environment', place: entry.variable };
    } else if (inFile !== undefined) {
      value = fromFile;
      sources[name] = { kind: 'file', place: inFile.place };
    } else {
      value = entry.fallback(environment);
      sources[name] = { kind: 'default', place: '' };
    }
    return value as ConfigValue<Name>;
  }

  const config = {
    stateDir: take('stateDir'),
    listen: take('listen'),
    metricsListen: take('metricsListen'),
    scheduler: take('scheduler'),
    tokenFile: take('tokenFile'),
    caFile: take('caFile'),
    readyFile: take('readyFile'),
    node: {
      name: take('node.name'),
      cpus: take('node.cpus'),
      memoryBytes: take('node.memoryBytes'),
      peakFlops: take('node.peakFlops'),
    },
    telemetry: { periodMs: take('telemetry.periodMs'), windowMs: take('telemetry.windowMs') },
    simulate: take('simulate'),
    devices: {
      backend: take('devices.backend'),
      toolPeriodMs: take('devices.toolPeriodMs'),
      retestMs: take('devices.retestMs'),
      kernelLog: take('devices.kernelLog'),
    },
    files: { quotaBytes: take('files.quotaBytes'), keepMs: take('files.keepMs') },
    orders: { signatures: take('orders.signatures'), submitters: take('orders.submitters') },
    protocol: { least: take('protocol.least'), channelBinding: take('protocol.channelBinding') },
    jobs: {
      sandbox: take('jobs.sandbox'),
      seccomp: take('jobs.seccomp'),
      limits: take('jobs.limits'),
      user: take('jobs.user'),
      userRange: take('jobs.userRange'),
      processes: take('jobs.processes'),
      readPaths: take('jobs.readPaths'),
      writePaths: take('jobs.writePaths'),
      outputQuotaBytes: take('jobs.outputQuotaBytes'),
      cacheBytes: take('jobs.cacheBytes'),
      containerRuntime: take('jobs.containerRuntime'),
      pull: take('jobs.pull'),
      registries: take('jobs.registries'),
      pullTimeoutMs: take('jobs.pullTimeoutMs'),
    },
    place: {
      jurisdiction: take('place.jurisdiction'),
      hub: take('place.hub'),
      cluster: take('place.cluster'),
      city: take('place.city'),
    },
    policy: { classes: take('policy.classes'), corridors: take('policy.corridors') },
    tls: {
      mode: take('tls.mode'),
      certFile: take('tls.certFile'),
      keyFile: take('tls.keyFile'),
      names: take('tls.names'),
      lifetimeMs: take('tls.lifetimeMs'),
      overlapMs: take('tls.overlapMs'),
    },
    runner: { socket: take('runner.socket'), user: take('runner.user') },
    output: { keepMs: take('output.keepMs'), quotaBytes: take('output.quotaBytes') },
    audit: { keepMs: take('audit.keepMs'), quotaBytes: take('audit.quotaBytes') },
    history: { keepMs: take('history.keepMs'), jobs: take('history.jobs') },
    log: { level: take('log.level') },
    file: path,
    // Complete: `take` has been called for every key.
    sources: sources as Record<ConfigKeyName, Source>,
  };
  checkTogether(config);
  return config;
}

/** The value of a key by its dotted name. */
export function configValue(config: Config, name: ConfigKeyName): string {
  const [section, leaf] = name.split('.');
  const outer = (config as unknown as Record<string, unknown>)[section ?? ''];
  const value = leaf === undefined ? outer : (outer as Record<string, unknown>)[leaf];
  return (configKeys[name].format as (value: unknown) => string)(value);
}

function parseAs(name: ConfigKeyName, value: unknown, place: string, context: ParseContext): unknown {
  try {
    return configKeys[name].parse(value, context);
  } catch (error) {
    if (!(error instanceof ValueProblem)) throw error;
    throw new Fault('CONFIG_VALUE_INVALID', `${shown(value)} (from ${place}) is ${error.message}`, {
      field: name,
      remedy: error.remedy,
    });
  }
}

/** Refuses unknown and doubled keys; gives the known ones. */
function checkKeys(found: readonly FileEntry[]): Map<ConfigKeyName, FileEntry> {
  const entries = new Map<ConfigKeyName, FileEntry>();
  const sections = new Set(
    configKeyNames.filter((name) => name.includes('.')).map((name) => name.split('.')[0] ?? ''),
  );
  for (const entry of found) {
    if (isConfigKeyName(entry.path)) entries.set(entry.path, entry);
    else if (sections.has(entry.path)) checkSection(entry);
    else throw unknownKey(entry, [...configKeyNames, ...sections]);
  }
  return entries;
}

function checkSection(entry: FileEntry): void {
  // `node:` with nothing below it is a section whose lines are all commented out.
  if (entry.value === null || (typeof entry.value === 'object' && !Array.isArray(entry.value))) return;
  throw new Fault(
    'CONFIG_VALUE_INVALID',
    `${shown(entry.value)} (from ${entry.place}) stands where a section is expected`,
    {
      field: entry.path,
      remedy: `write its keys indented below "${entry.path}:"`,
    },
  );
}

function unknownKey(entry: FileEntry, known: readonly string[]): Fault {
  const leaf = entry.path.split('.').at(-1) ?? entry.path;
  const near =
    nearestWord(entry.path, known) ??
    known.find((name) => name.split('.').at(-1)?.toLowerCase() === leaf.toLowerCase()) ??
    null;
  return new Fault('CONFIG_KEY_UNKNOWN', `unknown key (at ${entry.keyPlace})`, {
    field: printable(entry.path),
    remedy:
      near === null
        ? `known keys: ${configKeyNames.join(', ')}`
        : `did you mean "${near}"? "flopd config init --print" shows all keys`,
  });
}

function checkTogether(config: Config): void {
  const { periodMs, windowMs } = config.telemetry;
  if (windowMs >= periodMs) return;
  const place = config.sources['telemetry.windowMs'].place || 'default';
  throw new Fault(
    'CONFIG_VALUE_INVALID',
    `${windowMs}ms (from ${place}) is shorter than telemetry.periodMs (${periodMs}ms)`,
    {
      field: 'telemetry.windowMs',
      remedy: 'make the window at least as long as the period',
    },
  );
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  const json = JSON.stringify(value) ?? String(value);
  return printable(json.length > 80 ? `${json.slice(0, 77)}…` : json);
}

function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** An empty variable counts as unset, as shells leave them behind. */
function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
