// How a container job ended: from what the shim knows of the runtime's client, what the first process of the
// container tells of the program, and what the runtime says of its container. The nearest witness counts:
//
//   a report of the first process      that, and nothing else: it is the kernel's own word
//   stopped by the shim, no report     the kill, which hit the first process too
//   the runtime says out of memory     the same, by the kernel
//   the program never ran              failed to start, with the client's words
//   the client was killed              lost: the program was ended because nobody could follow it any more
//   none of these                      what the runtime says of its container, else lost
//
// Pure: facts in, end out.
import { constants } from 'node:os';
import type { Report } from './container-order.ts';
import type { ProcessEnd } from './executor.ts';

const WORDS_CHARACTERS_MAX = 400;
const SIGNAL_BASE = 128;

/** What a runtime says of a container (`.State` of podman and docker). */
export interface Inspected {
  readonly running: boolean;
  readonly exitCode: number | null;
  readonly outOfMemory: boolean;
  readonly error: string;
}

export interface EndFacts {
  /** Of the client, by the shim. */
  readonly end: ProcessEnd;
  readonly runtime: string;
  readonly hasRun: boolean;
  readonly report: Report | null;
  /** Null when the runtime did not answer, or had no such container. */
  readonly inspected: Inspected | null;
  /** The runtime confirmed that the container is gone. */
  readonly removed: boolean;
  /** End of what the client wrote to standard error; all of it is its own where no program ran. */
  readonly words: string;
}

/** Null for text that no runtime writes. */
export function parseInspected(text: string): Inspected | null {
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof state !== 'object' || state === null || !('Running' in state)) return null;
  const of = state as Readonly<Record<string, unknown>>;
  return {
    running: of.Running === true,
    exitCode: typeof of.ExitCode === 'number' && of.ExitCode >= 0 ? of.ExitCode : null,
    outOfMemory: of.OOMKilled === true,
    error: typeof of.Error === 'string' ? of.Error : '',
  };
}

/** The last words of a client, without its prefixes, as a clause. */
export function clientWords(text: string): string {
  const lines = text
    .split('\n')
    .map((line) =>
      line
        .replace(/\p{Cc}/gu, ' ')
        .replace(/^\s*(?:Error(?: response from daemon)?|docker|podman): /i, '')
        .replace(/^Error response from daemon: /i, '')
        .trim(),
    )
    .filter((line) => line !== '' && !/^(?:See 'docker run --help'|Run 'docker run --help')/.test(line));
  const last = lines.at(-1) ?? '';
  return last.length > WORDS_CHARACTERS_MAX ? `${last.slice(0, WORDS_CHARACTERS_MAX)}…` : last;
}

const signalName = (signal: number): string =>
  Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;

const join = (...parts: readonly (string | null)[]): string | null =>
  parts.filter((part) => part !== null && part !== '').join('; ') || null;

export function decideContainerEnd(facts: EndFacts): ProcessEnd {
  const { end, removed, runtime } = facts;
  if (end.kind === 'failedToStart') return { ...end, ...clientFailure(facts) };
  const decided = decide(facts);
  const left = removed ? null : `its container could not be removed by ${runtime}`;
  return { ...decided, detail: join(decided.detail, left) };
}

function decide(facts: EndFacts): ProcessEnd {
  const { end, report, inspected, runtime } = facts;
  if (end.kind === 'lost') {
    const own = report === null ? null : `by then its program had ${ownEnd(report)}`;
    return { ...end, detail: join(end.detail, own) };
  }
  if (report !== null) return byReport(end, report);
  const killed: ProcessEnd = { ...unmeasured(end), kind: 'signalled', exitCode: null, signal: 9 };
  if (end.killed) return killed;
  if (inspected?.outOfMemory === true) return { ...killed, outOfMemory: { kills: 1, firstAtMs: null } };
  // It may have been asked before there was a program to ask; else the container's removal ended it: a client that is
  // told to stop before it passes signals on leaves that to be done.
  if (end.stopped !== null) return facts.hasRun ? { ...killed, killed: true } : { ...killed, signal: 15 };
  if (!facts.hasRun && end.kind === 'exited') return neverRan(facts);
  if (end.kind === 'signalled')
    return lost(
      facts,
      `its ${runtime} client was killed by ${signalName(end.signal ?? 0)}, and its container ended with it`,
    );
  if (inspected === null || inspected.running || inspected.exitCode === null)
    return lost(facts, `${runtime} lost sight of its container (${clientWords(facts.words)})`);
  const signal = inspected.exitCode - SIGNAL_BASE;
  if (signal >= 1 && signal <= 64)
    return { ...killed, signal, detail: 'its container was ended from outside' };
  return { ...unmeasured(end), exitCode: inspected.exitCode, detail: 'its usage could not be recorded' };
}

function ownEnd(report: Report): string {
  if (report.kind === 'exited') return `exited with code ${report.exitCode}`;
  return report.kind === 'signalled' ? `been killed by ${signalName(report.signal ?? 0)}` : 'failed to start';
}

function byReport(end: ProcessEnd, { survivors, ...report }: Report): ProcessEnd {
  if (report.kind === 'failedToStart')
    return { ...end, ...report, stopped: null, killed: false, startedAtMs: null, durationMs: null };
  const left = survivors ? 'some of its processes could not be ended' : null;
  return { ...end, ...report, detail: join(end.detail, left) };
}

/** What the shim measured is the client's, not the job's. */
function unmeasured(end: ProcessEnd): ProcessEnd {
  return { ...end, cpuUserSeconds: null, cpuSystemSeconds: null, maxResidentBytes: null };
}

function lost(facts: EndFacts, detail: string): ProcessEnd {
  const end = unmeasured(facts.end);
  return { ...end, kind: 'lost', exitCode: null, signal: null, detail: join(end.detail, detail) };
}

function neverRan({ end, inspected, words, runtime }: EndFacts): ProcessEnd {
  const said = clientWords(words) || clientWords(inspected?.error ?? '');
  const why =
    said === '' ? `${runtime} ended with code ${end.exitCode} and said nothing` : `${runtime}: ${said}`;
  return {
    ...unmeasured(end),
    kind: 'failedToStart',
    exitCode: null,
    signal: null,
    stopped: null,
    failedStep: 'container',
    errno: null,
    startedAtMs: null,
    durationMs: null,
    detail: why,
  };
}

/** The shim could not even run the client: then the step is the container's, whatever it was. */
function clientFailure({ end, runtime }: EndFacts): Partial<ProcessEnd> {
  if (end.failedStep !== 'exec' && end.failedStep !== 'interpreter') return {};
  return { failedStep: 'container', errno: null, detail: `${runtime} could not be run (${end.errno})` };
}
