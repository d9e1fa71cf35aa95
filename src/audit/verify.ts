// The check of a chain: reads every segment of a folder, or of a copy of one, and says of each place where the chain does
// not hold which record it is, in which file and line, and what is wrong. It needs nothing but the folder; with the
// public key of its owner it also tells whether the head is theirs.
//
// Whose fault a link is that does not fit: of two neighbours, the later one where its own successor (or the head) does not
// fit it either, else the earlier one.
import type { AuditRecord } from '../protocol/audit.ts';
import { keyIdOf } from '../protocol/signed.ts';
import { hashOf, NOTHING_HASH, parseLine } from './chain.ts';
import { type HeadBody, readHead } from './head.ts';
import { listSegments, readLines, segmentName } from './segment.ts';

const PROBLEMS_MAX = 20;

export interface ChainProblem {
  /** Of the record, as far as it can be told. */
  readonly sequence: number | null;
  readonly file: string;
  /** From 1; null where the file as a whole is meant. */
  readonly line: number | null;
  readonly text: string;
}

export interface Verification {
  readonly owner: string | null;
  /** Key id of who signed the head, and whether that key was one of those that were given. */
  readonly signedBy: string | null;
  readonly isKeyGiven: boolean;
  readonly records: number;
  readonly segments: number;
  readonly first: number | null;
  readonly last: number | null;
  readonly head: { readonly sequence: number; readonly at: string } | null;
  /** In order; the first PROBLEMS_MAX. */
  readonly problems: readonly ChainProblem[];
  /** What was told of a chain of this owner and does not fit this one; nobody said which chain it was of. */
  readonly doubts: readonly ChainProblem[];
  /** Of what others were told of this chain: how much of it is there, the last of that, and how much nobody can tell. */
  readonly witnessed: Witnessed;
  /** What is no damage, but worth a line. */
  readonly notes: readonly string[];
}

export interface Witnessed {
  /** Records that are there as they were told. */
  readonly agree: number;
  readonly last: { readonly sequence: number; readonly at: string } | null;
  /** That are not there, or are others. */
  readonly differ: number;
  /** Of before the first record that is kept. */
  readonly before: number;
}

/** What somebody else wrote down of a chain of this owner: the hash of the record with this sequence. */
export interface Witness {
  readonly sequence: number;
  readonly hash: string;
  /** Key id of who signs the chain; null where that was not told. One of another chain is not compared. */
  readonly keyId: string | null;
  readonly at: string;
  /** Who was told, in words. */
  readonly by: string;
}

interface Place {
  readonly file: string;
  readonly line: number;
  readonly bytes: Uint8Array;
  readonly hash: string;
  readonly record: AuditRecord | null;
  readonly problem: string | null;
}

/** Throws the system's error for a folder that cannot be read. `onRecord` is called with each record that is whole. */
export function verifyChain(
  folder: string,
  trusted: readonly string[] | null,
  options: {
    readonly onRecord?: (record: AuditRecord) => void;
    readonly witnesses?: readonly Witness[];
  } = {},
): Verification {
  const problems: ChainProblem[] = [];
  const notes: string[] = [];
  const head = readHead(folder, trusted);
  const say = (problem: ChainProblem): void => {
    if (problems.length < PROBLEMS_MAX) problems.push(problem);
  };
  if (head.body === null) say({ sequence: null, file: 'audit-head.json', line: null, text: head.problem });
  const all = listSegments(folder);
  const segments = all.filter((number) => number >= (head.body?.first.segment ?? 0));
  if (segments.length < all.length)
    notes.push(
      `${all.length - segments.length} segments from before the first that is kept were not looked at`,
    );
  const signedBy = head.publicKey === null ? null : keyIdOf(head.publicKey);
  // Where the head does not say whose chain it is, nothing that was told is let pass.
  const witnesses = (options.witnesses ?? []).filter(
    ({ keyId }) => keyId === null || signedBy === null || keyId === signedBy,
  );
  const doubts: ChainProblem[] = [];
  const sayWitness = (problem: ChainProblem, { keyId }: Witness): void => {
    if (keyId !== null) say(problem);
    else if (doubts.length < PROBLEMS_MAX) doubts.push(problem);
  };
  const checker = createChecker(head.body, say, sayWitness, { ...options, witnesses });
  let expected = head.body?.first.segment ?? segments[0] ?? 1;
  let records = 0;
  for (const number of segments) {
    for (; expected < number; expected += 1)
      say({ sequence: null, file: segmentName(expected), line: null, text: 'the segment is missing' });
    expected = number + 1;
    const { lines, rest } = readLines(folder, number);
    const file = segmentName(number);
    lines.forEach((bytes, index) => {
      checker.take({ file, line: index + 1, bytes, hash: hashOf(bytes), ...parseLine(bytes) });
    });
    records += lines.length;
    if (rest.length > 0) checker.rest(file, lines.length + 1, rest.length, number === segments.at(-1), notes);
  }
  checker.end();
  const { body } = head;
  return {
    owner: body?.owner ?? null,
    signedBy,
    isKeyGiven: trusted !== null && head.publicKey !== null,
    records,
    segments: segments.length,
    first: checker.first(),
    last: checker.last(),
    head: body === null ? null : { sequence: body.sequence, at: body.at },
    problems,
    doubts,
    witnessed: checker.witnessed(),
    notes,
  };
}

