import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { noContainment, type StartRequest } from '../../../../src/job/executor/executor.ts';
import { encodeSpec, parseEnd, parseStarted } from '../../../../src/job/executor/shim-files.ts';
import { parseShimLine } from '../../../../src/job/executor/shim-link.ts';
import { startOrder } from '../samples.ts';

const end = `flopd-end=1
kind=exited
exitCode=7
signal=-1
stopped=stop
killed=1
failedStep=
errno=0
startedAtMs=1000
endedAtMs=2500
durationUs=1500500
userUs=250000
systemUs=500000
maxResidentBytes=4096
stdoutBytes=3
stderrBytes=4
lostOutputBytes=0
outputErrno=0
survivors=0
detail=
complete=1
`;

describe('end record', () => {
  test('is read into base units', () => {
    expect(parseEnd(end)).toEqual({
      kind: 'exited',
      exitCode: 7,
      signal: null,
      stopped: 'stop',
      killed: true,
      failedStep: null,
      errno: null,
      startedAtMs: 1000,
      endedAtMs: 2500,
      durationMs: 1500.5,
      cpuUserSeconds: 0.25,
      cpuSystemSeconds: 0.5,
      maxResidentBytes: 4096,
      memoryPeakBytes: null,
      processesPeak: null,
      outOfMemory: null,
      refusedLimits: [],
      gaps: [],
      survivors: null,
      checkpointAtMs: null,
      stdoutBytes: 3,
      stderrBytes: 4,
      detail: null,
    });
  });

  test('cut off anywhere, it is absent', () => {
    for (let cut = 0; cut < end.length; cut += 1) expect(parseEnd(end.slice(0, cut))).toBeNull();
  });

  test.each([
    ['kind=exited', 'kind=vanished'],
    ['exitCode=7', 'exitCode=-1'],
    ['exitCode=7', 'exitCode=seven'],
    ['kind=exited', 'kind=signalled'],
    ['endedAtMs=2500', 'endedAtMs='],
    ['stdoutBytes=3', 'x=3'],
    ['flopd-end=1', 'flopd-end=2'],
  ])('with %s changed to %s it contradicts itself and is absent', (from, to) => {
    expect(parseEnd(end.replace(from, to))).toBeNull();
  });

  test('tells in words what was not stored and who is left', () => {
    const text = end
      .replace('lostOutputBytes=0', 'lostOutputBytes=9')
      .replace('outputErrno=0', 'outputErrno=28')
      .replace('survivors=0', 'survivors=2');
    expect(parseEnd(text)?.detail).toBe(
      '2 of its processes could not be ended; its last 9 bytes of output were not stored (ENOSPC)',
    );
  });

  test('a failed start used nothing and names its error', () => {
    const text = end
      .replace('kind=exited', 'kind=failedToStart')
      .replace('failedStep=', 'failedStep=exec')
      .replace('errno=0', 'errno=8');
    expect(parseEnd(text)).toMatchObject({
      failedStep: 'exec',
      errno: 'ENOEXEC',
      exitCode: null,
      cpuUserSeconds: null,
      maxResidentBytes: null,
    });
  });
});

test('an end record tells what the kernel counted, refused and what is missing', () => {
  const more = [
    'memoryPeakBytes=4096',
    'processesPeak=3',
    'oomKills=2',
    'oomAtMs=1500',
    'checkpointAtMs=1200',
    'gap=stdout quota 100 200',
    'gap=stderr disk 5 9',
    'gap=stdin quota 1 2',
    'refused=memory.max 13',
    'refused=cgroup cpu,cpuacct 30',
    'detail=',
  ].join('\n');
  expect(parseEnd(end.replace('detail=', more).replace('stopped=stop', 'stopped=lease'))).toMatchObject({
    stopped: 'lease',
    memoryPeakBytes: 4096,
    processesPeak: 3,
    outOfMemory: { kills: 2, firstAtMs: 1500 },
    checkpointAtMs: 1200,
    refusedLimits: ['memory.max: EACCES', 'cgroup cpu,cpuacct: EROFS'],
    gaps: [
      { stream: 'stdout', fromByte: 100, toByte: 200, reason: 'quota' },
      { stream: 'stderr', fromByte: 5, toByte: 9, reason: 'disk' },
    ],
    detail: 'its last 4 bytes of output were not stored (EIO)',
  });
});

test('an end record names the shim that waits for what it could not end', () => {
  const text = end.replace('survivors=0', 'survivors=2\nshimPid=42\nshimStartTime=7');
  expect(parseEnd(text)?.survivors).toEqual({ count: 2, shimPid: 42, shimStartTicks: 7 });
  expect(parseEnd(end.replace('survivors=0', 'survivors=2'))?.survivors).toBeNull();
});

test('a started record without its last line is absent', () => {
  const text = 'flopd-started=1\npid=42\nstartTime=7\nbootId=b\nshimPid=41\nwallMs=1000\ncomplete=1\n';
  expect(parseStarted(text)).toEqual({ pid: 42, bootId: 'b', startedAtMs: 1000 });
  for (let cut = 0; cut < text.length; cut += 1) expect(parseStarted(text.slice(0, cut))).toBeNull();
});

