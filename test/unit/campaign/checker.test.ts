import { describe, expect, test } from 'vitest';
import type { JobResult } from '../../../src/protocol/result.ts';
import { checkHistory } from '../../campaign/checker.ts';
import type { Fact, FactBody } from '../../campaign/history.ts';
import { fakeResult } from '../../fakes/agent.ts';

const at = { jobId: 'job-1', epoch: 1, node: 'node-a' };
const stream = (bytes = 0) => ({ bytes, digest: `of ${bytes}` });
const resultOf = (change: Partial<JobResult> = {}): JobResult =>
  fakeResult('node-a', 'job-1', {
    state: 'FAILED',
    endKind: 'exited',
    exitCode: 3,
    startedAtMs: 1,
    ...change,
  });

const submitted: FactBody = { kind: 'submitted', jobId: 'job-1' };
const orderSent: FactBody = { kind: 'orderSent', ...at };
const start: Extract<FactBody, { kind: 'start' }> = { kind: 'start', devices: [], ...at };
const exit: Extract<FactBody, { kind: 'exit' }> = {
  kind: 'exit',
  ...at,
  exitCode: 3,
  signal: null,
  outOfMemory: false,
  stopped: null,
  stdout: stream(4),
  stderr: stream(),
};
const told = (result = resultOf({ stdoutBytes: 4 })): FactBody => ({ kind: 'resultTold', ...at, result });
const acknowledge = (result = resultOf({ stdoutBytes: 4 })): FactBody => ({
  kind: 'resultAcknowledged',
  ...at,
  result,
});
const acknowledged = acknowledge();
const final = (
  result: JobResult | null = resultOf({ stdoutBytes: 4 }),
  state = result?.state ?? 'CANCELLED',
): FactBody => ({
  kind: 'final',
  jobId: 'job-1',
  epoch: result?.epoch ?? 0,
  state,
  result,
});
const stored = (bytes = 4, digest = 'right'): FactBody => ({
  kind: 'stored',
  jobId: 'job-1',
  epoch: 1,
  stream: 'stdout',
  bytes,
  digest,
  expected: 'right',
});
const rest: FactBody = { kind: 'rest' };
const cancelAsked: FactBody = { kind: 'cancelAsked', jobId: 'job-1', by: 'alice' };
const truthLost: FactBody = { kind: 'truthLost', ...at, why: 'its shim was killed' };

function check(...bodies: readonly FactBody[]): string[] {
  const history = bodies.map((body, order): Fact => ({ atMs: order, who: 'test', ...body }));
  return checkHistory(history).map(({ invariant, what }) => `${invariant} ${what}`);
}

const good = [submitted, orderSent, start, exit, told(), acknowledged, final(), rest, stored()];
const without = (fact: FactBody): FactBody[] => good.filter((other) => other !== fact);

describe('a history passes', () => {
  test('when all went well', () => {
    expect(check(...good)).toEqual([]);
  });
  test('when the result is told again, the same', () => {
    expect(
      check(
        submitted,
        orderSent,
        orderSent,
        start,
        exit,
        told(),
        told(),
        acknowledged,
        final(),
        final(),
        rest,
        stored(),
      ),
    ).toEqual([]);
  });
  test('when a job was cancelled while it waited', () => {
    expect(check(submitted, cancelAsked, final(null), rest)).toEqual([]);
  });
  test('when the truth was taken and the end is LOST', () => {
    const lost = resultOf({ state: 'LOST', endKind: 'lost', exitCode: null });
    expect(
      check(
        submitted,
        orderSent,
        start,
        truthLost,
        { ...exit, stdout: stream() },
        told(lost),
        acknowledge(lost),
        final(lost),
        rest,
      ),
    ).toEqual([]);
  });
  test('when a second attempt follows the end of the first', () => {
    const second = { ...at, epoch: 2 };
    const result = resultOf({ epoch: 2, stdoutBytes: 4 });
    expect(
      check(
        submitted,
        orderSent,
        start,
        exit,
        told(),
        { ...orderSent, ...second },
        { ...start, ...second },
        { ...exit, ...second },
        { kind: 'resultTold', ...second, result },
        { kind: 'resultAcknowledged', ...second, result },
        final(result),
        rest,
      ),
    ).toEqual([]);
  });
});

const refuses = (refusing: boolean): FactBody => ({ kind: 'diskRefuses', node: 'node-a', refuses: refusing });
const other = resultOf({ stdoutBytes: 4, endedAtMs: 77 });

describe('a history passes that has seen worse', () => {
  test('a result told from memory while the disk took nothing, and otherwise after a crash', () => {
    expect(
      check(
        submitted,
        orderSent,
        start,
        exit,
        refuses(true),
        told(other),
        refuses(false),
        told(),
        acknowledged,
        final(),
        rest,
      ),
    ).toEqual([]);
  });
  test('the ends that a lost store knew, and jobs that only it knew', () => {
    const gone: FactBody = { kind: 'submitted', jobId: 'job-2' };
    expect(
      check(
        submitted,
        gone,
        orderSent,
        start,
        exit,
        told(),
        final(other),
        { kind: 'storeLost' },
        told(),
        acknowledged,
        final(),
        rest,
      ),
    ).toEqual([]);
  });
});

