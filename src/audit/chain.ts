// The chain: one line of JSON for each record, its fields in this order, with the SHA-256 of the line before (without its
// newline) in `previous`. A line that was changed, removed, added or moved no longer fits the one behind it, and the last
// one no longer fits the signed head (head.ts). Pure.
//
//   {"sequence":7,"at":"2026-11-28T21:00:00.000Z","kind":"job.ordered","facts":{"jobId":"job-1"},"previous":"<64 hex>"}
import { hash } from 'node:crypto';
import { type AuditFacts, type AuditRecord, auditRecordSchema } from '../protocol/audit.ts';

/** Longest text of a fact, in UTF-16 units. */
const FACT_CHARACTERS_MAX = 256;
const FACTS_MAX = 32;
/** Control and format characters, lone surrogates, line and paragraph separators: nothing that moves a cursor. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

export function hashOf(line: string | Uint8Array): string {
  return hash('sha256', line, 'hex');
}

/** `previous` of the very first record. */
export const NOTHING_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** The line of a record, without its newline. */
export function encodeRecord({ sequence, at, kind, facts, previous }: AuditRecord): string {
  return JSON.stringify({ sequence, at, kind, facts, previous });
}

export type ParsedLine =
  | { readonly record: AuditRecord; readonly problem: null }
  | { readonly record: null; readonly problem: string };

/** Reads a line without its newline; a record only where it is written exactly as this file writes it. */
export function parseLine(bytes: Uint8Array): ParsedLine {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { record: null, problem: 'it is no JSON' };
  }
  const parsed = auditRecordSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join('.') ?? '';
    return {
      record: null,
      problem: `it is no record (${field === '' ? 'its fields are others' : `field ${field}`})`,
    };
  }
  if (encodeRecord(parsed.data) !== text)
    return { record: null, problem: 'it is not written as records are' };
  return { record: parsed.data, problem: null };
}

/** Facts as they may stand in a record: short, of one line, with numbers that JSON has. */
export function cleanFacts(facts: AuditFacts): AuditFacts {
  const clean: Record<string, string | number | boolean | null> = {};
  let count = 0;
  for (const [name, value] of Object.entries(facts)) {
    if (value === undefined) continue;
    if (count++ === FACTS_MAX) break;
    clean[name.slice(0, 64)] = cleanFact(value);
  }
  return clean;
}

function cleanFact(value: string | number | boolean | null): string | number | boolean | null {
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0) ? value : null;
  if (typeof value !== 'string') return value;
  const cut = value.length > FACT_CHARACTERS_MAX ? `${value.slice(0, FACT_CHARACTERS_MAX - 1)}…` : value;
  return cut.replace(UNSAFE, '\ufffd');
}
