// What every executor must do, over real processes. An executor's own test calls it with its way to be made.
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import type { JobSpecInput } from '../../../../src/protocol/spec.ts';
import {
  bootId,
  freshFolder,
  isAlive,
  processesOf,
  program,
  type RequestChange,
  record,
  requestIn,
  runIn,
  type SpecInput,
  until,
} from './harness.ts';

/** In what executors may differ. */
export interface ContractTraits {
  /** Fields of every specification. */
  readonly spec?: Partial<JobSpecInput>;
  /** The process that is told is not the program, which counts processes in a namespace of its own. */
  readonly ownPids?: boolean;
  /** A job may be stopped before there is a program to signal. */
  readonly slowStart?: boolean;
  /** Each start is slow: fewer of the same kind are tried. */
  readonly brief?: boolean;
  /** Jobs that are started at once. */
  readonly burst?: number;
  /** The program `noisy.mjs`, where there is no Node. */
  readonly noisy?: string;
}

export function executorContract(
  name: string,
  create: () => Executor,
  change?: RequestChange,
  traits: ContractTraits = {},
): void {
  const { ownPids = false, slowStart = false, burst = 100, brief = false } = traits;
  describe(`executor ${name}`, () => {
    let executor: Executor;
    let folder: string;
    beforeEach(() => {
      executor = create();
    });
    afterEach(() => executor.close());
    const completed = (input: SpecInput): SpecInput =>
      typeof input === 'function'
        ? (workspace) => ({ ...traits.spec, ...input(workspace) })
        : { ...traits.spec, ...input };
    const run = (input: SpecInput) => {
      folder = freshFolder();
      return runIn(executor, folder, completed(input), change);
    };
    const stored = (at: { request: { folder: string } }, stream: string) =>
      readFileSync(join(at.request.folder, stream));

    test.each(brief ? [0, 126, 137] : [0, 1, 7, 125, 126, 127, 137, 255])(
      'tells exit code %i as the kernel does',
      async (code) => {
        const job = run({ command: ['sh', '-c', `exit ${code}`] });
        const end = await job.ended;
        expect(end).toMatchObject({
          kind: 'exited',
          exitCode: code,
          signal: null,
          stopped: null,
          killed: false,
        });
        expect(end.durationMs).toBeGreaterThan(0);
        expect(end.maxResidentBytes).toBeGreaterThan(0);
        expect(job.history).toEqual(['started', 'ended']);
      },
    );

    test('names the process also of programs that have ended before their start is told', async () => {
      const jobs = Array.from({ length: burst }, () => run({ command: ['true'] }));
      for (const job of jobs) {
        await job.ended;
        expect(await job.started).toBeGreaterThan(0);
      }
    });

    test.each(brief ? [9, 64] : [1, 6, 9, 11, 15, 34, 64])(
      'tells signal %i as the kernel does',
      async (signal) => {
        const end = await run({ command: ['sh', '-c', `kill -${signal} $$`] }).ended;
        expect(end).toMatchObject({ kind: 'signalled', exitCode: null, signal, stopped: null });
      },
    );

    test('keeps both streams apart and byte for byte', async () => {
      const job = run({ command: ['sh', '-c', 'printf "hi\\0\\377\\n"; echo err >&2; exit 7'] });
      const end = await job.ended;
      expect(end).toMatchObject({ exitCode: 7, stdoutBytes: 5, stderrBytes: 4 });
      expect([...stored(job, 'stdout')]).toEqual([0x68, 0x69, 0, 0xff, 0x0a]);
      expect(stored(job, 'stderr').toString()).toBe('err\n');
      expect(job.history.at(-1)).toBe('ended');
      expect(job.history).toContain('output');
    });

    test('stores many MiB of binary output on each stream without losing a byte', async () => {
      const bytes = (brief ? 8 : 64) * 1024 * 1024;
      const noisy = traits.noisy === undefined ? [process.execPath, program('noisy.mjs')] : [traits.noisy];
      const job = run({ command: [...noisy, String(bytes)] });
      const end = await job.ended;
      expect(end).toMatchObject({ exitCode: 0, stdoutBytes: bytes, stderrBytes: bytes });
      const [out, err] = [stored(job, 'stdout'), stored(job, 'stderr')];
      let state = 1;
      let wrong = 0;
      for (let at = 0; at < bytes; at += 4) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        if (out.readUInt32LE(at) !== state || err.readUInt32LE(at) !== ~state >>> 0) wrong += 1;
      }
      expect([out.length, err.length, wrong]).toEqual([bytes, bytes, 0]);
    });

    test('gives the job its environment, arguments and working directory, and nothing else', async () => {
      const job = run({
        command: [
          'sh',
          '-c',
          'pwd; env | grep -v -E "^(PWD|_|SHLVL|OLDPWD)=" | sort; printf "%s|" "$@"',
          'x',
          '',
          'a b',
          '$(id)',
          '-n',
        ],
        environment: { A: 'line\nbreak', B: '', PATH: '/usr/bin:/bin' },
      });
      await job.ended;
      const { folder: own } = job.request;
      expect(stored(job, 'stdout').toString()).toBe(
        [
          join(own, 'workspace'),
          'A=line',
          'B=',
          'FLOPD_EPOCH=1',
          `FLOPD_JOB_ID=${job.request.jobId}`,
          'FLOPD_NODE_ID=node-test',
        ]
          .concat([`HOME=${join(own, 'workspace')}`, 'PATH=/usr/bin:/bin', 'break', '|a b|$(id)|-n|'])
          .join('\n'),
      );
    });

    test('starts the job with three descriptors, default signals, a session of its own and umask 022', async () => {
      const job = run({ command: [program('descriptors.sh')] });
      await job.ended;
      const lines = stored(job, 'stdout').toString().split('\n');
      const pid = (await job.started).toString();
      expect(lines[0]).toBe('0 1 2 /dev/null'); // dash keeps its script open as 10, which is not looked at
      expect(lines.slice(1, 3)).toEqual(['SigBlk:\t0000000000000000', 'SigIgn:\t0000000000000000']);
      const countsAnew = change !== undefined || ownPids; // in a namespace of its own
      const own = countsAnew ? (lines[3]?.split(' ')[0] ?? '') : pid;
      expect(lines[3]).toBe(`${own} ${own} ${own}`);
      expect(lines[4]).toBe('0022');
    });

    describe('a job that cannot be started', () => {
      const missing = join('/nonexistent', 'folder');
      const failures: [string, (own: string) => string[], { failedStep: string; errno: string }][] = [
        [
          'a name that PATH does not know',
          () => ['no-such-program'],
          { failedStep: 'exec', errno: 'ENOENT' },
        ],
        [
          'a path that is not there',
          (own) => [join(own, 'nothing')],
          { failedStep: 'exec', errno: 'ENOENT' },
        ],
        [
          'a file that is not executable',
          (own) => [join(own, 'plain')],
          { failedStep: 'exec', errno: 'EACCES' },
        ],
        ['a directory', (own) => [own], { failedStep: 'exec', errno: 'EISDIR' }],
        [
          'a path through a file',
          (own) => [join(own, 'plain', 'x')],
          { failedStep: 'exec', errno: 'ENOTDIR' },
        ],
        [
          'a script whose interpreter is missing',
          (own) => [join(own, 'bad')],
          { failedStep: 'interpreter', errno: 'ENOENT' },
        ],
        ['a file of no known format', (own) => [join(own, 'odd')], { failedStep: 'exec', errno: 'ENOEXEC' }],
        ['a symlink to itself', (own) => [join(own, 'loop')], { failedStep: 'exec', errno: 'ELOOP' }],
      ];
      test.each(brief ? failures.slice(2, 6) : failures)(
        'is told apart: %s',
        async (_, command, expected) => {
          const job = run((own) => {
            writeFileSync(join(own, 'plain'), 'echo no\n', { mode: 0o644 });
            writeFileSync(join(own, 'bad'), '#!/no/such/interpreter\n', { mode: 0o755 });
            writeFileSync(join(own, 'odd'), 'echo no\n', { mode: 0o755 });
            symlinkSync(join(own, 'loop'), join(own, 'loop'));
            return { command: command(own) };
          });
          expect(await job.ended).toMatchObject({
            kind: 'failedToStart',
            exitCode: null,
            signal: null,
            startedAtMs: null,
            ...expected,
          });
          expect(job.history).toEqual(['ended']);
        },
      );

      test('because of its working directory', async () => {
        const job = run({ command: ['true'], workingDirectory: missing });
        expect(await job.ended).toMatchObject({
          kind: 'failedToStart',
          failedStep: 'chdir',
          errno: 'ENOENT',
        });
      });

      test('is looked up along its own PATH, past folders that are closed or missing', async () => {
        const tools =
          (mode: number) =>
          (own: string): { command: string[]; environment: Record<string, string> } => {
            for (const part of ['a', 'b']) mkdirSync(join(own, part));
            writeFileSync(join(own, 'a', 'tool'), '#!/bin/sh\necho a\n', { mode: 0o644 });
            writeFileSync(join(own, 'b', 'tool'), '#!/bin/sh\necho b\n', { mode });
            const PATH = `/no/such:${join(own, 'a')}:${join(own, 'b')}`;
            return { command: ['tool'], environment: { PATH } };
          };
        const job = run(tools(0o755));
        expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 0 });
        expect(stored(job, 'stdout').toString()).toBe('b\n');
        expect(await run(tools(0o644)).ended).toMatchObject({ kind: 'failedToStart', errno: 'EACCES' });
      });
    });

    describe('time limit and stop', () => {
      test('ends a job at its time limit with SIGTERM', async () => {
        const end = await run({ command: [program('forever.sh')], timeLimitMs: 100 }).ended;
        expect(end).toMatchObject({ kind: 'signalled', stopped: 'timeLimit', killed: false });
        if (!slowStart) expect(end.signal).toBe(15);
        expect(end.durationMs).toBeGreaterThanOrEqual(100);
      });

      test('kills a job that ignores SIGTERM after its grace', async () => {
        // Of one that has not set its trap by then nothing can be said: it is given more time.
        for (let limitMs = 200; ; limitMs *= 5) {
          const job = run({ command: [program('ignore-term.sh')], timeLimitMs: limitMs, graceMs: 300 });
          const end = await job.ended;
          expect(end).toMatchObject({ kind: 'signalled', stopped: 'timeLimit' });
          expect(end.durationMs).toBeGreaterThanOrEqual(limitMs);
          if (end.stdoutBytes === 0 && limitMs < 20_000) continue;
          expect(end).toMatchObject({ signal: 9, killed: true });
          break;
        }
      });

      test('stops on order, and the exit code that the job then chooses is kept', async () => {
        const job = run({
          command: ['sh', '-c', 'trap "exit 5" TERM; echo ready; while :; do sleep 0.02; done'],
        });
        await job.grown(6);
        job.execution.stop(50_000);
        job.execution.stop(50_000);
        expect(await job.ended).toMatchObject({
          kind: 'exited',
          exitCode: 5,
          stopped: 'stop',
          killed: false,
        });
      });

      test('is killed with all its children when it ignores the order', async () => {
        const job = run({ command: [program('ignore-term.sh')] });
        await job.grown(6);
        job.execution.stop(100);
        expect(await job.ended).toMatchObject({
          kind: 'signalled',
          signal: 9,
          stopped: 'stop',
          killed: true,
        });
      });

      test('asks each process once, also those in sessions of their own', async () => {
        // Without forks after `ready`: a child on its way to exec would answer with its parent's trap.
        const trap = 'trap "echo term" TERM; sleep 1000 & sleep 0.1; echo ready; while :; do wait; done';
        const job = run({ command: ['sh', '-c', `setsid sh -c '${trap}' & ${trap}`] });
        await job.grown(12);
        job.execution.stop(50_000);
        await job.grown(22);
        // Time for being asked again, which must not be.
        await new Promise((resolve) => setTimeout(resolve, 200));
        job.execution.stop(0);
        expect(await job.ended).toMatchObject({ stopped: 'stop', killed: true });
        expect(stored(job, 'stdout').toString().split('\n').sort()).toEqual([
          '',
          'ready',
          'ready',
          'term',
          'term',
        ]);
      });

      test('a stop before the shim has spoken is carried out', async () => {
        const job = run({ command: [program('forever.sh')] });
        job.execution.stop(50_000);
        const end = await job.ended;
        if (end.kind === 'failedToStart' && slowStart) expect(end.failedStep).toBe('claim');
        else expect(end).toMatchObject({ stopped: 'stop', signal: 15, killed: false });
      });

      test('a job that has ended keeps its own end', async () => {
        const job = run({ command: ['true'] });
        const end = await job.ended;
        job.execution.stop(0);
        expect(end).toMatchObject({ exitCode: 0, stopped: null });
        expect(job.history).toEqual(['started', 'ended']);
      });
    });

    describe('what a job leaves behind', () => {
      test('a grandchild in a session of its own ends with it', async () => {
        const job = run({ command: [program('fork-and-leave.sh')] });
        const end = await job.ended;
        const left = Number(stored(job, 'stdout').toString());
        expect(left).toBeGreaterThan(1);
        expect(end).toMatchObject({ exitCode: 0, stopped: null, killed: false });
        expect(processesOf(job.request.jobId)).toEqual([]);
      });

      test('a child that holds the pipe delays nothing', async () => {
        const job = run({ command: [program('hold-pipe.sh')] });
        const end = await job.ended;
        expect(end).toMatchObject({ exitCode: 3, stdoutBytes: 7 });
        // It holds it for a thousand seconds.
        expect(end.durationMs).toBeLessThan(100_000);
      });

      test('2000 children that nobody waits for, and as many orphans, are collected', async () => {
        const job = run({ command: [program('zombies.sh'), '2000'] });
        const end = await job.ended;
        expect(end).toMatchObject({ exitCode: 0, detail: null });
        expect(end.cpuUserSeconds).toBeGreaterThan(0);
        await until(() => !isAlive(Number(shimOf(job.request.folder))), 'the shim has ended');
      });

      test.skipIf(ownPids)('a process killed from outside is told as killed', async () => {
        const job = run({ command: [program('forever.sh')] });
        process.kill(await job.started, 'SIGKILL');
        expect(await job.ended).toMatchObject({ kind: 'signalled', signal: 9, stopped: null });
      });
    });

    describe('found again', () => {
      test('a running job is taken up by a new executor, with all its output', async () => {
        const script = 'echo one; while [ ! -e gate ]; do sleep 0.05; done; echo two; exit 9';
        const job = run({ command: ['sh', '-c', script] });
        // Of a container its output may be heard of first.
        await Promise.all([job.grown(4), job.started]);
        job.execution.detach();
        executor.close();
        executor = create();
        const again = record();
        executor.recover(recoverOf(job), again.events);
        expect(await again.started).toBe(await job.started);
        writeFileSync(join(job.request.folder, 'workspace', 'gate'), '');
        expect(await again.ended).toMatchObject({ exitCode: 9, stdoutBytes: 8 });
        expect(stored(job, 'stdout').toString()).toBe('one\ntwo\n');
        expect(job.history).not.toContain('ended');
      });

      test('a job that ended meanwhile is told at once, with its own code', async () => {
        const job = run({ command: ['sh', '-c', 'echo one; exit 4'] });
        await job.started;
        job.execution.detach();
        executor.close();
        await until(() => existsSync(join(job.request.folder, 'end')), 'the job has ended');
        executor = create();
        const again = record();
        executor.recover(recoverOf(job), again.events);
        expect(await again.ended).toMatchObject({ kind: 'exited', exitCode: 4, stdoutBytes: 4 });
        expect(again.history).toEqual(['started', 'output', 'ended']);
      });

      test('an attempt that never began is started once, however often it is taken up', async () => {
        folder = freshFolder();
        const request = requestIn(
          folder,
          completed({ command: ['sh', '-c', 'echo run >> count; sleep 0.3'] }),
        );
        const first = record();
        executor.recover(recoverOf({ request }), first.events).detach();
        const second = record();
        executor.recover(recoverOf({ request }), second.events);
        expect(await second.ended).toMatchObject({ exitCode: 0 });
        expect(readFileSync(join(request.folder, 'workspace', 'count'), 'utf8')).toBe('run\n');
      });

      test('an attempt that never began is not started where that is forbidden', async () => {
        folder = freshFolder();
        const request = requestIn(folder, completed({ command: ['touch', 'ran'] }));
        const recorded = record();
        executor.recover({ ...recoverOf({ request }), start: null }, recorded.events);
        expect(await recorded.ended).toMatchObject({ kind: 'failedToStart', failedStep: 'claim' });
        const later = record();
        executor.recover(recoverOf({ request }), later.events);
        expect(await later.ended).toMatchObject({ kind: 'failedToStart', failedStep: 'claim' });
        expect(existsSync(join(request.folder, 'workspace', 'ran'))).toBe(false);
      });

      test('after a restart of the host it is lost, and no process is touched', async () => {
        const job = run({ command: [program('forever.sh')] });
        const pid = await job.started;
        job.execution.detach();
        const again = record();
        executor.recover({ ...recoverOf(job), bootId: 'another-boot' }, again.events);
        expect(await again.ended).toMatchObject({
          kind: 'lost',
          exitCode: null,
          detail: 'the host was restarted',
        });
        if (!ownPids) {
          // else what the runtime left of it is removed
          expect(isAlive(pid)).toBe(true);
          process.kill(pid, 'SIGKILL');
        }
        await until(() => existsSync(join(job.request.folder, 'end')), 'its shim has ended');
      });
    });
  });
}

export function recoverOf({ request }: { request: ReturnType<typeof requestIn> }) {
  const { jobId, epoch, folder } = request;
  return { jobId, epoch, folder, bootId, acceptedBootId: bootId, start: request };
}

export function shimOf(folder: string): string | undefined {
  return /^shimPid=(\d+)$/m.exec(readFileSync(join(folder, 'started'), 'utf8'))?.[1];
}
