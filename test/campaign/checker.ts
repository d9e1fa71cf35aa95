// Decides I1-I5 (shared/reference/faults-and-attacks.md) from a recorded history. Pure; it knows nothing of the code
// that made the history, only what must be true of any:
//
//   I1  at most one start for an attempt, none without an order, no two attempts of a job and no two exclusive holders
//       of a device at the same time
//   I2  a job that was accepted ends, once and for good; a result is the same each time that it is told, and what was
//       acknowledged is what users see
//   I3  the end that users see is the one that the kernel saw; what is not known is LOST, and that only after
//       something took the truth
//   I4  what was started has ended, and nothing of it is left
//   I5  the output that is kept is, byte for byte, what the job wrote and its result says
import type { JobResult } from '../../src/protocol/result.ts';
import type { Fact } from './history.ts';

export interface Violation {
  readonly invariant: 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I12';
  readonly what: string;
}

type Of<K extends Fact['kind']> = Extract<Fact, { kind: K }>;
type Say = (invariant: Violation['invariant'], what: string) => void;

interface Facts {
  readonly all: readonly Fact[];
  of<K extends Fact['kind']>(kind: K): readonly Of<K>[];
}

const nameOf = ({ jobId, epoch }: { jobId: string; epoch: number }): string => `${jobId}.${epoch}`;

function groupBy<T>(list: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of list) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** Keys in order, so that two texts are equal exactly when their values are. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** Every way in which the history breaks an invariant; none for a good one. It must end with the fact `rest`. */
export function checkHistory(history: readonly Fact[]): readonly Violation[] {
  const facts: Facts = {
    all: history,
    of: <K extends Fact['kind']>(kind: K) => history.filter((fact): fact is Of<K> => fact.kind === kind),
  };
  const violations: Violation[] = [];
  const say: Say = (invariant, what) => void violations.push({ invariant, what });
  if (facts.of('rest').length === 0) say('I2', 'it never came to rest');
  checkStarts(facts, say);
  checkResults(facts, say);
  checkTruth(facts, say);
  checkResidue(facts, say);
  checkOutput(facts, say);
  return violations;
}

function checkStarts(facts: Facts, say: Say): void {
  for (const [name, starts] of groupBy(facts.of('start'), nameOf))
    if (starts.length > 1) say('I1', `${name} was started ${starts.length} times`);
  for (const [name, orders] of groupBy(facts.of('orderSent'), nameOf)) {
    const nodes = new Set(orders.map(({ node }) => node));
    if (nodes.size > 1) say('I1', `${name} was ordered to ${[...nodes].join(' and ')}`);
  }
  const ordered = new Set<string>();
  /** Live attempts, by their name. */
  const live = new Map<string, Of<'start'>>();
  for (const fact of facts.all) {
    if (fact.kind === 'orderSent') ordered.add(`${nameOf(fact)} ${fact.node}`);
    if (fact.kind === 'exit') live.delete(nameOf(fact));
    if (fact.kind !== 'start') continue;
    const name = nameOf(fact);
    if (!ordered.has(`${name} ${fact.node}`))
      say('I1', `${name} was started on ${fact.node} without an order`);
    for (const [other, held] of live) {
      if (held.jobId === fact.jobId) say('I1', `${name} was started while ${other} ran`);
      const device =
        held.node === fact.node ? held.devices.find((one) => fact.devices.includes(one)) : undefined;
      if (device !== undefined) say('I1', `${name} and ${other} hold ${device} of ${fact.node} at once`);
    }
    live.set(name, fact);
  }
}