function createChecker(
  head: HeadBody | null,
  say: (problem: ChainProblem) => void,
  sayWitness: (problem: ChainProblem, witness: Witness) => void,
  options: { readonly onRecord?: (record: AuditRecord) => void; readonly witnesses: readonly Witness[] },
) {
  /** By sequence; of a log that went back there are several that differ. */
  const witnesses = new Map<number, Witness[]>();
  for (const one of options.witnesses) {
    const others = witnesses.get(one.sequence) ?? [];
    if (others.some(({ hash, keyId }) => hash === one.hash && keyId === one.keyId)) continue;
    witnesses.set(one.sequence, [...others, one]);
  }
  /** The line before the last one, and the last one, which waits for what comes behind it. */
  let before: Place | null = null;
  let held: Place | null = null;
  /** The line before was said to be wrong: what does not fit behind it is its doing. */
  let isBeforeBad = false;
  let firstSequence: number | null = null;
  let lastSequence: number | null = null;
  let witnessed: Witnessed = { agree: 0, last: null, differ: 0, before: 0 };
  let isHeadSeen = head === null || head.sequence === 0;

  /** Looks at `held`, now that it is known what comes behind it. `next` is null at the end. */
  function judge(place: Place, next: Place | null): void {
    const { record, file, line } = place;
    const isVouched =
      next === null
        ? head !== null && head.sequence === record?.sequence && head.hash === place.hash
        : next.record?.previous === place.hash;
    const wrong = record === null ? (place.problem ?? '') : whatIsWrong(place, record, isVouched);
    if (wrong !== null) say({ sequence: record?.sequence ?? guess(), file, line, text: wrong });
    else if (record !== null) tellWitness(place, record);
    if (record !== null) options.onRecord?.(record);
    if (record !== null && head !== null && record.sequence === head.sequence) {
      if (wrong === null && place.hash !== head.hash)
        say({ sequence: record.sequence, file, line, text: 'it was changed: the signed head names another' });
      isHeadSeen = true;
    }
    firstSequence ??= record?.sequence ?? null;
    lastSequence = record?.sequence ?? (lastSequence === null ? null : lastSequence + 1);
    isBeforeBad = wrong !== null;
    before = place;
  }

  const guess = (): number | null =>
    lastSequence === null ? (head?.first.sequence ?? null) : lastSequence + 1;

  function whatIsWrong(place: Place, record: AuditRecord, isVouched: boolean): string | null {
    if (record.kind === 'chain.broken')
      return `the chain was found damaged at ${record.at} (${String(record.facts.why ?? 'no reason')}) and goes on from here`;
    const expected = guess();
    const previous = before === null ? (head?.first.previous ?? NOTHING_HASH) : before.hash;
    if (record.previous === previous && (expected === null || record.sequence === expected)) return null;
    // One line that is wrong is said once.
    if (isBeforeBad && record.sequence === expected) return null;
    if (expected !== null && record.sequence > expected)
      return record.sequence === expected + 1
        ? `record ${expected} before it is missing`
        : `records ${expected} to ${record.sequence - 1} before it are missing`;
    if (expected !== null && record.sequence < expected)
      return `it is out of its order, a copy or added: record ${expected} should stand here`;
    if (isVouched && before !== null) {
      const { file, line } = before;
      say({
        sequence: before.record?.sequence ?? null,
        file,
        line,
        text: 'it was changed after it was written',
      });
      return null;
    }
    return place.line === 1 && before === null
      ? 'it does not follow what the head says was before it'
      : 'it does not follow the record before it';
  }

  function dispute(problem: ChainProblem, witness: Witness): void {
    witnessed = { ...witnessed, differ: witnessed.differ + 1 };
    sayWitness(problem, witness);
  }

  function tellWitness({ file, line, hash }: Place, { sequence }: AuditRecord): void {
    const told = witnesses.get(sequence) ?? [];
    witnesses.delete(sequence);
    for (const witness of told) {
      const { by, at } = witness;
      const text = `it is not the one that ${by} was told of at ${at}`;
      if (witness.hash !== hash) dispute({ sequence, file, line, text }, witness);
      else witnessed = { ...witnessed, agree: witnessed.agree + 1, last: { sequence, at } };
    }
  }

  return {
    first: () => firstSequence,
    last: () => lastSequence,
    witnessed: () => witnessed,
    take(place: Place): void {
      if (held !== null) judge(held, place);
      held = place;
    },
    rest(file: string, line: number, bytes: number, isLast: boolean, notes: string[]): void {
      if (held !== null) judge(held, null);
      held = null;
      const isPromised = head !== null && head.sequence >= (guess() ?? 0);
      if (isLast && !isPromised)
        notes.push(
          `${file} ends with ${bytes} unfinished bytes, as a crash leaves them; the next start cuts them off`,
        );
      else say({ sequence: guess(), file, line, text: 'its line has no end' });
    },
    end(): void {
      if (held !== null) judge(held, null);
      if (!isHeadSeen && head !== null && head.sequence > (lastSequence ?? 0))
        say({
          sequence: (lastSequence ?? head.first.sequence - 1) + 1,
          file: before?.file ?? segmentName(head.segment),
          line: before === null ? null : before.line + 1,
          text: `records up to ${head.sequence} are missing: the signed head names them`,
        });
      const file = before?.file ?? segmentName(1);
      for (const witness of [...witnesses.values()].flat()) {
        const { sequence, at, by } = witness;
        const text = `it is not there any more; ${by} was told of it at ${at}`;
        if (firstSequence === null || sequence >= firstSequence)
          dispute({ sequence, file, line: null, text }, witness);
        else witnessed = { ...witnessed, before: witnessed.before + 1 };
      }
    },
  };
}
