// A host of the simulation: the folders of attempts, and the shims in them (shim.ts). Its executor does what executor/process.ts and the shim do together: the record `started`, which only one
// can create, decides who runs; the record `end` is the last act; an attempt whose shim died is ended and lost.
import { basename } from 'node:path';
import type {
  Execution,
  ExecutionEvents,
  Executor,
  ProcessEnd,
  RecoverRequest,
} from '../../src/job/executor/executor.ts';
import { unknownEnd } from '../../src/job/executor/executor.ts';
import type { JobFolders } from '../../src/job/folders.ts';
import type { History } from '../campaign/history.ts';
import type { Weather } from './disks.ts';
import { outputBytes, planRun } from './plan.ts';
import type { Dice } from './seed.ts';
import { type Attachment, type Attempt, createShims, SHIM_MS } from './shim.ts';
import type { Life, Time } from './time.ts';

export interface Machine {
  readonly node: string;
  executor(life: Life): Executor;
  folders(life: Life): JobFolders;
  /** Kills the shim of some running attempt; false when there is none. */
  killShim(): boolean;
  /** All processes are gone, and the boot id is another. */
  reboot(): void;
  bootId(): string;
  /** What is still there, in words. */
  residue(): readonly string[];
}

export interface MachineParts {
  readonly node: string;
  readonly seed: number;
  readonly time: Time;
  readonly dice: Dice;
  readonly history: History;
  readonly weather: Weather;
  readonly wallMs: () => number;
}