function checkResults(facts: Facts, say: Say): void {
  checkTold(facts, say);
  for (const [name, all] of groupBy(facts.of('resultAcknowledged'), nameOf))
    if (new Set(all.map(({ result }) => canonical(result))).size > 1)
      say('I2', `${name}: different results were acknowledged`);
  /** Ends as users see them; a store that was lost takes its own with it. */
  let finals = new Map<string, Of<'final'>>();
  const ended = new Set<string>();
  for (const fact of facts.all) {
    if (fact.kind === 'storeLost') finals = new Map();
    if (fact.kind !== 'final') continue;
    const { jobId, epoch, state, result } = fact;
    const before = finals.get(jobId);
    if (before !== undefined && endOf(before) !== endOf(fact))
      say('I2', `${jobId}: its end changed: ${endOf(before)} | ${endOf(fact)}`);
    if (result !== null && (result.state !== state || result.epoch !== epoch || result.jobId !== jobId))
      say('I2', `${jobId}: the result is not that of its end`);
    finals.set(jobId, fact);
    ended.add(jobId);
  }
  for (const jobId of new Set(facts.of('submitted').map((fact) => fact.jobId)))
    if (!ended.has(jobId) && !mayBeForgotten(facts, jobId))
      say('I2', `${jobId} was accepted and never ended`);
  for (const { jobId, epoch, result } of facts.of('resultAcknowledged')) {
    const last = finals.get(jobId);
    // Where the scheduler had given it up before its node could tell, that is judged as truth.
    if (last?.epoch !== epoch || last.result === null || last.result.state === 'LOST') continue;
    if (canonical(last.result) !== canonical(result))
      say('I2', `${jobId}.${epoch}: what was acknowledged is not what users see`);
  }
}

const endOf = ({ epoch, state, result }: Of<'final'>): string => canonical({ epoch, state, result });

/** Every telling is the same, but for what was told from memory while the disk took nothing. */
function checkTold(facts: Facts, say: Say): void {
  const refusing = new Set<string>();
  const told = new Map<string, string>();
  for (const fact of facts.all) {
    if (fact.kind === 'diskRefuses') {
      if (fact.refuses) refusing.add(fact.node);
      else refusing.delete(fact.node);
    }
    if (fact.kind !== 'resultTold') continue;
    const { result, node } = fact;
    const name = nameOf(fact);
    if (nameOf(result) !== name || result.nodeId !== node)
      say('I2', `${name}: a result of another attempt was told`);
    const text = canonical(result);
    const before = told.get(name);
    if (before !== undefined && before !== text) say('I2', `${name}: different results were told`);
    if (!refusing.has(node)) told.set(name, text);
  }
}

/** True when the store was lost while no node held the job. */
function mayBeForgotten(facts: Facts, jobId: string): boolean {
  const held = new Set<number>();
  for (const fact of facts.all) {
    if (fact.kind === 'storeLost' && held.size === 0) return true;
    if (!('jobId' in fact) || fact.jobId !== jobId) continue;
    if (fact.kind === 'start') held.add(fact.epoch);
    if (fact.kind === 'resultAcknowledged') held.delete(fact.epoch);
  }
  return false;
}

