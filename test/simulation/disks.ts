// Disks of a simulation: they take time, fill up, fail, and a crash costs them what was not synced. Each keeps its
// bytes across lives; a life works on it through a view of its own.
import type { JournalDisk } from '../../src/job/journal.ts';
import { writtenBytes } from '../../src/job/journal-format.ts';
import { memberPrefix } from '../../src/protocol/array.ts';
import { isFinalState } from '../../src/protocol/result.ts';
import type { OutputDisk, OutputFile } from '../../src/scheduler/output-disk.ts';
import type { QueueDisk } from '../../src/scheduler/queue/embedded.ts';
import { createRowParser, type JobRow } from '../../src/scheduler/queue/job-row.ts';
import type { DocumentKind, NodeRecord } from '../../src/scheduler/queue/queue.ts';
import type { StoredDocument } from '../../src/scheduler/queue/store.ts';
import { type Batch, fullFault } from '../../src/scheduler/queue/store-writer.ts';
import type { Dice } from './seed.ts';
import type { Life } from './time.ts';

const failure = (code: string): Error =>
  Object.assign(new Error(`${code}: made up by the simulation`), { code });

export type DiskState = 'well' | 'slow' | 'full' | 'failing';

/** A state that all disks of one host share, so that a fault hits what lies on it. */
export interface Weather {
  state: DiskState;
}

function latency(dice: Dice, weather: Weather): number {
  if (weather.state === 'slow') return dice.between(50, 1500);
  return dice.chance(0.05) ? dice.between(10, 400) : dice.random() * 4;
}

export interface JournalStore {
  open(life: Life): JournalDisk;
  /** Everything on it is gone. */
  wipe(): void;
}

export function createJournalStore(dice: Dice, weather: Weather): JournalStore {
  let bytes = Buffer.alloc(0);
  let reserve = true;
  return {
    wipe() {
      bytes = Buffer.alloc(0);
    },
    open(life) {
      let at = writtenBytes(bytes);
      let broken = false;
      const dead = (): Promise<never> => new Promise(() => {});
      function refuse(): void {
        if (weather.state === 'full') throw failure('ENOSPC');
        if (weather.state === 'failing') throw failure('EIO');
      }
      return {
        read: () => Buffer.from(bytes),
        quarantine() {},
        async append(more) {
          if (!life.isAlive()) return dead();
          const from = at;
          let landed = false;
          life.onKill(() => {
            // A crash in the middle of a write: any beginning of it is there, and perhaps all.
            if (landed) return;
            landed = true;
            bytes = Buffer.concat([bytes.subarray(0, from), more.subarray(0, dice.between(0, more.length))]);
          });
          await life.later(latency(dice, weather));
          if (!life.isAlive() || landed) return dead();
          landed = true;
          if (broken) throw failure('EBADF');
          try {
            refuse();
          } catch (error) {
            broken = true;
            throw error;
          }
          bytes = Buffer.concat([bytes.subarray(0, from), more]);
          at = from + more.length;
        },
        async replace(all) {
          if (!life.isAlive()) return dead();
          await life.later(latency(dice, weather) * 2);
          if (!life.isAlive()) return dead();
          refuse();
          bytes = Buffer.from(all);
          at = bytes.length;
          broken = false;
          reserve = true;
        },
        releaseReserve() {
          const had = reserve;
          reserve = false;
          // A reserve lets one journal be written on a full disk.
          return had && weather.state !== 'full';
        },
        async close() {},
      };
    },
  };
}

interface OutputBytes {
  written: Buffer;
  syncedBytes: number;
}

export interface OutputFiles {
  open(life: Life): OutputDisk;
  /** What users can read of it. */
  bytes(path: string): Uint8Array;
}

export function createOutputFiles(dice: Dice, weather: Weather): OutputFiles {
  const files = new Map<string, OutputBytes>();
  return {
    bytes: (path) => files.get(path)?.written ?? Buffer.alloc(0),
    open(life) {
      life.onKill(() => {
        for (const file of files.values()) {
          // What was not synced may be there, or a part of it.
          file.written = file.written.subarray(0, dice.between(file.syncedBytes, file.written.length));
          file.syncedBytes = file.written.length;
        }
      });
      return {
        sizeBytes: (path) => files.get(path)?.written.length ?? 0,
        times: () => ({ note: () => null, offsetAt: async () => 0 }),
        removal: () => null,
        async open(path, create) {
          await life.later(dice.random());
          let file = files.get(path);
          if (file === undefined) {
            if (!create) throw failure('ENOENT');
            file = { written: Buffer.alloc(0), syncedBytes: 0 };
            if (life.isAlive()) files.set(path, file);
          }
          return handleOf(file, life, dice, weather);
        },
      };
    },
  };
}

