// Files of jobs at this node: one cache of contents for all of them, inputs that are brought in before a start
// (staging.ts), outputs that are collected after the end (collect.ts) and brought to the scheduler in the background,
// again after each restart, until it has them or nobody waits for them any more. All of it may be repeated, so that the
// journal needs no record: what the result names and is not brought yet is brought.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createBackoff } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, Fault, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Owner } from '../files/beneath.ts';
import { bring, type Cargo, isPassing, persist } from '../files/exchange.ts';
import { type FileStore, openFileStore } from '../files/store.ts';
import { piecesOf } from '../files/stream.ts';
import type { Root } from '../files/sweep.ts';
import { createTransfer, type TransferAccess } from '../files/transfer.ts';
import { contentsOf } from '../files/trees.ts';
import type { Native } from '../native.ts';
import type { KeptOutput } from '../protocol/result.ts';
import type { Attempt, Book } from './book.ts';
import { collectOutput } from './collect.ts';
import { type Execution, jobFile } from './executor/executor.ts';
import type { Hit } from './fault-points.ts';
import { removeFolder } from './output.ts';
import { isStaged, markStaged, stageInputs } from './staging.ts';

/** Contents that no job here needs are kept for so long after their last use, as far as the quota allows. */
const KEEP_MS = 7 * 24 * 3600_000;
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 15_000;
const PROGRESS_MS = 1000;
/** Attempts whose outputs are brought at the same time. */
const BRINGS_MAX = 2;

/** What the job room needs to move files. */
export interface JobFilesOptions {
  /** Most bytes of the cache on this node's disk. */
  readonly cacheBytes: number;
  /** The scheduler's store, on behalf of an attempt. */
  access(jobId: string, epoch: number): TransferAccess;
}

export interface JobFiles {
  /** The inputs of the attempt must be brought in before anything of it may start. */
  mustStage(attempt: Attempt): boolean;
  /** Brings them in; calls one of the three, once, unless it is detached. */
  stage(attempt: Attempt, owner: Owner, told: StagingEvents): Execution;
  /** Keeps the outputs; null when this agent stops meanwhile. */
  collect(attempt: Attempt): Promise<KeptOutput[] | null>;
  /** True when the scheduler has all outputs that the result names; otherwise sees to it, and calls `brought`. */
  isBrought(attempt: Attempt): boolean;
  /** Its workspace is to stay for a while yet. */
  isKept(attempt: Attempt): boolean;
  /** Gives up bringing what is not brought. */
  forget(attempt: Attempt): void;
  /** Ends what is under way; it goes on after the next start. */
  close(): void;
}

export interface StagingEvents {
  staged(): void;
  failed(detail: string): void;
  stopped(): void;
}

export interface JobFilesParts {
  readonly options: JobFilesOptions | null;
  /** The agent's state folder. */
  readonly folder: string;
  readonly folderOf: (attempt: Attempt) => string;
  readonly book: Book;
  readonly native: Native | null;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly hit: Hit;
  readonly progress: (attempt: Attempt, text: string) => void;
  /** The outputs of the attempt have been brought. */
  readonly brought: (attempt: Attempt) => void;
}

