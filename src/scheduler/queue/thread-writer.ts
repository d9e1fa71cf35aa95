// The store's writer in a worker thread. Messages, strictly in turn:
//
//   to the thread     { stage: a Batch of the next commit } | a Batch | 'probe' (is there space) | null (close)
//   from the thread   { seconds } | { failed: text, full: no space, may be tried again }
//
// A commit has no deadline: a disk that stalls answers later or fails by itself, and of a batch that is given up
// nobody would know whether it is on disk. A thread that ends, for whatever reason, fails what it was given.
import { type MessagePort, Worker } from 'node:worker_threads';
import { describeError, isFault } from '../../base/fault.ts';
import {
  type Batch,
  type Connection,
  commitFailure,
  type DatabaseClass,
  fullFault,
  openConnection,
  probeSpace,
  type StoreWriter,
} from './store-writer.ts';

/** After the last commit has been answered the thread has this long to end. */
const CLOSE_DEADLINE_MS = 5000;
/** The thread holds one batch and statements: a heap that grows beyond this is a bug of ours. */
const HEAP_MIB = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16 };

export type Answer = { readonly seconds: number } | { readonly failed: string; readonly full: boolean };

export interface ThreadWriterOptions {
  /** The built src/bin/store-writer.ts. */
  readonly script: URL;
  readonly path: string;
  /** The thread has ended by itself: nothing more can be written. */
  readonly lost: (cause: Error) => void;
}

/** Not answered. */
interface Staged {
  readonly stage: Batch;
}

interface Waiting {
  resolve(seconds: number): void;
  reject(error: Error): void;
}

/** Starts the thread and returns at once; what goes wrong there rejects the first commit. */
export function startThreadWriter({ script, path, lost }: ThreadWriterOptions): StoreWriter {
  let waiting: Waiting | null = null;
  let dead: Error | null = null;
  let closing: Promise<void> | null = null;
  const worker = new Worker(script, { workerData: { path }, resourceLimits: HEAP_MIB, execArgv: [] });
  worker.on('message', (answer: Answer) => {
    const commit = waiting;
    waiting = null;
    if ('seconds' in answer) commit?.resolve(answer.seconds);
    else commit?.reject(answer.full ? fullFault(path, new Error(answer.failed)) : new Error(answer.failed));
  });
  worker.on('messageerror', gone);
  worker.on('error', gone);
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', (code) => {
      if (closing === null) gone(new Error(`the writer of the job store ended (code ${code})`));
      resolve();
    });
  });

  function gone(error: Error): void {
    if (dead !== null) return;
    dead = error;
    waiting?.reject(error);
    waiting = null;
    lost(error);
  }

  async function end(): Promise<void> {
    worker.postMessage(null);
    const timer = setTimeout(() => void worker.terminate(), CLOSE_DEADLINE_MS);
    await ended;
    clearTimeout(timer);
  }

  function ask(question: Batch | 'probe'): Promise<number> {
    return new Promise((resolve, reject) => {
      if (dead !== null) return reject(dead);
      waiting = { resolve, reject };
      worker.postMessage(question);
    });
  }

  return {
    stage(batch) {
      if (dead === null) worker.postMessage({ stage: batch } satisfies Staged);
    },
    commit: ask,
    async probe() {
      await ask('probe');
    },
    close() {
      closing ??= end();
      return closing;
    },
  };
}

/** The far side: writes what comes through the port until told to close. */
export async function serveStoreWriter(port: MessagePort, path: string): Promise<void> {
  const { default: Libsql } = (await import('libsql')) as unknown as { default: DatabaseClass };
  let connection: Connection | null = null;
  let staged: Batch[] = [];
  port.on('message', (question: Batch | Staged | 'probe' | null) => {
    if (question === null) {
      connection?.close();
      port.close();
    } else if (typeof question === 'object' && 'stage' in question) staged.push(question.stage);
    else port.postMessage(answer(question));
  });

  function answer(question: Batch | 'probe'): Answer {
    try {
      if (question === 'probe') {
        probeSpace(path);
        return { seconds: 0 };
      }
      const batches = [...staged, question];
      // Whatever becomes of them: a batch that is given again comes whole.
      staged = [];
      connection ??= openConnection(Libsql, path);
      return { seconds: connection.write(batches) };
    } catch (error) {
      const failure = commitFailure(error, path);
      const full = isFault(failure, 'QUEUE_STORE_FULL');
      // The far side puts it into the sentence of its own fault.
      return { failed: describeError(full && failure.cause !== undefined ? failure.cause : failure), full };
    }
  }
}