function handleOf(file: OutputBytes, life: Life, dice: Dice, weather: Weather): OutputFile {
  const handle = {
    async write(bytes: Uint8Array, from: number, length: number, position: number) {
      await life.later(dice.random());
      if (weather.state === 'full') throw failure('ENOSPC');
      if (weather.state === 'failing') throw failure('EIO');
      // The system may take less than it is given.
      const bytesWritten = dice.chance(0.1) ? dice.between(1, length) : length;
      const end = position + bytesWritten;
      const next = Buffer.alloc(Math.max(file.written.length, end));
      file.written.copy(next);
      next.set(bytes.subarray(from, from + bytesWritten), position);
      if (life.isAlive()) file.written = next;
      return { bytesWritten, buffer: bytes };
    },
    async read(bytes: Uint8Array, _at: number, length: number, position: number) {
      const part = file.written.subarray(position, position + length);
      bytes.set(part);
      return { bytesRead: part.length, buffer: bytes };
    },
    async datasync() {
      const upTo = file.written.length;
      await life.later(latency(dice, weather));
      if (life.isAlive()) file.syncedBytes = Math.max(file.syncedBytes, upTo);
    },
    async close() {},
  };
  return handle as unknown as OutputFile;
}

export interface QueueRows {
  open(life: Life): QueueDisk;
  jobs(): readonly JobRow[];
  wipe(): void;
}

export function createQueueRows(dice: Dice, weather: Weather): QueueRows {
  const rows = new Map<number, JobRow>();
  const nodes = new Map<string, string>();

  const documents = new Map<string, StoredDocument>();

  function write({ removed, inserted, updated, nodes: changed, documents: put }: Batch): void {
    for (const [sequence] of removed) rows.delete(sequence);
    for (const [sequence, id, , record, spec, submission] of inserted)
      rows.set(sequence, { sequence, id, record, spec, submission });
    for (const [, record, sequence] of updated) {
      const row = rows.get(sequence);
      if (row !== undefined) rows.set(sequence, { ...row, record });
    }
    for (const [id, record] of changed) nodes.set(id, record);
    for (const [kind, id, value] of put) {
      if (value === null) documents.delete(`${kind} ${id}`);
      else documents.set(`${kind} ${id}`, { kind: kind as DocumentKind, id, value });
    }
  }

  const parse = createRowParser((sequence) => rows.get(sequence) ?? null);
  const read = () => [...rows.values()].sort((a, b) => a.sequence - b.sequence).map(parse);

  return {
    jobs: () => [...rows.values()],
    wipe() {
      rows.clear();
      nodes.clear();
      documents.clear();
    },
    open(life) {
      let coming: Batch | null = null;
      life.onKill(() => {
        // A commit under way is there or not; nobody was told.
        if (coming !== null && dice.chance(0.5)) write(coming);
        coming = null;
      });
      return {
        reader: {
          job: (id) => read().find(({ job }) => job.id === id) ?? null,
          byPrefix: (prefix, limit) =>
            read()
              .filter(({ job }) => job.id.startsWith(prefix))
              .slice(0, limit),
          newest: (state, limit) =>
            read()
              .filter(({ job }) => state === undefined || job.state === state)
              .reverse()
              .slice(0, limit),
          below: (sequence, state, limit) =>
            read()
              .filter(
                (entry) => entry.sequence < sequence && (state === undefined || entry.job.state === state),
              )
              .reverse()
              .slice(0, limit),
          ended: (after, limit) =>
            read()
              .filter(({ job, sequence }) => sequence > after && isFinalState(job.state))
              .slice(0, limit)
              .map(({ job, sequence }) => ({ ...job, sequence })),
          array(id) {
            const prefix = memberPrefix(id);
            return read().flatMap(({ job }) =>
              job.id.startsWith(prefix)
                ? [{ index: Number(job.id.slice(prefix.length)), state: job.state }]
                : [],
            );
          },
          arraysByPrefix: () => [],
          documents: () => [...documents.values()],
          load(index, known) {
            for (const entry of read()) index.put(entry);
            for (const record of nodes.values()) {
              const node = JSON.parse(record) as NodeRecord;
              known.set(node.id, node);
            }
            return Math.max(0, ...rows.keys()) + 1;
          },
        },
        startWriter: () => ({
          async commit(batch) {
            if (!life.isAlive()) return new Promise(() => {});
            coming = batch;
            const seconds = latency(dice, weather) / 1000;
            await life.later(seconds * 1000);
            if (weather.state === 'full') {
              coming = null;
              throw fullFault('store', failure('ENOSPC'));
            }
            if (weather.state === 'failing') {
              coming = null;
              throw failure('EIO');
            }
            if (coming === batch) write(batch);
            coming = null;
            return seconds;
          },
          async probe() {
            await life.later(1);
            if (weather.state === 'full' || weather.state === 'failing')
              throw fullFault('store', failure('ENOSPC'));
          },
          async close() {},
        }),
        close() {},
      };
    },
  };
}