export function createJobFiles(parts: JobFilesParts): JobFiles {
  const { options, book, clock, random, log, hit, folderOf } = parts;
  const closed = new AbortController();
  const brought = new Set<Attempt>();
  const bringing = new Map<Attempt, AbortController>();
  const waiting: Attempt[] = [];
  /** What attempts that are being settled have collected so far. */
  const collected = new Map<Attempt, KeptOutput[]>();
  /** Attempts that are being staged; what they hold of the cache is free again soon. */
  let staging = 0;
  let opened: FileStore | null = null;

  /** Opened at its first use: most nodes never see a file. */
  function cache(): FileStore {
    opened ??= openFileStore({
      folder: join(parts.folder, 'files'),
      quotaBytes: options?.cacheBytes ?? 0,
      keepMs: KEEP_MS,
      // What was fetched is hashed whenever it is used; what was collected is synced all the same.
      syncs: false,
      // What is at work here is named by `roots` or held by its batch.
      inUseMs: 0,
      roots,
      clock,
      log,
    });
    return opened;
  }

  function* roots(): Generator<Root> {
    for (const attempt of book.attempts()) {
      if (mustStage(attempt))
        for (const { digest, kind } of attempt.order?.spec.inputs ?? []) yield { digest, kind };
      for (const { digest, kind } of collected.get(attempt) ?? outputsOf(attempt))
        if (digest !== null && kind !== null && !brought.has(attempt)) yield { digest, kind };
    }
  }

  function mustStage(attempt: Attempt): boolean {
    const inputs = attempt.order?.spec.inputs.length ?? 0;
    return inputs > 0 && attempt.result === null && !isStaged(folderOf(attempt));
  }

  function persistFor(signal: AbortSignal, goesOn: (error: unknown) => boolean) {
    const backoff = createBackoff({ minMs: RETRY_MIN_MS, maxMs: RETRY_MAX_MS, random });
    return <T>(work: (moved: () => void) => Promise<T>): Promise<T> =>
      persist({ clock, backoff, signal, goesOn, waits() {} }, work);
  }

  function stage(attempt: Attempt, owner: Owner, told: StagingEvents): Execution {
    const stopped = new AbortController();
    let isDetached = false;
    const signal = AbortSignal.any([stopped.signal, closed.signal]);
    stageNow(attempt, owner, signal).then(
      () => {
        if (isDetached || closed.signal.aborted) return;
        if (stopped.signal.aborted) told.stopped();
        else told.staged();
      },
      (error: unknown) => {
        if (isDetached || closed.signal.aborted) return;
        if (stopped.signal.aborted) told.stopped();
        else told.failed(describeError(error));
      },
    );
    return {
      stop: () => stopped.abort(new Fault('JOB_STOPPED', 'the job was stopped')),
      renew() {},
      detach() {
        isDetached = true;
        stopped.abort(new Fault('JOB_STOPPED', 'the agent stops'));
      },
    };
  }

  async function stageNow(attempt: Attempt, owner: Owner, signal: AbortSignal): Promise<void> {
    if (options === null) throw new Fault('JOB_INPUT', 'this node has no way to fetch inputs');
    const { jobId, epoch } = attempt;
    const folder = folderOf(attempt);
    const workspace = join(folder, jobFile.workspace);
    const transfer = createTransfer(options.access(jobId, epoch), signal);
    let toldAtMs = Number.NEGATIVE_INFINITY;
    staging += 1;
    try {
      await stageInputs(
        folder,
        attempt.order?.spec.inputs ?? [],
        owner,
        {
          store: cache(),
          transfer,
          persist: persistFor(
            signal,
            (error) =>
              isPassing(error) ||
              isFault(error, 'API_UNAUTHENTICATED') ||
              (isFault(error, 'FILES_FULL') && staging > 1),
          ),
          signal,
          progress(fetchedBytes, totalBytes) {
            const nowMs = clock.monotonicMs();
            if (nowMs - toldAtMs < PROGRESS_MS) return;
            toldAtMs = nowMs;
            parts.progress(
              attempt,
              `fetching inputs, ${bytesText(fetchedBytes)} of ${bytesText(totalBytes)}`,
            );
          },
        },
        async () => {
          await removeFolder(workspace, parts.native);
          mkdirSync(workspace, { mode: 0o700 });
        },
      );
      signal.throwIfAborted();
      markStaged(folder);
      hit('inputs.staged');
    } finally {
      staging -= 1;
      transfer.close();
    }
  }

  async function collect(attempt: Attempt): Promise<KeptOutput[] | null> {
    const paths = attempt.order?.spec.outputs ?? [];
    if (paths.length === 0) return [];
    const outputs: KeptOutput[] = [];
    collected.set(attempt, outputs);
    try {
      for (const path of paths)
        outputs.push(await collectOutput(folderOf(attempt), path, cache(), closed.signal));
      hit('outputs.collected');
      return outputs;
    } catch (error) {
      if (closed.signal.aborted) return null;
      throw error;
    }
  }

  function isBrought(attempt: Attempt): boolean {
    const named = outputsOf(attempt).filter(({ digest }) => digest !== null);
    if (named.length === 0 || brought.has(attempt) || options === null) return true;
    if (!bringing.has(attempt)) {
      bringing.set(attempt, new AbortController());
      waiting.push(attempt);
      if (bringing.size - waiting.length < BRINGS_MAX) void bringNext();
    }
    return false;
  }

  async function bringNext(): Promise<void> {
    for (let attempt = waiting.shift(); attempt !== undefined; attempt = waiting.shift()) {
      const { jobId, epoch } = attempt;
      try {
        await bringOutputs(attempt);
        hit('outputs.uploaded');
      } catch (error) {
        if (closed.signal.aborted) return;
        log.warn(
          { jobId, epoch, cause: describeError(error) },
          'outputs of a job do not reach the scheduler',
        );
      }
      if (book.find(jobId, epoch) === attempt) brought.add(attempt);
      bringing.delete(attempt);
      collected.delete(attempt);
      parts.brought(attempt);
    }
  }

  async function bringOutputs(attempt: Attempt): Promise<void> {
    const given = bringing.get(attempt);
    if (options === null || given === undefined) return;
    const signal = AbortSignal.any([given.signal, closed.signal]);
    const transfer = createTransfer(options.access(attempt.jobId, attempt.epoch), signal);
    // A full store may have room later; the attempt is given up with its folder at the latest.
    const persistent = persistFor(
      signal,
      (error) =>
        isPassing(error) ||
        ['API_UNAUTHENTICATED', 'FILES_FULL', 'FILES_DISK_FULL'].some((code) => isFault(error, code)),
    );
    try {
      for (const { digest, kind } of outputsOf(attempt)) {
        if (digest === null || kind === null) continue;
        const cargo = cargoOf(cache(), digest, kind);
        await persistent((moved) => bring(transfer, cargo, moved));
      }
    } finally {
      transfer.close();
    }
  }

  return {
    mustStage,
    stage,
    collect,
    isBrought,
    // A result of an earlier build has no such field.
    isKept: ({ result }) => (result?.workspace?.untilMs ?? 0) > clock.wallMs(),
    forget(attempt) {
      bringing.get(attempt)?.abort(new Fault('JOB_OUTPUT_LATE', 'nobody waits for them any more'));
      brought.delete(attempt);
      collected.delete(attempt);
    },
    close: () => closed.abort(new Fault('JOB_FILES_CLOSED', 'the agent stops')),
  };
}

/** What the result names; one of an earlier build names none. */
function outputsOf({ result }: Attempt): readonly KeptOutput[] {
  const { outputs }: { outputs?: readonly KeptOutput[] } = result ?? {};
  return outputs ?? [];
}

/** Contents of the cache, to be brought. */
function cargoOf(store: FileStore, digest: string, kind: Cargo['kind']): Cargo {
  const sizeBytes = store.sizeOf(digest);
  if (sizeBytes === null) throw new Fault('FILES_MISSING', 'the cache of this node has lost them');
  return {
    digest,
    kind,
    sizeBytes,
    async *pieces(offset) {
      const file = await store.open(digest);
      if (file === null) throw new Fault('FILES_MISSING', 'the cache of this node has lost them');
      try {
        yield* piecesOf(file, offset, sizeBytes);
      } finally {
        await file.close();
      }
    },
    contents: (from, to, offset) => contentsOf(store, digest, from, to, offset),
  };
}

/** `120 MB`, `2.0 GB`. */
function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