export function createMachine(parts: MachineParts): Machine {
  const { node, time, dice, history } = parts;
  /** By `job.epoch`. */
  const attempts = new Map<string, Attempt>();
  /** Folders, and whether something is in them. */
  const folders = new Map<string, { filled: boolean; workspace: boolean }>();
  let boot = 1;
  const bootId = (): string => `boot-${node}-${boot}`;

  function attemptOf(name: string, jobId: string, epoch: number): Attempt {
    let attempt = attempts.get(name);
    if (attempt === undefined) {
      attempt = {
        jobId,
        epoch,
        request: null,
        run: planRun(parts.seed, 0, 0),
        content: name,
        claimed: 'no',
        shimAlive: false,
        jobAlive: false,
        startedAtMs: 0,
        startedMonotonicMs: 0,
        end: null,
        bytes: { stdout: 0, stderr: 0 },
        attachment: null,
        stopping: false,
        leaseTimer: null,
      };
      attempts.set(name, attempt);
    }
    return attempt;
  }

  const nameOf = ({ jobId, epoch }: Attempt): string => `${jobId}.${epoch}`;
  const isHere = (attempt: Attempt): boolean => attempts.get(nameOf(attempt)) === attempt;
  const { startShim, stopJob, renew, endTree, tell, tellStarted, tellEnd } = createShims({
    ...parts,
    boot: () => boot,
    isHere,
  });

  function fill(name: string): void {
    const folder = folders.get(name);
    if (folder !== undefined) folder.filled = true;
  }

  function executionOf(attempt: Attempt, attachment: Attachment): Execution {
    const word = (fn: () => void): void => {
      if (attachment.life.isAlive() && !attachment.detached)
        time.at(dice.random() * SHIM_MS, () => {
          if (isHere(attempt)) fn();
        });
    };
    /** A shim that has yet to come hears it when it is there. */
    function stop(graceMs: number): void {
      word(() => {
        if (attempt.end !== null || attempt.claimed === 'never') return;
        if (attempt.jobAlive && attempt.shimAlive) stopJob(attempt, graceMs, 'stop');
        else if (attachment.life.isAlive()) time.at(20, () => stop(graceMs));
      });
    }
    return {
      stop,
      renew: (leaseMs) => word(() => renew(attempt, leaseMs)),
      detach() {
        attachment.detached = true;
      },
    };
  }

  function attach(attempt: Attempt, life: Life, events: ExecutionEvents): Attachment {
    const attachment = { life, events, detached: false, toldStarted: false, over: false };
    attempt.attachment = attachment;
    return attachment;
  }

  function nest(attempt: Attempt, life: Life): void {
    time.at(dice.random() * SHIM_MS, () => {
      // The agent may die before its nest has heard of it, or just after.
      if (life.isAlive() || dice.chance(0.5)) startShim(attempt);
    });
  }

  function end(attempt: Attempt, what: Partial<ProcessEnd> & Pick<ProcessEnd, 'kind'>): void {
    attempt.end = { ...unknownEnd, endedAtMs: parts.wallMs(), ...what };
    tellEnd(attempt);
  }

  function recover(attempt: Attempt, request: RecoverRequest, life: Life): void {
    if (!life.isAlive()) return;
    if (attempt.end !== null) {
      tellEnd(attempt);
      return;
    }
    if ((request.acceptedBootId ?? request.bootId) !== request.bootId) {
      end(attempt, {
        kind: 'lost',
        startedAtMs: attempt.claimed === 'job' ? attempt.startedAtMs : null,
        stdoutBytes: attempt.bytes.stdout,
        stderrBytes: attempt.bytes.stderr,
        detail: 'the host was restarted',
      });
      return;
    }
    if (request.start === null && attempt.claimed === 'no') {
      attempt.claimed = 'never';
      end(attempt, { kind: 'failedToStart', failedStep: 'claim' });
      return;
    }
    if (attempt.claimed === 'no') attempt.request = request.start;
    if (attempt.shimAlive) {
      if (attempt.claimed === 'job') tellStarted(attempt);
      tell(attempt, ({ events }) => events.output(attempt.bytes.stdout, attempt.bytes.stderr));
    } else nest(attempt, life);
  }

  return {
    node,
    bootId,

    executor: (life) => ({
      name: 'process',
      probe: () => null,
      start(request, events) {
        const attempt = attemptOf(basename(request.folder), request.jobId, request.epoch);
        const attachment = attach(attempt, life, events);
        if (life.isAlive()) {
          attempt.request = request;
          fill(basename(request.folder));
          nest(attempt, life);
        }
        return executionOf(attempt, attachment);
      },
      recover(request, events) {
        const attempt = attemptOf(basename(request.folder), request.jobId, request.epoch);
        const attachment = attach(attempt, life, events);
        if (life.isAlive()) fill(basename(request.folder));
        queueMicrotask(() => recover(attempt, request, life));
        return executionOf(attempt, attachment);
      },
      close() {},
    }),

    folders: (life) => ({
      open: () => [...folders.keys()],
      problem: () => null,
      look: async () => (parts.weather.state === 'full' ? 'its disk is full' : null),
      make(folder) {
        if (!life.isAlive()) return;
        if (parts.weather.state === 'full')
          throw Object.assign(new Error('ENOSPC: made up'), { code: 'ENOSPC' });
        const name = basename(folder);
        if (folders.has(name)) throw Object.assign(new Error('EEXIST: made up'), { code: 'EEXIST' });
        folders.set(name, { filled: false, workspace: false });
      },
      makeWorkspace(folder, again) {
        if (!life.isAlive()) return;
        const name = basename(folder);
        if (again && !folders.has(name)) folders.set(name, { filled: false, workspace: false });
        const known = folders.get(name);
        if (known !== undefined) known.workspace = true;
      },
      removeIfEmpty(folder) {
        const name = basename(folder);
        if (!life.isAlive() || folders.get(name)?.filled !== false) return false;
        return folders.delete(name);
      },
      async remove(folder) {
        const name = basename(folder);
        await life.later(dice.random() * 20);
        if (!life.isAlive()) return;
        const attempt = attempts.get(name);
        if (attempt?.jobAlive || attempt?.shimAlive)
          history.add(`machine ${node}`, {
            kind: 'residue',
            node,
            what: `the folder of ${name} was removed under it`,
          });
        folders.delete(name);
        attempts.delete(name);
      },
      async readOutput(folder, stream, offset, limit) {
        await life.later(dice.random() * 3);
        const name = basename(folder);
        const attempt = attempts.get(name);
        if (attempt === undefined) return new Uint8Array();
        return outputBytes(
          attempt.content,
          stream,
          offset,
          Math.max(0, Math.min(limit, attempt.bytes[stream] - offset)),
        );
      },
      ownerOf: () => null,
      storedBytes(folder) {
        const bytes = attempts.get(basename(folder))?.bytes;
        return { stdoutBytes: bytes?.stdout ?? 0, stderrBytes: bytes?.stderr ?? 0 };
      },
      readMeter: async () => null,
    }),

    killShim() {
      const running = [...attempts.values()].filter(({ shimAlive }) => shimAlive);
      if (running.length === 0) return false;
      const attempt = dice.pick(running);
      attempt.shimAlive = false;
      attempt.leaseTimer?.cancel();
      const why = 'its shim was killed';
      history.add('world', { kind: 'truthLost', node, jobId: attempt.jobId, epoch: attempt.epoch, why });
      // The kernel ends the job with its shim; a grandchild may live on until it is buried.
      if (dice.chance(0.7)) endTree(attempt);
      const { attachment } = attempt;
      // A connection that closes without `ended`: the agent looks, and starts a shim again.
      if (attachment !== null && !attachment.detached)
        time.at(dice.random() * 20, () => attachment.life.run(() => nest(attempt, attachment.life)));
      return true;
    },

    reboot() {
      history.add('world', {
        kind: 'truthLost',
        node,
        jobId: null,
        epoch: null,
        why: 'the host was restarted',
      });
      for (const attempt of attempts.values()) {
        attempt.shimAlive = false;
        attempt.leaseTimer?.cancel();
        endTree(attempt);
      }
      boot += 1;
    },

    residue() {
      const left: string[] = [];
      for (const [name, { jobAlive, shimAlive }] of attempts)
        if (jobAlive || shimAlive) left.push(`the ${jobAlive ? 'job' : 'shim'} of ${name}`);
      for (const name of folders.keys()) left.push(`the folder of ${name}`);
      return left;
    },
  };
}