const request = (change: Partial<StartRequest> = {}): StartRequest => ({
  jobId: 'job-1',
  epoch: 1,
  spec: startOrder('job-1', 1, { command: ['x'], timeLimitMs: 5 }).spec,
  folder: '/f',
  environment: { A: 'b' },
  workingDirectory: '/w',
  deviceNodes: [],
  bootId: 'b',
  containment: noContainment,
  outputQuotaBytes: null,
  leaseMs: null,
  after: [],
  client: null,
  ...change,
});

/** The sections of an order, by the rule that a reader follows: name, count, values. */
function sectionsOf(order: Buffer): [string, string[]][] {
  const fields = order.toString().split('\0');
  const sections: [string, string[]][] = [];
  expect([fields[0], fields[1], fields.at(-2), fields.at(-1)]).toEqual(['flopd-spec', '2', 'end', '']);
  for (let at = 2; at < fields.length - 2; ) {
    const count = Number(fields[at + 1]);
    sections.push([fields[at] ?? '', fields.slice(at + 2, at + 2 + count)]);
    at += 2 + count;
  }
  return sections;
}

test('an order holds its fields between NULs, whatever is in them', () => {
  const noNul = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', ''));
  fc.assert(
    fc.property(fc.array(noNul, { minLength: 1, maxLength: 5 }), noNul, (command, value) => {
      const { spec } = startOrder('job-1', 1, { command: ['x', ...command], timeLimitMs: 5 });
      const order = encodeSpec('job-1.1', '../announce', request({ spec, environment: { A: value } }));
      const wellFormed = (text: string) => Buffer.from(text).toString();
      expect(sectionsOf(order)).toEqual([
        ['name', ['job-1.1']],
        ['announce', ['../announce']],
        ['cwd', ['/w']],
        ['argv', spec.command.map(wellFormed)],
        ['env', [`A=${wellFormed(value)}`]],
        ['grace-ms', ['10000']],
        ['time-limit-ms', ['5']],
        ['rlimits', []],
      ]);
    }),
    { numRuns: 40 },
  );
});

test('an order tells walls, limits, lease, checkpoint and what comes after', () => {
  const { spec } = startOrder('job-1', 1, {
    command: ['x'],
    timeLimitMs: 5000,
    checkpoint: { signal: 'SIGUSR1', beforeMs: 1000 },
  });
  const order = request({
    spec,
    outputQuotaBytes: 4096,
    leaseMs: 700,
    containment: {
      ...noContainment,
      user: { uid: 7, gid: 8, groups: [44, 109] },
      wrap: ['/usr/bin/bwrap', '--'],
      filtered: true,
      cgroups: [
        {
          folder: '/sys/fs/cgroup/f',
          version: 2,
          controllers: ['memory', 'pids'],
          settings: [
            ['memory.max', '5'],
            ['pids.max', '6'],
          ],
        },
      ],
      rlimits: { NOFILE: 10, CORE: 0 },
    },
    after: [{ command: ['/bin/echo', 'a'], outputFile: null, timeoutMs: 9, environment: { B: 'c' } }],
  });
  const told = sectionsOf(encodeSpec('n', '', order));
  expect(told.slice(7)).toEqual([
    ['output-quota', ['4096']],
    ['lease-ms', ['700']],
    ['checkpoint', ['10', '1000']],
    ['user', ['7', '8', '44', '109']],
    ['wrap', ['/usr/bin/bwrap', '--']],
    ['filter', ['1']],
    ['cgroup', ['/sys/fs/cgroup/f', '2', 'memory,pids', 'memory.max', '5', 'pids.max', '6']],
    ['rlimits', ['NOFILE', '10', 'CORE', '0']],
    ['after', ['9', '', '2', '/bin/echo', 'a', 'B=c']],
  ]);
});

test.each([
  ['hello job-1.1 42', { kind: 'hello', name: 'job-1.1', shimPid: 42 }],
  ['started pid=7 wall=1000', { kind: 'started', pid: 7, startedAtMs: 1000 }],
  ['output stdout=1 stderr=2', { kind: 'output', stdoutBytes: 1, stderrBytes: 2 }],
  ['ended', { kind: 'ended' }],
  ['refused job-1.1 11', { kind: 'refused', name: 'job-1.1', errno: 11 }],
  ['output stdout=-1 stderr=2', null],
  ['started pid=7', null],
  ['paused', null],
  ['', null],
])('the line "%s" is understood, or left alone', (text, line) => {
  expect(parseShimLine(text)).toEqual(line);
});

test('an order of a client says what stands before a command beside its job; that of a job says nothing', () => {
  const client = { beside: ['/bin/x', 'exec', 'name'], besideTerminal: ['/bin/x', 'exec', '--tty', 'name'] };
  const sections = new Map(sectionsOf(encodeSpec('job-1.1', '', request({ client }))));
  expect(sections.get('client')).toEqual(client.beside);
  expect(sections.get('client-terminal')).toEqual(client.besideTerminal);
  const names = sectionsOf(encodeSpec('job-1.1', '', request())).map(([name]) => name);
  expect(names.filter((name) => name.startsWith('client'))).toEqual([]);
});
