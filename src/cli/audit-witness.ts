// What others wrote down of a log: nodes of the scheduler's (`scheduler.head` in the agent's log), the scheduler of nodes'
// (`node.head` in its own). A witness is a log, or a file of records: one of its segments, or what `flopd audit list
// -o json` printed.
import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as z from 'zod';
import { parseLine } from '../audit/chain.ts';
import { splitLines } from '../audit/segment.ts';
import { type Verification, verifyChain, type Witness } from '../audit/verify.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { AuditFacts } from '../protocol/audit.ts';
import { hasLog } from './audit-folder.ts';

/** What was told, by whose log it is about. */
export type Told = Map<string, Witness[]>;

export interface WitnessLog {
  readonly path: string;
  /** Whose log it is; null where the file does not say. */
  readonly owner: string | null;
  /** Heads of schedulers in it. */
  readonly heads: number;
  /** What is wrong with its own chain; null for a file, which has none that could be checked. */
  readonly problems: Verification['problems'] | null;
}

interface Noted {
  readonly kind: string;
  readonly at: string;
  readonly facts: AuditFacts;
}

/** What nodes told of their logs, in the scheduler's log of this folder. Throws the system's error. */
export function readNodeHeads(folder: string): Told {
  const told: Told = new Map();
  verifyChain(folder, null, {
    onRecord: (record) => note(told, 'node.head', record.facts.nodeId, 'the scheduler', record),
  });
  return told;
}

/** Adds what this witness was told of schedulers. Throws a Fault AUDIT_NOT_FOUND, AUDIT_UNREADABLE or AUDIT_WITNESS_UNFIT. */
export function readWitness(path: string, told: Told): WitnessLog {
  let isFolder: boolean;
  try {
    isFolder = statSync(path).isDirectory();
  } catch (error) {
    throw new Fault('AUDIT_NOT_FOUND', `the witness ${path} cannot be read (${describeError(error)})`, {
      remedy:
        "name the folder of a node's log (agent/audit in its state directory), or a file of its records",
      cause: error,
    });
  }
  return isFolder ? readFolder(path, told) : readFile(path, told);
}

function readFolder(path: string, told: Told): WitnessLog {
  // Of a split node the agent's log: the runner's has no word of the scheduler's.
  const folder = [path, join(path, 'agent', 'audit')].find(hasLog);
  if (folder === undefined)
    throw new Fault('AUDIT_NOT_FOUND', `there is no audit log in the witness ${path}`, {
      remedy: 'name the folder that holds audit-000001.jsonl: agent/audit in the state directory of a node',
    });
  let heads = 0;
  const records: Noted[] = [];
  const { owner, problems } = verifyChain(folder, null, { onRecord: (record) => records.push(record) });
  for (const record of records) heads += noteScheduler(told, owner, record);
  return { path: folder, owner, heads, problems };
}

const exportSchema = z.object({
  records: z.array(
    z.object({
      owner: z.string().max(64),
      kind: z.string().max(64),
      at: z.string().max(32),
      facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
    }),
  ),
});

function readFile(path: string, told: Told): WitnessLog {
  const bytes = readFileSync(path);
  const { lines } = splitLines(bytes);
  const records = lines.flatMap((line) => parseLine(line).record ?? []);
  let heads = 0;
  if (records.length > 0) {
    for (const record of records) heads += noteScheduler(told, null, record);
    return { path, owner: null, heads, problems: null };
  }
  const listed = parseExport(bytes.toString('utf8'));
  if (listed === null)
    throw new Fault('AUDIT_WITNESS_UNFIT', `${path} holds no records of an audit log`, {
      remedy:
        'name a folder, one of its audit-*.jsonl files, or what "flopd audit list --limit 0 -o json" printed',
    });
  for (const record of listed) heads += noteScheduler(told, record.owner, record);
  return { path, owner: listed[0]?.owner ?? null, heads, problems: null };
}

function parseExport(text: string) {
  try {
    return exportSchema.safeParse(JSON.parse(text)).data?.records ?? null;
  } catch {
    return null;
  }
}

function noteScheduler(told: Told, owner: string | null, record: Noted): number {
  return note(told, 'scheduler.head', record.facts.schedulerId, owner ?? 'a node', record);
}

/** 1 where the record is of this kind and says what it must, else 0. */
function note(
  told: Told,
  wanted: string,
  about: AuditFacts[string] | undefined,
  by: string,
  { kind, at, facts }: Noted,
): number {
  const { sequence, hash, keyId } = facts;
  if (kind !== wanted || typeof about !== 'string') return 0;
  if (typeof sequence !== 'number' || typeof hash !== 'string') return 0;
  // Of an empty log there is nothing to compare.
  if (sequence === 0) return 1;
  const witness = { sequence, hash, keyId: typeof keyId === 'string' ? keyId : null, at, by };
  const others = told.get(about);
  if (others === undefined) told.set(about, [witness]);
  else others.push(witness);
  return 1;
}

/**
 * A scheduler has one log, whatever key signs it: what nodes were told of it counts under any key, and it is said where
 * the key was another.
 */
export function underAnyKey(witnesses: readonly Witness[], signedBy: string | null): readonly Witness[] {
  return witnesses.map((one) => {
    const isOther = one.keyId !== null && signedBy !== null && one.keyId !== signedBy;
    return { ...one, keyId: signedBy, by: isOther ? `${one.by}, under the key ${one.keyId},` : one.by };
  });
}

/** Paths as they are given, against the folder of the call. */
export function readWitnesses(paths: readonly string[], folder: string): { told: Told; logs: WitnessLog[] } {
  const told: Told = new Map();
  return { told, logs: paths.map((path) => readWitness(resolve(folder, path), told)) };
}
