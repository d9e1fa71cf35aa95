// Reads the stream of follow records (format: protocol/api.ts). Output payloads are passed on as they arrive, so
// that memory stays bounded whatever length a record declares.
import { Fault } from '../base/fault.ts';
import { followKind, type JobView } from '../protocol/api.ts';
import type { StoredGap } from '../protocol/output-gap.ts';

/** A job view with a 128 KiB command is far below this. */
const MAX_JOB_BYTES = 16 * 1024 * 1024;
const MAX_GAP_BYTES = 1024;
const HEADER_BYTES = 5;

export type FollowRecord =
  | { readonly kind: 'job'; readonly job: JobView }
  | { readonly kind: 'stdout' | 'stderr'; readonly bytes: Uint8Array }
  | { readonly kind: 'gap'; readonly gap: StoredGap }
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
      kind !== followKind.gap &&
      kind !== followKind.keepAlive
    ) {
      throw invalid(`unknown record kind ${kind}`);
    }
    if (kind === followKind.job && remaining > MAX_JOB_BYTES) throw invalid(`a job of ${remaining} bytes`);
    if (kind === followKind.gap && remaining > MAX_GAP_BYTES) throw invalid(`a gap of ${remaining} bytes`);
    if (kind === followKind.keepAlive && remaining !== 0) throw invalid('a keep-alive with content');
    if ((kind === followKind.job || kind === followKind.gap) && remaining === 0)
      throw invalid(kind === followKind.job ? 'an empty job' : 'an empty gap');
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
    return kind === followKind.gap
      ? { kind: 'gap', gap: parseGap(text) }
      : { kind: 'job', job: parseJob(text) };
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
  const value = parseObject(text, 'a job');
  if (typeof value.state !== 'string') throw invalid('a job without a state');
  return value as unknown as JobView;
}

function parseGap(text: string): StoredGap {
  const value = parseObject(text, 'a gap');
  const numbers = [value.fromByte, value.toByte, value.atByte];
  if (
    !numbers.every((one) => Number.isSafeInteger(one)) ||
    (value.stream !== 'stdout' && value.stream !== 'stderr')
  )
    throw invalid('a gap without a place');
  return value as unknown as StoredGap;
}

function parseObject(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(`${what} that is not JSON`);
  }
  if (typeof value !== 'object' || value === null) throw invalid(`${what} that is no object`);
  return value as Record<string, unknown>;
}

function invalid(what: string): Fault {
  return new Fault('FOLLOW_RECORD_INVALID', `the scheduler sent ${what}`, {
    remedy: 'use a flopd of the same version as the scheduler',
  });
}
