// The scheduler's composition root: builds every part, in boot order, and closes them in the reverse.
//
//   state directory -> secrets -> queue -> placement, fleet -> output -> dispatcher -> gateway, API -> listen
import { setMaxListeners } from 'node:events';
import { chmodSync, readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { RetentionLimits } from '../audit/retention.ts';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { type Clock, every } from '../base/clock.ts';
import { describeError, errnoOf, Fault, isFault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import { createId } from '../base/id.ts';
import type { Log } from '../base/log.ts';
import { isLoopbackName } from '../base/loopback.ts';
import { createRefusalLog } from '../base/refusal-log.ts';
import { openFileStore } from '../files/store.ts';
import { nowhere } from '../protocol/place.ts';
import { openAccess } from './access/access.ts';
import { withAccounts } from './access/accounts.ts';
import { createAttempts } from './access/attempts.ts';
import { openLocalKey } from './access/local-key.ts';
import { createApi } from './api.ts';
import { openSchedulerAudit } from './audit-log.ts';
import { createCore } from './core.ts';
import type { DataRulesOptions } from './data-rules.ts';
import type { SchedulerHit } from './fault-points.ts';
import { defaultFileLimits, type FileLimits, fileRoots } from './file-limits.ts';
import { createFileRoutes } from './file-routes.ts';
import { createFileTickets } from './file-tickets.ts';
import { createHttpServer } from './http.ts';
import { createJobRetention, type JobLimits } from './job-retention.ts';
import { MAX_FOLLOWERS } from './job-routes.ts';
import { createJoinTokens } from './join-tokens.ts';
import { openKeyFolder } from './key-folder.ts';
import { createSchedulerMetrics } from './metrics.ts';
import { createOutputRetention } from './output-retention.ts';
import { createOwnNames, EVERYWHERE } from './own-names.ts';
import { createProgressBoard } from './progress.ts';
import { type EmbeddedQueueOptions, openEmbeddedQueue } from './queue/embedded.ts';
import { openRevocations } from './revocations.ts';
import { schedulerKeyOf } from './scheduler-key.ts';
import { openSecret } from './secrets.ts';
import { createSubmissionCheck } from './submission-check.ts';
import { defaultTls, openTls, requireTls, type Tls, type TlsOptions } from './tls/tls.ts';

/** Requests under way have this long to finish when the scheduler stops. */
const CLOSE_DEADLINE_MS = 500;
const FILE_SWEEP_MS = 3600_000;

export interface SchedulerOptions {
  readonly stateDir: string;
  /** Beyond loopback only with TLS. Port 0 picks a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls?: TlsOptions;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  /** Folder with the dashboard's page, or null to serve none. */
  readonly dashboardFolder: string | null;
  /** How much of the disk the store of files may take, and how long it keeps what nobody refers to. */
  readonly files?: FileLimits;
  /** How long the output of a job is kept after its end, and how much of all jobs; without it, for ever. */
  readonly retention?: { readonly keepMs: number; readonly quotaBytes: number | null };
  /** How long ended jobs are kept, and how many of them; without it, for ever. */
  readonly history?: JobLimits;
  /** Where it stands, and between which places personal data may cross a border (data-rules.ts). */
  readonly policy?: Pick<DataRulesOptions, 'place' | 'corridors'>;
  /** Script of the thread that writes the job store; without it, each commit blocks this thread for a moment. */
  readonly writerScript?: URL | null;
  /** Script of the process that writes certificates; without it, the library for it stays in this one. */
  readonly issuerScript?: URL | null;
  /** Oldest protocol version that agents may speak; without it, all that this build knows. */
  readonly leastVersion?: number;
  /** `off`: also nodes whose proof names no TLS connection, since something in between ends it; without it, `required`. */
  readonly channelBinding?: 'required' | 'off';
  /** Uniform in [0, 1); spreads retries. */
  readonly random?: () => number;
  /** Makes the writer of the job store in its place. */
  readonly startWriter?: EmbeddedQueueOptions['startWriter'];
  readonly hit?: SchedulerHit;
  /** How long the audit log is kept, and how much of it; without it, for ever. */
  readonly auditLimits?: RetentionLimits;
}

export interface Scheduler {
  /** By which programs of this machine reach it. */
  readonly url: string;
  /** By which other hosts do; null for one that listens on loopback. */
  readonly urlElsewhere: string | null;
  readonly schedulerId: string;
  /** File with the token that clients need. */
  readonly tokenFile: string;
  /** File with the token that a new node needs. */
  readonly joinTokenFile: string;
  /** Pin of the private authority (base/authority-pin.ts), for tokens that are used elsewhere; null without one. */
  authorityPin(): string | null;
  close(): Promise<void>;
}

/** Starts it; resolves when it answers. Throws a Fault with the field to change for what a user can mend. */
export async function startScheduler(options: SchedulerOptions): Promise<Scheduler> {
  const { listen, clock, log, version } = options;
  const tlsOptions = options.tls ?? defaultTls;
  requireTls(tlsOptions, listen.host);
  const folder = join(options.stateDir, 'scheduler');
  const files = openState(options.stateDir, folder, clock, log);
  const { schedulerId, key, token, joinToken, revocations } = files;
  const ownNames = createOwnNames({ listenHost: listen.host, names: tlsOptions.names, clock });
  const issuerScript = options.issuerScript ?? null;
  const metrics = createSchedulerMetrics(version);
  /** Set below: the dispatcher is built on the queue. */
  let place: () => void = () => {};
  const audit = openSchedulerAudit({ ...options, folder, owner: files.schedulerId });
  const store = await openEmbeddedQueue({
    path: join(folder, 'store.db'),
    clock,
    log,
    writerScript: options.writerScript ?? null,
    committed: metrics.committed,
    resumed: () => place(),
    ...(options.startWriter === undefined ? {} : { startWriter: options.startWriter }),
  });
  const { queue: watched, record } = audit.watch(store);
  const accounts = { path: join(folder, 'accounts.jsonl'), queue: watched, clock, log };
  const queue = await withAccounts(accounts).catch(async (error: unknown) => {
    await watched.close();
    await audit.close();
    throw error;
  });
  const tlsParts = { listenHost: listen.host, folder, schedulerId, ownNames, issuerScript, clock, log };
  const nodes = () => queue.nodes().length;
  const tls = await openTls(tlsOptions, { ...tlsParts, nodes }).catch(async (error: unknown) => {
    await queue.close();
    await audit.close();
    throw error;
  });
  if (options.channelBinding === 'off')
    log.warn({}, 'nodes may prove who they are for any connection (protocol.channelBinding: off)');
  const progress = createProgressBoard();
  const tickets = createFileTickets();
  const refusals = createRefusalLog(log, clock);
  const access = openAccess({
    schedulerId,
    queue,
    localToken: token,
    localKey: files.localKey,
    clock,
    refusals,
    audit: record,
  });
  const core = createCore({
    schedulerId,
    revocations,
    ownNames,
    queue,
    outputFolder: join(folder, 'output'),
    refusals,
    access,
    clock,
    log,
    key,
    random: options.random ?? Math.random,
    received: metrics.received,
    progress,
    tickets,
    audit: record,
    auditHead: audit.signedHead,
    ...(options.policy === undefined ? {} : { policy: options.policy }),
    authorities: () => tls?.authorities() ?? [],
    leastVersion: options.leastVersion ?? 1,
    takesUnbound: options.channelBinding === 'off',
    ...(options.hit === undefined ? {} : { hit: options.hit }),
  });
  const { placement, fleet, watchers, output, dispatcher, drains, execs, removals, leases, gateway } = core;
  place = dispatcher.place;
  metrics.watch(queue, fleet, audit.figures);
  metrics.certificate(() => tls?.expiresAtMs() ?? null);
  tls?.onAuthorities((by) => {
    gateway.authoritiesChanged();
    const { phase = null, signs = null } = tls.authority?.succession() ?? {};
    record('authority.rotated', { by, phase, signs });
  });
  const retention =
    options.retention === undefined
      ? null
      : createOutputRetention({ ...options.retention, output, queue, clock, log });
  const history =
    options.history === undefined
      ? null
      : createJobRetention({
          // Whoever keeps output for longer keeps whose it is.
          keepMs: Math.max(options.history.keepMs, options.retention?.keepMs ?? 0),
          jobs: options.history.jobs,
          queue,
          output,
          fleet,
          holds: dispatcher.holds,
          clock,
          log,
          audit: record,
          removed: metrics.removed,
        });
  const limits = options.files ?? defaultFileLimits;
  const fileStore = openFileStore({
    folder: join(folder, 'files'),
    ...limits,
    roots: () => fileRoots(queue, clock.wallMs() - limits.keepMs),
    clock,
    log,
  });
  const fileRoutes = createFileRoutes({ audit: record, store: fileStore, tickets, access, queue });
  const sweeper = every(clock, FILE_SWEEP_MS, () => {
    fileStore
      .sweep()
      .catch((error: unknown) => log.error({ cause: describeError(error) }, 'old files were not removed'));
  });
  const stopping = new AbortController();
  // One listener per follower.
  setMaxListeners(MAX_FOLLOWERS, stopping.signal);
  /** Set when it listens. */
  let url = '';
  const elsewhere = () => (url === '' ? null : urlElsewhere(url, listen.host, tlsOptions.names));
  const handle = createApi({
    schedulerId,
    version,
    ownNames,
    queue,
    fleet,
    output,
    dispatcher,
    data: core.data,
    progress,
    files: fileRoutes,
    drains,
    removals,
    standings: core.standings,
    clones: core.clones,
    credentials: core.credentials,
    revocations,
    joinTokens: createJoinTokens({ queue, clock, audit: record }),
    enrolAttempts: createAttempts(clock),
    ownPlace: options.policy?.place ?? nowhere,
    joinUrl: elsewhere,
    authorityPin: () => tls?.authorityPin() ?? null,
    audit: record,
    key,
    gateway,
    submissions: createSubmissionCheck({ schedulerId, queue, hasKey: access.users.hasKey, clock }),
    watchers,
    metrics,
    access,
    joinToken,
    tls,
    dashboardFolder: options.dashboardFolder,
    clock,
    log,
    refusals,
    stopped: stopping.signal,
  });
  const server = createHttpServer({
    handle,
    upgrade(request, socket, head) {
      if (!execs.upgrade(request, socket, head)) gateway.upgrade(request, socket, head);
    },
    answered: metrics.answered,
    clock,
    log,
    refusals,
    tls,
  });

  async function closeParts(): Promise<void> {
    sweeper.cancel();
    access.close();
    leases.close();
    core.standings.close();
    await tls?.close();
    await gateway.close();
    await retention?.close();
    await history?.close();
    await output.close();
    await queue.close();
    await audit.close();
  }

  try {
    url = await listenOn(server, listen, tls);
  } catch (error) {
    await closeParts();
    throw error;
  }
  server.on('error', (error) => log.error({ cause: describeError(error) }, 'the HTTP server failed'));
  log.info({ url, schedulerId, waiting: placement.waiting, nodes: queue.nodes().length }, 'scheduler ready');

  let closing: Promise<void> | null = null;
  async function close(): Promise<void> {
    stopping.abort();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    execs.close();
    await gateway.close();
    server.closeIdleConnections();
    const cut = setTimeout(() => server.closeAllConnections(), CLOSE_DEADLINE_MS);
    await closed;
    clearTimeout(cut);
    await closeParts();
    log.info({ schedulerId }, 'scheduler stopped');
  }
  return {
    url,
    urlElsewhere: elsewhere(),
    schedulerId,
    tokenFile: files.tokenFile,
    joinTokenFile: files.joinTokenFile,
    authorityPin: () => tls?.authorityPin() ?? null,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

/** Makes or opens the state directory, the scheduler's name and its secrets. */
function openState(stateDir: string, folder: string, clock: Clock, log: Log) {
  const tokenFile = join(folder, 'token');
  const joinTokenFile = join(folder, 'join-token');
  try {
    makeFolder(join(folder, 'output'));
    for (const one of [folder, join(folder, 'output')]) chmodSync(one, 0o700);
    const schedulerId = openId(join(folder, 'id'));
    return {
      tokenFile,
      joinTokenFile,
      schedulerId,
      key: schedulerKeyOf(openKeyFolder(folder, schedulerId, clock), schedulerId),
      token: openSecret(tokenFile, log),
      localKey: openLocalKey(folder),
      joinToken: openSecret(joinTokenFile, log),
      revocations: openRevocations(join(folder, 'revocations.jsonl'), clock),
    };
  } catch (error) {
    if (isFault(error)) throw error;
    throw new Fault(
      'SCHEDULER_STATE_UNUSABLE',
      `the state directory ${stateDir} cannot be used (${describeError(error)})`,
      {
        field: 'stateDir',
        remedy: 'make it writable for this user, or choose another one with --state-dir',
        cause: error,
      },
    );
  }
}

function openId(path: string): string {
  try {
    const id = readFileSync(path, 'utf8').trim();
    if (/^scheduler-[0-9a-z]{1,32}$/.test(id)) return id;
    throw new Fault('SCHEDULER_ID_DAMAGED', `${path} does not hold a scheduler's id`, {
      field: 'stateDir',
      remedy: 'restore the file; with a new id, nodes that have joined would refuse this scheduler',
    });
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const id = createId('scheduler');
  writeFileAtomic(path, `${id}\n`, 0o600);
  return id;
}

/** Resolves with the URL by which programs of this machine reach it. */
function listenOn(
  server: Server,
  { host, port }: SchedulerOptions['listen'],
  tls: Tls | null,
): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(listenFault(error, host, port)));
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      const { port: open, address } = server.address() as AddressInfo;
      resolve(tls === null ? urlOf('http', address, open) : urlOf('https', tls.hostHere(host), open));
    });
  });
}

function urlOf(scheme: 'http' | 'https', host: string, port: number): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The likeliest of its names: configured, else where it listens, else the machine's own. */
function urlElsewhere(url: string, listenHost: string, names: readonly string[]): string | null {
  if (isLoopbackName(listenHost)) return null;
  const { protocol, port } = new URL(url);
  const host = names[0] ?? (EVERYWHERE.has(listenHost) ? hostname() : listenHost);
  return urlOf(protocol === 'https:' ? 'https' : 'http', host, Number(port));
}

function listenFault(cause: unknown, host: string, port: number): Fault {
  const errno = errnoOf(cause);
  const where = `${host}:${port}`;
  if (errno === 'EADDRINUSE') {
    return new Fault('SCHEDULER_ADDRESS_IN_USE', `${where} is in use by another program`, {
      field: 'listen',
      remedy: 'stop that program, or choose another port with --listen (port 0 picks a free one)',
      cause,
    });
  }
  return new Fault('SCHEDULER_LISTEN_FAILED', `cannot listen on ${where} (${describeError(cause)})`, {
    field: 'listen',
    remedy: 'choose an address of this machine and a port that this user may open',
    cause,
  });
}