function checkTruth(facts: Facts, say: Say): void {
  const exits = new Map(facts.of('exit').map((exit) => [nameOf(exit), exit]));
  const starts = new Map(facts.of('start').map((start) => [nameOf(start), start]));
  const cancelled = new Set(facts.of('cancelAsked').map(({ jobId }) => jobId));
  const failed = new Set(facts.of('deviceFailed').map(({ node, device }) => `${node} ${device}`));
  const losses = facts.of('truthLost');
  const mayBeLost = (jobId: string, epoch: number, node: string): boolean =>
    losses.some(
      (loss) => loss.node === node && (loss.jobId === null || (loss.jobId === jobId && loss.epoch === epoch)),
    );

  function checkEnd(result: JobResult, atMs: number): void {
    const name = nameOf(result);
    const exit = exits.get(name);
    const start = starts.get(name);
    const { state, endKind } = result;
    const wrong = (why: string): void =>
      say('I3', `${name} is ${state} (${endKind}: ${result.cause}), but ${why}`);
    if (state === 'LOST') {
      if (result.exitCode !== null || result.signal !== null) wrong('an unknown end has a code');
      // A lease that is over needs no other witness: the job must have ended before the scheduler says so.
      if (endKind === 'disconnected') {
        if (start !== undefined && (exit === undefined || exit.atMs > atMs)) wrong('it still ran');
      } else if (!mayBeLost(result.jobId, result.epoch, result.nodeId)) wrong('nothing took the truth');
      return;
    }
    if (state === 'FAILED_TO_START' || (state === 'CANCELLED' && result.startedAtMs === null)) {
      if (start !== undefined) wrong('it was started');
      if (state === 'CANCELLED' && endKind === 'stopped' && !cancelled.has(result.jobId))
        wrong('nobody asked for it');
      return;
    }
    if (exit === undefined) {
      wrong(start === undefined ? 'it was never started' : 'it has not ended');
      return;
    }
    if (result.exitCode !== exit.exitCode || result.signal !== exit.signal)
      wrong(`the kernel saw code ${exit.exitCode}, signal ${exit.signal}`);
    if (exit.outOfMemory && result.outOfMemory === null) wrong('the kernel killed for memory');
    if (state === 'OUT_OF_MEMORY' && !exit.outOfMemory) wrong('the kernel killed nothing for memory');
    if (state === 'COMPLETED' && (exit.exitCode !== 0 || exit.stopped !== null))
      wrong('it did not end well by itself');
    if (state === 'TIMEOUT' && exit.stopped !== 'timeLimit') wrong('its time limit did not stop it');
    if (exit.stopped === 'timeLimit' && state !== 'TIMEOUT') wrong('its time limit stopped it');
    if (endKind === 'disconnected' && exit.stopped !== 'lease') wrong('no lease of it ran out');
    if (exit.stopped === 'lease' && endKind !== 'disconnected') wrong('its lease ran out');
    if (
      state === 'CANCELLED' &&
      endKind === 'stopped' &&
      !(exit.stopped === 'stop' && cancelled.has(result.jobId))
    )
      wrong('nobody stopped it');
    if (
      endKind === 'deviceFault' &&
      !(start?.devices ?? []).some((device) => failed.has(`${start?.node} ${device}`))
    )
      wrong('no device of it failed');
  }

  for (const { state, result, jobId, atMs } of facts.of('final')) {
    if (result !== null) checkEnd(result, atMs);
    else if (state !== 'CANCELLED') say('I3', `${jobId} is ${state} without a result`);
  }
  for (const { result, atMs } of facts.of('resultTold')) checkEnd(result, atMs);
}

function checkResidue(facts: Facts, say: Say): void {
  const exits = new Set(facts.of('exit').map(nameOf));
  for (const start of facts.of('start')) if (!exits.has(nameOf(start))) say('I4', `${nameOf(start)} runs on`);
  for (const { what, node } of facts.of('residue'))
    say('I4', `${what} was left${node === null ? '' : ` on ${node}`}`);
}

function checkOutput(facts: Facts, say: Say): void {
  const exits = new Map(facts.of('exit').map((exit) => [nameOf(exit), exit]));
  const stored = groupBy(facts.of('stored'), nameOf);
  for (const fact of facts.of('stored'))
    if (fact.digest !== fact.expected)
      say('I5', `${nameOf(fact)}: ${fact.stream} at the scheduler is not what the job wrote`);
  for (const { result } of facts.of('final')) {
    if (result === null) continue;
    const name = nameOf(result);
    for (const stream of ['stdout', 'stderr'] as const) {
      const says = stream === 'stdout' ? result.stdoutBytes : result.stderrBytes;
      const exit = exits.get(name)?.[stream];
      const has = stored.get(name)?.find((fact) => fact.stream === stream);
      if (has !== undefined && has.bytes !== says)
        say('I5', `${name}: ${says} bytes of ${stream} by its result, ${has.bytes} at the scheduler`);
      if (exit !== undefined && result.state !== 'LOST' && exit.bytes !== says)
        say('I5', `${name}: ${says} bytes of ${stream} by its result, ${exit.bytes} were kept on the node`);
    }
  }
}