describe('a history is refused', () => {
  const lost = resultOf({ state: 'LOST', endKind: 'lost', exitCode: null, stdoutBytes: 4 });
  const completed = resultOf({ state: 'COMPLETED', exitCode: 0, stdoutBytes: 4 });
  const ends = (result: JobResult, over: Partial<typeof exit> = {}, ...more: FactBody[]) => [
    submitted,
    orderSent,
    start,
    ...more,
    { ...exit, ...over },
    told(result),
    acknowledge(result),
    final(result),
    rest,
    stored(),
  ];
  test.each<[string, string, readonly FactBody[]]>([
    ['I1', 'was started 2 times', [...good, start, exit]],
    ['I1', 'was started on node-a without an order', without(orderSent)],
    [
      'I1',
      'was started on node-b without an order',
      [...good, { ...start, epoch: 2, node: 'node-b' }, { ...exit, epoch: 2 }],
    ],
    ['I1', 'was ordered to node-a and node-b', [...good, { ...orderSent, node: 'node-b' }]],
    [
      'I1',
      'job-1.2 was started while job-1.1 ran',
      [
        submitted,
        orderSent,
        start,
        { ...orderSent, epoch: 2 },
        { ...start, epoch: 2 },
        exit,
        { ...exit, epoch: 2 },
        final(),
        rest,
      ],
    ],
    [
      'I1',
      'hold GPU-0 of node-a at once',
      [
        orderSent,
        { ...start, devices: ['GPU-0'] },
        { ...orderSent, jobId: 'job-2' },
        { ...start, jobId: 'job-2', devices: ['GPU-1', 'GPU-0'] },
        exit,
        { ...exit, jobId: 'job-2' },
        rest,
      ],
    ],
    ['I2', 'it never came to rest', good.filter(({ kind }) => kind !== 'rest')],
    ['I2', 'job-1 was accepted and never ended', good.filter(({ kind }) => kind !== 'final')],
    ['I2', 'different results were told', [...good, told(resultOf({ stdoutBytes: 4, endedAtMs: 77 }))]],
    ['I2', 'a result of another attempt was told', [...good, told(resultOf({ epoch: 2 }))]],
    ['I2', 'its end changed', [...good, final(resultOf({ stdoutBytes: 4, endedAtMs: 77 }))]],
    ['I2', 'its end changed', [...good, final(null, 'CANCELLED')]],
    [
      'I2',
      'different results were acknowledged',
      [...good, acknowledge(resultOf({ stdoutBytes: 4, endedAtMs: 77 }))],
    ],
    [
      'I2',
      'what was acknowledged is not what users see',
      [
        submitted,
        orderSent,
        start,
        exit,
        told(resultOf({ endedAtMs: 77, stdoutBytes: 4 })),
        acknowledge(resultOf({ endedAtMs: 77, stdoutBytes: 4 })),
        final(),
        rest,
      ],
    ],
    ['I3', 'the kernel saw code 3', ends(resultOf({ exitCode: 4, stdoutBytes: 4 }))],
    ['I3', 'the kernel saw code null, signal 9', ends(completed, { exitCode: null, signal: 9 })],
    ['I3', 'it did not end well by itself', ends(completed, { exitCode: 0, stopped: 'stop' })],
    ['I3', 'nothing took the truth', ends(lost)],
    ['I3', 'an unknown end has a code', ends({ ...lost, exitCode: 0 }, {}, truthLost)],
    ['I3', 'it was never started', [submitted, orderSent, told(), acknowledged, final(), rest]],
    [
      'I3',
      'it was started',
      ends(resultOf({ state: 'FAILED_TO_START', endKind: 'failedToStart', exitCode: null, stdoutBytes: 4 })),
    ],
    [
      'I3',
      'nobody asked for it',
      [
        submitted,
        orderSent,
        final(resultOf({ state: 'CANCELLED', endKind: 'stopped', exitCode: null, startedAtMs: null })),
        rest,
      ],
    ],
    [
      'I3',
      'nobody stopped it',
      ends(resultOf({ state: 'CANCELLED', endKind: 'stopped', stdoutBytes: 4 }), {}, cancelAsked),
    ],
    [
      'I3',
      'the kernel killed for memory',
      ends(resultOf({ exitCode: null, signal: 9, stdoutBytes: 4 }), {
        exitCode: null,
        signal: 9,
        outOfMemory: true,
      }),
    ],
    [
      'I3',
      'the kernel killed nothing for memory',
      ends(resultOf({ state: 'OUT_OF_MEMORY', stdoutBytes: 4 })),
    ],
    ['I3', 'its time limit did not stop it', ends(resultOf({ state: 'TIMEOUT', stdoutBytes: 4 }))],
    ['I3', 'its time limit stopped it', ends(resultOf({ stdoutBytes: 4 }), { stopped: 'timeLimit' })],
    ['I3', 'no lease of it ran out', ends(resultOf({ endKind: 'disconnected', stdoutBytes: 4 }))],
    ['I3', 'its lease ran out', ends(resultOf({ stdoutBytes: 4 }), { stopped: 'lease' })],
    ['I3', 'no device of it failed', ends(resultOf({ endKind: 'deviceFault', stdoutBytes: 4 }))],
    ['I3', 'is FAILED without a result', [submitted, final(null, 'FAILED'), rest]],
    ['I4', 'job-1.1 runs on', without(exit)],
    [
      'I4',
      'its folder was left on node-a',
      [...good, { kind: 'residue', what: 'its folder', node: 'node-a' }],
    ],
    ['I5', 'is not what the job wrote', [...good.slice(0, -1), stored(4, 'wrong')]],
    ['I5', '4 bytes of stdout by its result, 3 at the scheduler', [...good.slice(0, -1), stored(3)]],
    [
      'I5',
      '4 bytes of stdout by its result, 9 were kept',
      ends(resultOf({ stdoutBytes: 4 }), { stdout: stream(9) }),
    ],
  ])('%s: %s', (invariant, what, bodies) => {
    const found = check(...bodies);
    expect(
      found.some((one) => one.startsWith(invariant) && one.includes(what)),
      found.join('\n'),
    ).toBe(true);
  });
});
