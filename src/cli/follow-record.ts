// Reads the stream of follow records (format: protocol/api.ts). Output payloads are passed on as they arrive, so
// that memory stays bounded whatever length a record declares.
import { Fault } from '../base/fault.ts';
import { followKind, type JobView } from '../protocol/api.ts';

/** A job view with a 128 KiB command is far below this. */
const MAX_JOB_BYTES = 16 * 1024 * 1024;
const HEADER_BYTES = 5;

export type FollowRecord =
  | { readonly kind: 'job'; readonly job: JobView }
  | { readonly kind: 'stdout' | 'stderr'; readonly bytes: Uint8Array }
  | { readonly kind: 'keepAlive' };

/** Takes the stream in pieces of any size and gives the records that they complete. */
export interface FollowReader {
  push(chunk: Uint8Array): FollowRecord[];
}

/** Throws Fault FOLLOW_RECORD_INVALID from `push` for anything that is not a follow stream. */
export function createFollowReader(): FollowReader {
  const header = Buffer.alloc(HEADER_BYTES);
  let headerLength = 0;
  let kind = -1;
  let remaining = 0;
  let parts: Uint8Array[] = [];

  function finishHeader(): FollowRecord | null {
    kind = header[0] ?? -1;
    remaining = header.readUInt32BE(1);
    if (
      kind !== followKind.job &&
      kind !== followKind.stdout &&
      kind !== followKind.stderr &&
      kind !== followKind.keepAlive
    ) {
      throw invalid(`unknown record kind ${kind}`);
    }
    if (kind === followKind.job && remaining > MAX_JOB_BYTES) throw invalid(`a job of ${remaining} bytes`);
    if (kind === followKind.keepAlive && remaining !== 0) throw invalid('a keep-alive with content');
    if (kind === followKind.job && remaining === 0) throw invalid('an empty job');
    if (remaining > 0) return null;
    headerLength = 0;
    return kind === followKind.keepAlive ? { kind: 'keepAlive' } : null;
  }

  function takePayload(bytes: Uint8Array): FollowRecord | null {
    remaining -= bytes.length;
    if (remaining === 0) headerLength = 0;
    if (kind === followKind.stdout) return { kind: 'stdout', bytes };
    if (kind === followKind.stderr) return { kind: 'stderr', bytes };
    parts.push(bytes);
    if (remaining > 0) return null;
    const text = Buffer.concat(parts).toString('utf8');
    parts = [];
    return { kind: 'job', job: parseJob(text) };
  }

  return {
    push(chunk) {
      const records: FollowRecord[] = [];
      let at = 0;
      while (at < chunk.length) {
        let record: FollowRecord | null = null;
        if (headerLength < HEADER_BYTES) {
          header[headerLength] = chunk[at] ?? 0;
          headerLength += 1;
          at += 1;
          if (headerLength === HEADER_BYTES) record = finishHeader();
        } else {
          const end = Math.min(chunk.length, at + remaining);
          record = takePayload(chunk.subarray(at, end));
          at = end;
        }
        if (record !== null) records.push(record);
      }
      return records;
    },
  };
}

function parseJob(text: string): JobView {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid('a job that is not JSON');
  }
  if (typeof value !== 'object' || value === null || typeof (value as JobView).state !== 'string')
    throw invalid('a job without a state');
  return value as JobView;
}

function invalid(what: string): Fault {
  return new Fault('FOLLOW_RECORD_INVALID', `the scheduler sent ${what}`, {
    remedy: 'use a flopd of the same version as the scheduler',
  });
}
