// Entry of the thread that writes the scheduler's job store.
import { parentPort, workerData } from 'node:worker_threads';
import { serveStoreWriter } from '../scheduler/queue/thread-writer.ts';

if (parentPort !== null) await serveStoreWriter(parentPort, (workerData as { path: string }).path);
