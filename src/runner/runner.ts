// The job runner's composition root: the job room in a process of its own, with the rights that starting jobs takes, no
// network, and one agent that speaks to it over a Unix socket. Boot order as the agent's: jobs that outlived the last
// runner are taken up before anybody may ask for anything.
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { bootDaemon, type CountStart } from '../daemon/boot.ts';
import { readBootId } from '../daemon/boot-id.ts';
import { type Host, presentHost } from '../daemon/host.ts';
import type { Lifecycle } from '../daemon/lifecycle.ts';
import { createNotifier } from '../daemon/notify.ts';
import { lockStateFolder, prepareStateFolder } from '../daemon/state-folder.ts';
import { loadNative, nativePaths } from '../native.ts';
import { type CredentialBody, readCredential } from '../protocol/credential.ts';
import { ATTEMPT_HEADER } from '../protocol/file-api.ts';
import { createAgentPort } from './agent-port.ts';
import { createFileConnections, RELAY_URL } from './file-connections.ts';
import { prepareJobRoom } from './job-room.ts';
import { findUser, listenOnSocket } from './listener.ts';
import { readMembership, writeMembership } from './membership.ts';
import { createToldDevices, type GrantRules } from './told-devices.ts';

export interface RunnerOptions {
  /** Folder of package.json; the addon and the shim lie below it. */
  readonly root: string;
  /** The runner's own: no agent can write there. */
  readonly stateDir: string;
  readonly config: Pick<Config, 'jobs' | 'orders' | 'policy' | 'tokenFile' | 'runner'>;
  /** What jobs may use together. */
  readonly capacity: { readonly cpus: number; readonly memoryBytes: number };
  readonly grants: GrantRules;
  readonly clock: Clock;
  readonly log: Log;
  readonly host?: Host;
}

export interface Runner {
  readonly nodeId: string;
  /** Where it listens. */
  readonly socket: string;
  /** Stops in reverse order, each part with a deadline. Running jobs go on. */
  close(): Promise<void>;
}

/** Starts the runner; resolves when it listens. Rejects with a Fault, and then nothing is left running. */
export function startRunner(options: RunnerOptions): Promise<Runner> {
  return bootDaemon(options, (lifecycle, count) => build(options, lifecycle, count));
}

async function build(options: RunnerOptions, lifecycle: Lifecycle, count: CountStart): Promise<Runner> {
  const { root, stateDir, config, clock, log } = options;
  const { procRoot, sysRoot, environment, onCrash } = options.host ?? presentHost();

  const folder = prepareStateFolder(stateDir, 'runner');
  const paths = nativePaths(root);
  const { native, problem } = loadNative(paths.addon);
  if (problem !== null) log.warn({}, problem);
  if (native !== null) lifecycle.onStop('lock', lockStateFolder(folder, native, 'runner'));
  let membership = readMembership(folder);
  const { nodeId, schedulerId } = membership;
  const credential = (): CredentialBody | null =>
    membership.signedCredential === null ? null : readCredential(membership.signedCredential);
  const user = config.runner.user === null ? null : findUser(config.runner.user);

  const starts = count(folder, onCrash);
  const jobLog = log.child({ room: 'job' });
  const prepared = prepareJobRoom({
    folder,
    stateDir,
    config,
    native,
    paths,
    procRoot,
    sysRoot,
    environment,
    clock,
    log: jobLog,
  });

  const bootId = readBootId(procRoot);
  const devices = createToldDevices(options.grants);
  const files = createFileConnections((ticket) => port.askFiles(ticket), clock);
  const port = createAgentPort({
    identity: { nodeId, schedulerId, bootId },
    devices,
    safeMode: starts.safeMode,
    files: files.give,
    clock,
    log: log.child({ room: 'runner' }),
  });
  const jobs = await prepared.open({
    nodeId,
    schedulerId: () => schedulerId,
    trustsFirst: false,
    credential: () => membership.signedCredential,
    keepCredential(signedCredential, told) {
      const known = credential();
      if (told.serial <= (known?.serial ?? 0)) return;
      if (known !== null && known.publicKey !== told.publicKey) return;
      membership = { ...membership, signedCredential };
      writeMembership(folder, membership);
      log.info({ serial: told.serial }, 'the scheduler has signed anew what this node is');
    },
    bootId,
    capacity: options.capacity,
    devices,
    safeMode: starts.safeMode,
    access: (jobId, epoch) => ({
      url: RELAY_URL,
      dialer: files.way,
      headers: () => ({ [ATTEMPT_HEADER]: `${jobId}.${epoch}` }),
    }),
    energy: port.energy,
    events: port.events,
  });
  lifecycle.onStop('jobs', () => jobs.close());

  port.open(jobs);
  const socket = config.runner.socket ?? join(stateDir, 'runner.sock');
  const listener = await listenOnSocket({
    path: socket,
    user,
    native,
    connected: port.connected,
    monotonicMs: () => clock.monotonicMs(),
    log: log.child({ room: 'runner' }),
  });
  lifecycle.onStop('socket', () => {
    port.close();
    return listener.close();
  });

  const notifier = createNotifier({
    native,
    environment,
    pid: process.pid,
    stuck: () => null,
    status() {
      const runningCount = jobs.runningCount();
      const agent = port.hasAgent() ? 'the agent is here' : 'no agent';
      return `${starts.safeMode() ?? agent}; ${runningCount === 1 ? '1 job runs' : `${runningCount} jobs run`}`;
    },
    clock,
    log,
  });
  lifecycle.onStop('notifier', () => notifier.stopping());
  notifier.ready();
  starts.ready(() => port.changed('safe mode is over'));

  return { nodeId, socket, close: () => lifecycle.stop() };
}
