// The container executor: podman or docker by their command lines, under the same shim as a process job. What the shim
// runs is `podman run …` in the foreground; output, quota, time limit, lease, end record and finding it again are the
// process executor's. Here: get the image, write the order for the first process in the container, say which command
// the shim runs and which come after, and tell from its traces how the program ended.
//
//   preparing -> handed on   the image is here: everything further comes from the inner executor
//             -> ended       the image cannot be had, or somebody stopped it: the attempt is claimed, so that no
//                            later agent starts it
//
// INVARIANT: the name of a container is that of its attempt, so that even the runtime refuses a second one.
import { chmodSync, existsSync, lchownSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { type Clock, every, type Timer } from '../../base/clock.ts';
import { describeError, errnoOf } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import { findCdiDevices } from './container-cdi.ts';
import { type ContainerClient, createContainerClient, type FoundClient } from './container-client.ts';
import {
  afterCommands,
  besideArguments,
  type ContainerPlan,
  containerArguments,
  containerName,
  label,
} from './container-command.ts';
import { type ContainerDevices, planDevices } from './container-devices.ts';
import { type AttemptName, createContainerEnds } from './container-ends.ts';
import { environmentOf } from './container-environment.ts';
import { createImages, type Image, type ImageRequest, type PullPolicy } from './container-image.ts';
import { containedName, hasRun, writeLacks, writeOrder } from './container-order.ts';
import type { RegistryRules } from './container-registry.ts';
import { removeStrayContainers } from './container-stray.ts';
import { containerWalls } from './container-walls.ts';
import {
  type Execution,
  type ExecutionEvents,
  type Executor,
  jobFile,
  noContainment,
  type ProcessEnd,
  type RecoverRequest,
  type StartRequest,
  unknownEnd,
} from './executor.ts';
import { claimNeverStarted, readEnd, shimFile } from './shim-files.ts';

/** How often it is looked whether a program runs by now; only while there are some that do not. */
const LOOK_EVERY_MS = 50;

export interface ContainerExecutorOptions {
  /** Runs the client of the runtime under a shim: the process executor. Closed by its owner. */
  readonly inner: Executor;
  /** The first process of a container: a static executable. */
  readonly containedPath: string;
  readonly nodeId: string;
  readonly bootId: string;
  /** `auto`, `podman`, `docker`, `none`, or the absolute path of a client. */
  readonly runtime: string;
  readonly pull: PullPolicy;
  readonly registryRules: RegistryRules;
  /** Processes that a job may have which asks for no number. */
  readonly processes: number;
  readonly pullTimeoutMs: number;
  /** The agent's own; jobs get nothing of it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where device specifications of the CDI lie; tests give others. */
  readonly cdiFolders?: readonly string[];
  /** The answer of `probe` has changed. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export function createContainerExecutor(options: ContainerExecutorOptions): Executor {
  const { inner, containedPath, nodeId, clock, log } = options;
  const client: ContainerClient = createContainerClient({ ...options, choice: options.runtime, onChange });
  const images = createImages({ ...options, client });
  const ends = createContainerEnds({ client, nodeId, clock });
  /** Attempts whose program is not seen to run, by what to do then. */
  const starting = new Map<string, () => void>();
  let watch: Timer | null = null;
  let tidied = false;

  function onChange(): void {
    if (client.problem() === null && !tidied) {
      tidied = true;
      void removeStrayContainers({ client, nodeId, bootId: options.bootId, log });
    }
    options.onChange();
  }

  function look(): void {
    for (const [folder, tell] of [...starting]) if (sees(folder)) tell();
    if (starting.size > 0) return;
    watch?.cancel();
    watch = null;
  }

  /** Events of the inner executor as those of the job: a start is told when the program itself runs. */
  function eventsFor(attempt: AttemptName, events: ExecutionEvents): ExecutionEvents {
    const { folder } = attempt;
    let start: (() => void) | null = null;
    const tellStart = (): void => {
      starting.delete(folder);
      start?.();
      start = null;
    };
    return {
      started(pid, startedAtMs) {
        start = () => events.started(pid, startedAtMs);
        if (sees(folder)) {
          tellStart();
          return;
        }
        starting.set(folder, tellStart);
        watch ??= every(clock, LOOK_EVERY_MS, look);
      },
      output(stdoutBytes, stderrBytes) {
        if (start !== null && sees(folder)) tellStart();
        events.output(stdoutBytes, stderrBytes);
      },
      ended(end) {
        ends.correct(attempt, end, (corrected) => {
          if (corrected.kind !== 'failedToStart' && start !== null && sees(folder)) tellStart();
          starting.delete(folder);
          events.ended(corrected);
        });
      },
    };
  }

  /** The order for the shim, and the one for the first process of the container. Throws the system's error. */
  function translate(
    request: StartRequest,
    image: Image,
    access: ContainerDevices,
    { runtime, path, lacks }: FoundClient,
  ): StartRequest {
    const { jobId, epoch, spec, folder, containment } = request;
    const { user } = containment;
    writeOrder(folder, containedPath, {
      workingDirectory: request.workingDirectory,
      user,
      command: spec.command,
      environment: environmentOf(request, image, access.dropped),
    });
    const meter = join(folder, jobFile.meter);
    if (!existsSync(meter)) writeFileSync(meter, '', { mode: 0o600 });
    const workspace = join(folder, jobFile.workspace);
    chmodSync(workspace, 0o700);
    if (user !== null) for (const own of [workspace, meter]) lchownSync(own, user.uid, user.gid);
    const name = containerName(nodeId, jobId, epoch);
    const { cpus, memoryBytes, processes } = spec.resources;
    const plan: ContainerPlan = {
      name,
      imageId: image.id,
      labels: {
        [label.node]: nodeId,
        [label.job]: jobId,
        [label.epoch]: String(epoch),
        [label.folder]: folder,
        [label.boot]: request.bootId,
      },
      containedFolder: join(folder, containedName),
      writable: [workspace, meter],
      network: spec.network,
      cpus: Math.min(cpus, availableParallelism()),
      memoryBytes,
      processes: processes ?? options.processes,
      // As in the sandbox of a process job; what lies there counts as the job's memory.
      sharedMemoryBytes: Math.floor((memoryBytes ?? totalmem()) / 2),
      devices: access.devices,
      environment: access.runtimeEnvironment,
      rlimits: containment.rlimits,
      changesUser: user !== null,
      lacks,
    };
    writeLacks(folder, lacks);
    const environment: Record<string, string> = { ...client.environment };
    // By these the shim knows the job's processes after the death of an earlier one.
    for (const key of ['FLOPD_JOB_ID', 'FLOPD_EPOCH', 'FLOPD_NODE_ID']) {
      const value = request.environment[key];
      if (value !== undefined) environment[key] = value;
    }
    return {
      ...request,
      spec: { ...spec, command: [path, ...containerArguments(runtime, plan)] },
      environment,
      workingDirectory: folder,
      deviceNodes: [],
      containment: noContainment,
      after: afterCommands(runtime, path, name, client.environment),
      client: {
        beside: [path, ...besideArguments(name, false)],
        besideTerminal: [path, ...besideArguments(name, true)],
      },
    };
  }

  /** Gets the image, then hands the attempt on. */
  function prepare(
    request: StartRequest,
    events: ExecutionEvents,
    handOn: (translated: StartRequest) => Execution,
    orElse: (() => Execution) | null,
  ): Execution {
    let execution: Execution | null = null;
    let state: 'preparing' | 'handedOn' | 'over' = 'preparing';
    let stopGraceMs: number | null = null;
    // Images take their time, and a lease goes on meanwhile.
    let leaseOverMs = request.leaseMs === null ? null : clock.monotonicMs() + request.leaseMs;
    const wanted: ImageRequest = images.obtain(request.spec.image ?? '', (text) => {
      if (state === 'preparing') events.progress?.(text);
    });

    /** Ends it for good, unless it has begun after all. */
    function refuse(failedStep: string, detail: string | null): void {
      if (state !== 'preparing') return;
      if (claimNeverStarted(request.folder) || orElse === null) {
        state = 'over';
        const failed = { kind: 'failedToStart', failedStep, detail, endedAtMs: clock.wallMs() } as const;
        events.ended({ ...unknownEnd, ...failed } satisfies ProcessEnd);
      } else passOn(orElse());
    }

    function passOn(to: Execution): void {
      state = 'handedOn';
      execution = to;
      if (stopGraceMs !== null) to.stop(stopGraceMs);
    }

    async function go(): Promise<void> {
      const answer = await wanted.answer;
      const image = answer !== null && 'image' in answer ? answer.image : null;
      const described = image === null ? new Set<string>() : await findCdiDevices(options.cdiFolders);
      if (state !== 'preparing') return;
      const found = client.found();
      if (answer === null) refuse('claim', null);
      else if ('problem' in answer) refuse('image', answer.problem);
      else if (found === null) refuse('container', client.problem());
      else handOver(answer.image, described, found);
    }

    function handOver(image: Image, described: ReadonlySet<string>, found: FoundClient): void {
      const access = planDevices(request, image, described, existsSync);
      if (access.problem !== null) refuse('container', access.problem);
      else if (request.folder.includes(':'))
        refuse(
          'container',
          `its folder has a colon in its path, which no runtime can mount: ${request.folder}`,
        );
      else if (leaseOverMs !== null && leaseOverMs <= clock.monotonicMs()) refuse('lease', null);
      else {
        const leaseMs = leaseOverMs === null ? null : Math.ceil(leaseOverMs - clock.monotonicMs());
        passOn(handOn(translate({ ...request, leaseMs }, image, access, found)));
      }
    }

    go().catch((error: unknown) => {
      if (errnoOf(error) === null) log.error({ err: error }, 'a container job cannot be prepared');
      refuse('container', describeError(error));
    });
    return {
      stop(graceMs) {
        stopGraceMs = graceMs;
        if (state === 'preparing') wanted.cancel();
        else execution?.stop(graceMs);
      },
      renew(leaseMs) {
        if (execution === null) leaseOverMs = clock.monotonicMs() + leaseMs;
        else execution.renew(leaseMs);
      },
      /** None before there is something to run beside. */
      get enter() {
        return execution?.enter;
      },
      detach() {
        if (state === 'preparing') {
          state = 'over';
          wanted.cancel();
        }
        execution?.detach();
      },
    };
  }

  function recover(request: RecoverRequest, events: ExecutionEvents): Execution {
    const { start, folder } = request;
    const wrapped = eventsFor(request, events);
    // A shim must find an order even where it will only say that nothing ever ran; this one could do no harm.
    const empty = start === null ? null : { ...start, spec: { ...start.spec, command: ['false'] } };
    const asItIs = (): Execution => inner.recover({ ...request, start: empty }, wrapped);
    const isOtherBoot = request.acceptedBootId !== null && request.acceptedBootId !== request.bootId;
    // Whoever has made the record of the start owns the attempt, complete or not.
    const isTaken = existsSync(join(folder, shimFile.started)) || readEnd(folder) !== null;
    if (start === null || isOtherBoot || isTaken) return asItIs();
    return prepare(
      start,
      events,
      (translated) => inner.recover({ ...request, start: translated }, wrapped),
      asItIs,
    );
  }

  return {
    name: 'container',

    probed: () => client.looked(),

    knows: (folder) => existsSync(join(folder, containedName)),

    contain: (decided, job) => containerWalls(decided, job),

    probe() {
      if (!existsSync(containedPath))
        return `the first process of containers is missing (${containedPath}); install g++ and run "npm run build"`;
      return client.problem() ?? inner.probe();
    },

    start(request, events) {
      const wrapped = eventsFor(request, events);
      return prepare(request, events, (translated) => inner.start(translated, wrapped), null);
    },

    recover,

    close() {
      watch?.cancel();
      watch = null;
      starting.clear();
      ends.close();
      client.close();
    },
  };
}

/** An unreadable folder shows at the next step. */
function sees(folder: string): boolean {
  try {
    return hasRun(folder);
  } catch (error) {
    if (errnoOf(error) === null) throw error;
    return false;
  }
}
