// How a job goes on, as flags: arrays, what it waits for, retries, the signal before its time limit, what happens when
// its node loses the scheduler, and how long its workspace stays.
import type { Command } from 'commander';
import { parseDurationMs, parseInteger, ValueProblem } from '../config/value.ts';
import { checkpointSignals, type JobSpecInput, retryCauses } from '../protocol/spec.ts';
import type { Client } from './client.ts';
import { readGivenFlag, usageFault } from './usage.ts';

const DAY_MS = 24 * 3_600_000;
const KEPT_MS = DAY_MS;
const conditions = ['completed', 'failed', 'ended'] as const;

export interface PolicyFlags {
  readonly array?: string;
  readonly after?: readonly string[];
  readonly retry?: string;
  readonly retryDelay?: string;
  readonly checkpoint?: string;
  readonly disconnect?: string;
  readonly keepWorkspace?: string;
}

export function addPolicyOptions(command: Command): Command {
  return command
    .option('--array <A-B[%N]>', 'one job for each index, at most N of them at a time: 0-99, 1-500%20')
    .option(
      '--after <JOB[:HOW]>',
      'start when that job or array has completed, failed or ended (default completed; repeatable)',
      (value: string, before: readonly string[] = []) => [...before, value],
    )
    .option(
      '--retry <N[:CAUSE,…]>',
      `start again up to N times after these ends (default device-fault,disconnected,lost): ${[...causes.keys()].join(', ')}`,
    )
    .option(
      '--retry-delay <DURATION>',
      'wait before the first retry, doubled for each further one (default 1s)',
    )
    .option('--checkpoint <SIGNAL@TIME>', 'signal to the program so long before its time limit: SIGUSR1@60s')
    .option(
      '--disconnect <POLICY>',
      'when its node has lost the scheduler: keep, or stop[:DURATION] to stop it after that time (default keep)',
    )
    .option(
      '--keep-workspace <WHEN[:TIME]>',
      'keep its folder on the node after the end: failed:1h, always:2d (default never)',
    );
}

type PolicyInput = Pick<JobSpecInput, 'array' | 'retry' | 'checkpoint' | 'disconnect' | 'keepWorkspace'>;

/** What the flags ask for, but for dependencies. Throws usage faults that name the flag. */
export function readPolicies(flags: PolicyFlags): PolicyInput {
  const array = readGivenFlag('--array', flags.array, parseArray);
  const delayMs = readGivenFlag('--retry-delay', flags.retryDelay, (text) =>
    parseDurationMs(text, { min: 0, max: 3_600_000 }, false),
  );
  const retry = readGivenFlag('--retry', flags.retry, parseRetry);
  if (delayMs !== undefined && retry === undefined)
    throw usageFault('--retry-delay: there are no retries', 'say how many with --retry N');
  const checkpoint = readGivenFlag('--checkpoint', flags.checkpoint, parseCheckpoint);
  const disconnect = readGivenFlag('--disconnect', flags.disconnect, parseDisconnect);
  const keepWorkspace = readGivenFlag('--keep-workspace', flags.keepWorkspace, parseKeepWorkspace);
  return {
    ...(array === undefined ? {} : { array }),
    ...(retry === undefined ? {} : { retry: { ...retry, ...(delayMs === undefined ? {} : { delayMs }) } }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...(disconnect === undefined ? {} : { disconnect }),
    ...(keepWorkspace === undefined ? {} : { keepWorkspace }),
  };
}

function parseArray(text: string): NonNullable<JobSpecInput['array']> {
  const match = /^(\d{1,7})(?:-(\d{1,7}))?(?:%(\d{1,5}))?$/.exec(text);
  if (match === null || Number(match[3] ?? 1) < 1)
    throw new ValueProblem('not a range of indices', 'write for example 0-99, 7, or 1-500%20');
  const first = Number(match[1]);
  const maxRunning = match[3] === undefined ? null : Number(match[3]);
  return { first, last: Number(match[2] ?? first), maxRunning };
}

/** `outOfMemory` is written `out-of-memory`. */
const causes = new Map(
  retryCauses.map((cause) => [cause.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), cause]),
);

function parseRetry(text: string): NonNullable<JobSpecInput['retry']> {
  const [count = '', ...rest] = text.split(':');
  const times = parseInteger(count, { min: 0, max: 100 }, '3');
  if (rest.length === 0) return { times };
  const on = rest
    .join(':')
    .split(',')
    .map((word) => causes.get(word));
  const known = on.filter((cause) => cause !== undefined);
  if (known.length < on.length)
    throw new ValueProblem('not N or N:CAUSE,…', `write causes from ${[...causes.keys()].join(', ')}`);
  return { times, on: [...new Set(known)] };
}

function parseCheckpoint(text: string): NonNullable<JobSpecInput['checkpoint']> {
  const [word = '', time, ...rest] = text.split('@');
  const name = word.toUpperCase();
  const signal = checkpointSignals.find((known) => known === name || known === `SIG${name}`);
  if (signal === undefined || time === undefined || rest.length > 0)
    throw new ValueProblem(
      'not SIGNAL@TIME',
      `write for example SIGUSR1@60s, the signal one of ${checkpointSignals.join(', ')}`,
    );
  return { signal, beforeMs: parseDurationMs(time, { min: 1, max: 366 * DAY_MS }, false) };
}

function parseDisconnect(text: string): NonNullable<JobSpecInput['disconnect']> {
  if (text === 'keep') return { policy: 'keep' };
  if (text === 'stop') return { policy: 'stop', afterMs: 0 };
  if (!text.startsWith('stop:')) throw new ValueProblem('not a policy', 'write keep, stop, or stop:5m');
  return { policy: 'stop', afterMs: parseDurationMs(text.slice(5), { min: 0, max: 7 * DAY_MS }, false) };
}

function parseKeepWorkspace(text: string): NonNullable<JobSpecInput['keepWorkspace']> {
  const [word = '', ...rest] = text.split(':');
  const when = (['never', 'failed', 'always'] as const).find((known) => known === word);
  if (when === undefined) throw new ValueProblem('not WHEN[:TIME]', 'write never, failed:1h or always:2d');
  if (when === 'never') return { when, forMs: 0 };
  if (rest.length === 0) return { when, forMs: KEPT_MS };
  return { when, forMs: parseDurationMs(rest.join(':'), { min: 0, max: 30 * DAY_MS }, false) };
}

/** The dependencies that `--after` asks for, by whole ids: starts of ids are looked up. */
export async function readDependencies(
  entries: readonly string[],
  client: Client,
): Promise<NonNullable<JobSpecInput['dependencies']>> {
  const found: NonNullable<JobSpecInput['dependencies']> = [];
  for (const entry of entries) {
    const [name = '', word = 'completed', ...rest] = entry.split(':');
    const condition = conditions.find((known) => known === word);
    if (condition === undefined || rest.length > 0)
      throw usageFault(
        `--after: ${JSON.stringify(entry)} is not JOB or JOB:HOW`,
        `write for example job-7k3m:failed, with one of ${conditions.join(', ')}`,
      );
    found.push({ job: (await client.find(name)).id, condition });
  }
  return found;
}
